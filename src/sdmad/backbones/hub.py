"""Where a checkpoint's files are: a folder, what was fetched, the hub's cache or the hub."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sdmad.backbones.files import refuse_file
from sdmad.errors import ModelError, WeightsMissingError
from sdmad.output import user_cache

# What a download raises: its base is the error of whichever network library the client uses.
NOT_FETCHED: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
)
_ON_THIS_MACHINE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}
    | {errno.ENOSPC, errno.EDQUOT, errno.EIO}
)
UNAUTHORISED = 401
LONGEST_NAME = 96  # of a repository
PATTERNS = ("*.json", "*.txt", "*.model", "model*.safetensors")


def resolve(name: str, patterns: Sequence[str] = PATTERNS) -> Path:
    """The local folder of a checkpoint: given, fetched before, or from the hub into its cache.

    Without a network (``HF_HUB_OFFLINE=1``, or none that answers) the cache alone is asked; what
    an interrupted download left there is returned as it is, for the caller to say what it lacks.

    Args:
        name: a folder, or a hub name such as ``openai/clip-vit-large-patch14``.
        patterns: which files of the repository are wanted.

    Raises:
        WeightsMissingError: if the hub and its cache do not have it.
        ModelError: if there is no such folder, or it is a file.
    """
    try:
        folder = Path(name).expanduser()
        found, is_file = folder.is_dir(), folder.is_file()
    except (OSError, RuntimeError, ValueError):  # too long, or the home of an unknown user
        folder, found, is_file = Path(name), False, False
    if found:
        return folder
    if is_file:
        raise refuse_file(folder)
    if not is_hub_name(name):
        raise ModelError(
            f"no folder {name[:200]!r}. Give the name of a packaged backbone (lite), a folder with "
            "config.json, model.safetensors and the tokenizer files, a hub name such as "
            "openai/clip-vit-large-patch14, open_clip:ARCHITECTURE/WEIGHTS or medclip:FOLDER."
        )
    fetched = fetched_folder(name)
    if len(name) <= LONGEST_NAME and fetched.is_dir():
        return fetched
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except NOT_FETCHED as error:
        partial = getattr(error, "snapshot_path", None)
        if isinstance(error, LocalEntryNotFoundError) and partial is not None:
            return Path(partial)
        raise WeightsMissingError(
            f"{name}: no such folder, not in the cache {constants.HF_HUB_CACHE}, and "
            f"{why_not(name, error)}. Check the name; download it where there is a network (sdmad "
            f"backbone fetch {name} --out FOLDER) and bring the folder here."
        ) from error


def is_hub_name(name: str) -> bool:
    """Whether a name may be one of the hub, ``OWNER/NAME``."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def fetched_folder(name: str) -> Path:
    """Where ``sdmad backbone fetch`` puts what it fetches under a hub name, there or not.

    Raises:
        ModelError: if this user has no home.
    """
    try:
        cache = user_cache()
    except RuntimeError as error:
        raise ModelError(f"there is no home folder for what is fetched ({error})") from error
    return cache / "backbones" / name.replace("/", "--")


def why_not(name: str, error: Exception) -> str:
    """Why the hub did not give something, and what is to be done about it."""
    kind = type(error).__name__
    page = f"{constants.ENDPOINT}/{name}"
    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set ({kind})"
    if isinstance(error, GatedRepoError):
        return f"it is gated: accept its terms at {page} when signed in{_token_needed()}"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub knows no {name}, or it is private{_token_needed()}"
    if isinstance(error, RevisionNotFoundError):
        return f"it has no such revision; {page}/commits lists them"
    if isinstance(error, OSError) and error.errno in _ON_THIS_MACHINE:
        return (
            f"the cache {constants.HF_HUB_CACHE} cannot be written ({error.strerror}): free some "
            "space, or give another folder as HF_HUB_CACHE"
        )
    status = getattr(getattr(error, "response", None), "status_code", "")
    if status == UNAUTHORISED:
        return f"the token that is set here is not valid (401): make one at {_tokens()}"
    return (
        f"the hub did not give it ({kind}{f', {status}' if status else ''}): see whether "
        f"{constants.ENDPOINT} can be reached from here"
    )


def _token_needed() -> str:
    if get_token():
        return "; the token that is set here belongs to an account that may not read it"
    return (
        f", make a token at {_tokens()}, and give it as HF_TOKEN or by hf auth login: none is set "
        "here"
    )


def _tokens() -> str:
    return f"{constants.ENDPOINT}/settings/tokens"
