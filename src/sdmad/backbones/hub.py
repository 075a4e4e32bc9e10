"""Where a checkpoint's files are: a folder, the local cache or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from sdmad.backbones.files import refuse_file
from sdmad.errors import ModelError, WeightsMissingError

# What a download raises: its base is the error of whichever network library the client uses.
NOT_FETCHED: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
)
PATTERNS = ("*.json", "*.txt", "*.model", "model*.safetensors")


def resolve(name: str, patterns: Sequence[str] = PATTERNS) -> Path:
    """The local folder of a checkpoint: given, or fetched from the hub into its cache.

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
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"no folder {name[:200]!r}. Give the name of a packaged backbone (lite), a folder with "
            "config.json, model.safetensors and the tokenizer files, a hub name such as "
            "openai/clip-vit-large-patch14, open_clip:ARCHITECTURE/WEIGHTS or medclip:FOLDER."
        )
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except NOT_FETCHED as error:
        partial = getattr(error, "snapshot_path", None)
        if isinstance(error, LocalEntryNotFoundError) and partial is not None:
            return Path(partial)
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub did not give it"
        raise WeightsMissingError(
            f"{name}: no such folder, not in the cache {constants.HF_HUB_CACHE}, and {offline} "
            f"({type(error).__name__}). Check the name; download it where there is a network (hf "
            f"download {name}) and bring the cache or the folder here."
        ) from error
