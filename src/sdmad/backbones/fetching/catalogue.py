"""Checkpoints that are known by name: sizes, terms, how they are published, and which are here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from sdmad.backbones.fetching.folder import MANIFEST, OPEN_CLIP
from sdmad.backbones.files import read_json
from sdmad.backbones.hub import fetched_folder
from sdmad.choices import EMBEDDED

PICKLE, BOTH, SAFE, UNSURE = "pickle", "both", "safetensors", "not known"
APACHE, MIT, UNTOLD = "Apache-2.0", "MIT", "read the card"


@dataclass(frozen=True)
class Entry:
    """A checkpoint.

    Attributes:
        family: whose architecture.
        name: what to give as the backbone, and to fetch.
        weights: how it is published.
        licence: as it is known here; the repository's own word counts.
        size: million weights of both towers, rounded; "" where it is not known.
    """

    family: str
    name: str
    size: str
    weights: str
    licence: str


FETCHED = "fetched"
CLIP, SIGLIP = "CLIP", "SigLIP"
_KNOWN = (
    Entry("embedded", EMBEDDED, "", "packaged", APACHE),
    Entry(CLIP, "openai/clip-vit-base-patch32", "151", BOTH, UNTOLD),
    Entry(CLIP, "openai/clip-vit-base-patch16", "150", BOTH, UNTOLD),
    Entry(CLIP, "openai/clip-vit-large-patch14", "428", BOTH, UNTOLD),
    Entry(CLIP, "openai/clip-vit-large-patch14-336", "428", PICKLE, UNTOLD),
    Entry(CLIP, "flaviagiammarino/pubmed-clip-vit-base-patch32", "151", PICKLE, MIT),
    Entry(SIGLIP, "google/siglip-base-patch16-224", "203", SAFE, APACHE),
    Entry(SIGLIP, "google/siglip-so400m-patch14-384", "878", SAFE, APACHE),
    Entry(SIGLIP, "google/siglip2-base-patch16-224", "375", SAFE, APACHE),
    Entry(SIGLIP, "google/siglip2-base-patch16-naflex", "375", SAFE, APACHE),
    Entry(SIGLIP, "google/medsiglip-448", "", SAFE, "HAI-DEF, gated"),
    Entry(SIGLIP, "StanfordAIMI/XraySigLIP__vit-l-16-siglip-384__webli", "", UNSURE, UNTOLD),
    Entry(
        "open_clip",
        f"{OPEN_CLIP}microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "",
        PICKLE,
        MIT,
    ),
    Entry("MedCLIP", "medclip:FOLDER", "136", "pickle, elsewhere", UNTOLD),
)


def known() -> tuple[Entry, ...]:
    """The checkpoints that are known by name."""
    return _KNOWN


def here() -> dict[str, str]:
    """Where checkpoints are on this machine, by the name that finds them there."""
    names = [entry.name for entry in _KNOWN]
    found = {name: place for name in names if (place := _place(name))}
    cache = fetched_folder("")
    known = {fetched_folder(_repository(name)) for name in found}
    for folder in sorted(cache.iterdir()) if cache.is_dir() else ():
        if not folder.name.startswith(".") and folder not in known:
            found[_fetched_name(folder)] = FETCHED
    return found


def _repository(name: str) -> str:
    return name.removeprefix(OPEN_CLIP)


def _place(name: str) -> str:
    repository = _repository(name)
    if name == EMBEDDED:
        return "packaged"
    if "/" not in repository:
        return ""
    if fetched_folder(repository).is_dir():
        return FETCHED
    cached = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots"
    return "in the hub's cache" if cached.is_dir() else ""


def _fetched_name(folder: Path) -> str:
    """``OWNER/NAME`` of a fetched folder, as its manifest tells it."""
    path = folder / MANIFEST
    source = read_json(path).get("source") if path.is_file() else None
    return source if isinstance(source, str) and source else str(folder)
