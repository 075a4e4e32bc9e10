"""What a backbone's folder still lacks before it can be loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from safetensors import safe_open

from sdmad.backbones.fetching.layouts import (
    CONFIG,
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_SAFETENSORS,
    SAFETENSORS,
    TOKENIZERS,
    Kind,
    network_of,
)
from sdmad.backbones.files import model_type, read_json
from sdmad.backbones.tokenizer_files import SENTENCEPIECE, needs_sentencepiece

MEDCLIP = "vision_model.projection_head.weight"


def lacking(folder: Path, kind: Kind) -> tuple[str, ...]:
    """What is missing, one sentence each.

    Args:
        folder: of the backbone.
        kind: whose format its weights are in.
    """
    if kind == "open_clip":
        return tuple(_of_open_clip(folder))
    if kind == "bare":
        first = ", ".join(_tensors(folder / SAFETENSORS)[:3])
        return (
            "these are weights of no architecture that is read here (its first tensors are "
            f"{first}); the safetensors are there for other software",
        )
    return tuple(_of_transformers(folder))


def network_in(folder: Path) -> str:
    """The network of a compared system that a folder holds; "" where it holds none."""
    path = folder / CONFIG
    return network_of(read_json(path)) if path.is_file() else ""


def _of_open_clip(folder: Path) -> list[str]:
    lacks = []
    if find_spec("open_clip") is None:
        lacks.append('open_clip is not installed: pip install "sdmad[openclip]"')
    if not (folder / OPEN_CLIP_CONFIG).is_file():
        lacks.append(
            f"{OPEN_CLIP_CONFIG} is not there: put it into the folder, or give "
            f"open_clip:ARCHITECTURE/{folder.name}/{OPEN_CLIP_SAFETENSORS}"
        )
    return lacks


def _of_transformers(folder: Path) -> list[str]:
    if MEDCLIP in _tensors(folder / SAFETENSORS):
        if any((folder / name).is_file() for name in ("vocab.txt", "tokenizer.json")):
            return []
        return ["these are MedCLIP's weights: put vocab.txt of emilyalsentzer/Bio_ClinicalBERT in"]
    lacks = []
    network = network_in(folder)
    if network and network != "grounding-dino":
        return []  # it reads no text
    if model_type(folder) is None:
        lacks.append(f"{CONFIG} is not there: put that of the same model into the folder")
    found = [name for name in TOKENIZERS if (folder / name).is_file()]
    if not found:
        lacks.append("there is no tokenizer: put tokenizer.json, or vocab.json and merges.txt in")
    if found == [SENTENCEPIECE] and needs_sentencepiece():
        lacks.append(needs_sentencepiece())
    return lacks


def _tensors(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with safe_open(path, "pt") as file:
        return sorted(file.keys())
