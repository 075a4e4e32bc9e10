"""What a checkpoint's folder must hold, and what is refused before anything is read."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdmad import inputs
from sdmad.errors import ModelError, WeightsMissingError
from sdmad.text import as_argument

MAX_JSON = 100_000_000
"""Bytes of a configuration or a tokenizer; the largest published tokenizer has a third of it."""

INDEX = "model.safetensors.index.json"
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# SHA-256 of the TorchScript archives that OpenAI published (its URLs name them), and the same
# weights in the transformers format.
OPENAI_ARCHIVES = {
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "clip-vit-base-patch32",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "clip-vit-base-patch16",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "clip-vit-large-patch14",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": (
        "clip-vit-large-patch14-336"
    ),
}


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: if it is not readable, or holds no object.
    """
    return inputs.read_json(path, MAX_JSON, ModelError)


def model_type(folder: Path) -> str | None:
    """The ``model_type`` that a folder's ``config.json`` names, None without one.

    Raises:
        ModelError: if it is not readable JSON.
    """
    path = folder / "config.json"
    kind = read_json(path).get("model_type") if path.is_file() else None
    return kind if isinstance(kind, str) else None


def read_model_type(folder: Path, known: Sequence[str]) -> str:
    """The ``model_type`` of a folder that holds one of the known kinds of model.

    Raises:
        ModelError: if there is no readable one, or it is not among those known.
    """
    if not (folder / "config.json").is_file():
        check_files(folder)
    kind = model_type(folder)
    if kind not in known:
        raise ModelError(
            f"{folder / 'config.json'} says model_type {kind!r}; {', '.join(known)} can be read, "
            "open_clip's models as open_clip:ARCHITECTURE/WEIGHTS and MedCLIP as medclip:FOLDER"
        )
    return str(kind)


def check_files(folder: Path, tokenizers: Sequence[Sequence[str]] = (("tokenizer.json",),)) -> None:
    """Refuse a folder in the ``transformers`` format that lacks a file.

    Args:
        folder: with configuration, weights (``model.safetensors`` or shards) and tokenizer.
        tokenizers: groups of files; each group holds a tokenizer, and one is enough.

    Raises:
        WeightsMissingError: if weights are missing, with the way to convert pickled ones.
        ModelError: if only another file is missing.
    """
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    weights = _missing_weights(folder)
    missing += weights
    if not any(all((folder / name).is_file() for name in group) for group in tokenizers):
        first, *others = (" and ".join(group) for group in tokenizers)
        missing.append(f"{first} (or {', or '.join(others)})" if others else first)
    if not missing:
        return
    text = f"{folder} lacks {', '.join(missing)}."
    if (folder / "open_clip_config.json").is_file():
        raise ModelError(
            f"{text} But it has open_clip_config.json: give open_clip:FOLDER, or "
            "open_clip:hf-hub:OWNER/NAME for the hub"
        )
    if not weights:
        raise ModelError(f"{text} Copy or download the whole folder again.")
    raise WeightsMissingError(f"{text} {how_to_convert(folder)}")


def how_to_convert(folder: Path, prefix: str = "") -> str:
    """Which command makes safetensors of a folder's, or of a repository's, pickled weights.

    Args:
        folder: where they were looked for.
        prefix: before the repository's name.
    """
    name = hub_name(folder)
    if "/" in name:
        return (
            "Where the repository has pickled weights alone, sdmad backbone fetch "
            f"{prefix}{name} downloads and converts them; pickles are not read as they are."
        )
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if not pickles:
        return (
            "Pickled weights (.bin, .pt) are not read as they are: sdmad backbone convert FILE "
            "makes safetensors of them, and sdmad backbone fetch of those of a hub name."
        )
    more = f" (and {len(pickles) - 1} more)" if pickles[1:] else ""
    return (
        f"{pickles[0]}{more} is pickled, which is not read as it is: sdmad backbone convert "
        f"{as_argument(folder)} --out NEW-FOLDER makes safetensors of it."
    )


def hub_name(folder: Path) -> str:
    """``OWNER/NAME`` of a folder in the hub's cache; the name of any other folder."""
    for part in folder.parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return folder.resolve().name


def _missing_weights(folder: Path) -> list[str]:
    """Names of the weight files that are missing; every shard of an index is asked for."""
    if (folder / "model.safetensors").is_file():
        return []
    index = folder / INDEX
    if not index.is_file():
        return ["model.safetensors"]
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelError(f"{index} has no weight_map; download the folder again")
    names = sorted({str(name) for name in shards.values()})
    if any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise ModelError(f"{index} names files that are no safetensors of this folder")
    return [name for name in names if not (folder / name).is_file()]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder that :func:`check_files` has passed."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    shards = read_json(folder / INDEX)["weight_map"]
    assert isinstance(shards, dict)
    return [folder / name for name in sorted({str(name) for name in shards.values()})]


def check_room(folder: Path, weights: int, files: Sequence[Path]) -> None:
    """Refuse a configuration that asks for more weights than its files have bytes.

    Raises:
        ModelError: if it does.
    """
    size = sum(path.stat().st_size for path in files)
    if weights > size:
        raise ModelError(
            f"{folder / 'config.json'} asks for {weights:,} weights, but the weight files have "
            f"{size:,} bytes in all; they are truncated or do not belong together"
        )


def refuse_file(path: Path) -> ModelError:
    """Why a single file is no backbone, and what to give instead; nothing is unpickled."""
    if path.suffix == ".safetensors":
        return ModelError(
            f"{path} holds weights alone; give the folder with config.json and the tokenizer too"
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(2)
        names = _archived(path)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        return ModelError(f"{path} is a file, not a backbone's folder ({error})")
    if _code_among(names):
        return ModelError(
            f"{path} is a TorchScript archive, which holds code and is never run. "
            f"{_hub_twin(path)}, or convert it once, where you trust it, with "
            "convert_clip_original_pytorch_to_hf.py from the repository of transformers, and give "
            "the folder that it writes."
        )
    if any(name.endswith(".pkl") for name in names) or start[:1] == b"\x80":
        return ModelError(
            f"{path} is pickled, which is not read as it is: sdmad backbone convert "
            f"{as_argument(path)} --out FOLDER makes a folder with safetensors of it and "
            "of the files beside it."
        )
    return ModelError(f"{path} is a file; give the folder with config.json and model.safetensors")


def holds_code(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    try:
        return _code_among(_archived(path))
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def _archived(path: Path) -> list[str]:
    return zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []


def _code_among(names: Sequence[str]) -> bool:
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in names)


def _hub_twin(path: Path) -> str:
    with path.open("rb") as stream:
        twin = OPENAI_ARCHIVES.get(hashlib.file_digest(stream, "sha256").hexdigest())
    if twin is not None:
        return f"Its weights are openai/{twin} on the hub: give that name"
    return (
        "OpenAI's CLIPs are openai/clip-vit-large-patch14 and its like on the hub: give that name"
    )
