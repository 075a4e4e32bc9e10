"""Where a checkpoint's files are: a folder, the local cache or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from sdmad.errors import ModelError

# What a download raises: its base is the error of whichever network library the client uses.
NOT_FETCHED: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
)
PATTERNS = ("*.json", "*.txt", "*.model", "model*.safetensors")


def resolve(name: str, patterns: Sequence[str] = PATTERNS) -> Path:
    """The local folder of a checkpoint: given, or fetched from the hub into its cache.

    Args:
        name: a folder, or a hub name such as ``openai/clip-vit-large-patch14``.
        patterns: which files of the repository are wanted.

    Raises:
        ModelError: if there is no such folder, or the hub and its cache do not have it.
    """
    try:
        folder = Path(name).expanduser()
        found = folder.is_dir()
    except (OSError, RuntimeError):  # too long a name, or the home of an unknown user
        folder, found = Path(name), False
    if found:
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"no folder {name[:200]!r}. Give the name of a packaged backbone (nano), a folder with "
            "config.json, model.safetensors and the tokenizer files, or a hub name such as "
            "openai/clip-vit-large-patch14."
        )
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except NOT_FETCHED as error:
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub did not give it"
        raise ModelError(
            f"{name}: no such folder, not in the cache {constants.HF_HUB_CACHE}, and {offline} "
            f"({type(error).__name__}). Check the name; download it where there is a network, or "
            "give the folder it was saved in."
        ) from error
