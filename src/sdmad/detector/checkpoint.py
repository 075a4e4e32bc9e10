"""A fitted detector as a directory: JSON, YAML and safetensors, nothing that executes.

| file | holds |
| --- | --- |
| ``config.json`` | settings, seed, names of the bank and the backbone, what was stated of it |
| ``bank.yaml`` | the sign bank |
| ``adapters.safetensors`` | adapter weights, text features, kept marks, evidence constants |
| ``preprocessing.json`` | how an image becomes pixel values |
| ``support.json`` | content hashes of the support and threshold images, salted ones of patients |
| ``training.json`` | loss and sign cosine an epoch, notes |
| ``manifest.json`` | SHA-256 of every other file and of the base weights |
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sdmad._version import __version__
from sdmad.backbones import Backbone, load_backbone
from sdmad.backbones.known import Overrides
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.config import SDMADConfig
from sdmad.detector.evidence import SignAndImageEvidence
from sdmad.detector.patients import PatientHashes
from sdmad.detector.sign_scorer import SignScorer
from sdmad.detector.training import EpochLog, SignTexts, build_adapters
from sdmad.errors import ModelError
from sdmad.output import output_directory, write_json, write_text
from sdmad.signs import SignBank

if TYPE_CHECKING:
    from sdmad.detector.sdmad import SDMAD

FORMAT = 2
MANIFEST = "manifest.json"
FILES = (
    "config.json",
    "bank.yaml",
    "adapters.safetensors",
    "preprocessing.json",
    "support.json",
    "training.json",
)
MAX_JSON = 50_000_000
IMAGE, TEXT, SCORER, EVIDENCE = "image.", "text.", "scorer.", "evidence."


def save_detector(detector: SDMAD, folder: Path, force: bool) -> None:
    """Write a fitted detector; see :meth:`sdmad.SDMAD.save`."""
    scorer = detector.scorer
    tensors: dict[str, Tensor] = {
        SCORER + "signs": scorer.signs,
        SCORER + "anchor": scorer.anchor,
        SCORER + "keep": scorer.keep,
    }
    for prefix, adapters in ((IMAGE, detector.image_adapters), (TEXT, detector.text_adapters)):
        tensors |= {prefix + name: tensor for name, tensor in adapters.state_dict().items()}
    tensors |= {EVIDENCE + n: t for n, t in detector.evidence_.tensors().items()}
    if detector.thresholds_ is not None:
        tensors["thresholds"] = torch.from_numpy(detector.thresholds_)
    backbone = detector.backbone
    with output_directory(folder, force) as work:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        (work / "adapters.safetensors").write_bytes(save(plain))
        write_json(
            work / "config.json",
            {
                "format": FORMAT,
                "sdmad": __version__,
                "settings": detector.config.to_dict(),
                "seed": detector.seed,
                "bank": detector.bank.name,
                "backbone": backbone.name,
                "backbone_overrides": dict(backbone.overrides),
                "activation": backbone.activation,
            },
        )
        write_text(work / "bank.yaml", detector.bank.to_yaml())
        write_json(work / "preprocessing.json", backbone.preprocessing.to_dict())
        write_json(
            work / "support.json",
            {
                "images_sha256": list(detector.support_hashes_),
                "threshold_images_sha256": list(detector.threshold_hashes_),
                "patients": asdict(detector.support_patients_),
            },
        )
        write_json(
            work / "training.json",
            {"notes": list(detector.notes_), "epochs": [asdict(e) for e in detector.log_]},
        )
        write_json(
            work / MANIFEST,
            {
                "files": {name: _hash(work / name) for name in FILES},
                "base_weights_sha256": backbone.weights_hash,
            },
        )


def load_detector(
    folder: Path, backbone: Backbone | str | Path | None, device: str, precision: str = "float32"
) -> SDMAD:
    """Read a saved detector; see :meth:`sdmad.SDMAD.load`."""
    from sdmad.detector.sdmad import SDMAD

    expected = verify(folder)
    config = _read_json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise ModelError(
            f"{folder}: written in format {config.get('format')!r} by sdmad "
            f"{config.get('sdmad')!r}; this is sdmad {__version__}, which reads format {FORMAT}"
        )
    try:
        settings = SDMADConfig.from_dict(config["settings"])
        preprocessing = Preprocessing.from_dict(_read_json(folder / "preprocessing.json"))
        bank = SignBank.load(folder / "bank.yaml")
        bank = replace(bank, name=str(config["bank"]))
        name, seed = str(config["backbone"]), int(config["seed"])
        overrides = Overrides(**config.get("backbone_overrides", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: not a usable model directory ({error})") from error
    source = backbone if backbone is not None else name
    base = _load_base(folder, source, preprocessing.size, overrides)
    if base.weights_hash != expected:
        raise ModelError(
            f"{folder} was fitted on {name} with weights {expected[:12]}... ({MANIFEST}), but "
            f"{base.name} has {base.weights_hash[:12]}.... Give the folder of the right weights as "
            "the backbone, or fit again."
        )
    activation = config.get("activation", "")
    if activation and base.activation and base.activation != activation:
        raise ModelError(
            f"{folder} was fitted with activation {activation!r}, but {base.name} runs "
            f"{base.activation!r}. Mend its config.json, or load it with "
            f"activation={activation!r}."
        )
    base = copy.copy(base)  # the caller's own keeps its preprocessing
    base.preprocessing = preprocessing
    detector = SDMAD(bank, base, settings, seed, device, precision)
    _restore(detector, folder)
    return detector


def _load_base(
    folder: Path, source: Backbone | str | Path, size: int, overrides: Overrides
) -> Backbone:
    if isinstance(source, Backbone):
        return source
    try:
        return load_backbone(source, size, **overrides.given(), images_only=True)
    except ModelError as error:
        raise type(error)(
            f"{folder} needs its base weights: {error} Give their folder as the backbone."
        ) from error


def _restore(detector: SDMAD, folder: Path) -> None:
    path = folder / "adapters.safetensors"
    device = detector.backbone.device
    try:
        # A copy lies at an aligned address, as after training; elsewhere last bits may differ.
        tensors = {n: t.clone() for n, t in load_file(path, device=str(device)).items()}
        image, text = build_adapters(detector.backbone, detector.config, detector.seed)
        image.adapters.load_state_dict(_part(tensors, IMAGE))
        text.adapters.load_state_dict(_part(tensors, TEXT))
        detector.set_towers(image, SignTexts(detector.bank, detector.backbone, text))
        detector.scorer_ = _scorer(detector, tensors)
        detector.evidence_ = SignAndImageEvidence.from_tensors(
            _part(tensors, EVIDENCE), detector.config
        )
        thresholds = tensors.get("thresholds")
        detector.thresholds_ = None if thresholds is None else thresholds.cpu().numpy()
        support = _read_json(folder / "support.json")
        detector.support_hashes_ = tuple(support["images_sha256"])
        detector.threshold_hashes_ = tuple(support["threshold_images_sha256"])
        patients = support["patients"]
        detector.support_patients_ = PatientHashes(patients["salt"], tuple(patients["hashes"]))
        training = _read_json(folder / "training.json")
        detector.notes_ = tuple(training["notes"])
        detector.log_ = [EpochLog(e["loss"], e["sign_cosine"]) for e in training["epochs"]]
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: its files do not fit together ({error})") from error


def _scorer(detector: SDMAD, tensors: dict[str, Tensor]) -> SignScorer:
    signs, anchor, keep = (tensors[SCORER + name] for name in ("signs", "anchor", "keep"))
    category = torch.tensor(detector.bank.category_index, device=signs.device)
    if signs.shape != (len(category), len(anchor)) or keep.shape != category.shape:
        raise ValueError(f"bank.yaml has {len(category)} signs, the tensors {len(signs)}")
    return SignScorer(signs, anchor, category, keep, detector.config.pooling)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def verify(folder: Path) -> str:
    """Check every file of a model directory against its manifest.

    Returns:
        SHA-256 of the base weights that the model was fitted on.

    Raises:
        ModelError: naming what is missing, truncated or altered.
    """
    if not folder.is_dir():
        raise ModelError(f"no model directory {folder}; sdmad fit writes one")
    if not (folder / MANIFEST).is_file():
        raise ModelError(f"{folder} is not a model directory: it has no {MANIFEST}")
    manifest = _read_json(folder / MANIFEST)
    files, base = manifest.get("files"), manifest.get("base_weights_sha256")
    if not isinstance(files, dict) or not isinstance(base, str):
        raise ModelError(f"{folder}: {MANIFEST} was altered; copy the whole directory again")
    for name in FILES:
        if name not in files:
            raise ModelError(f"{folder}: {MANIFEST} does not list {name}")
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: {name} is missing; copy the whole directory again")
        if _hash(folder / name) != files[name]:
            raise ModelError(
                f"{folder}: {name} is truncated or was altered since it was written (its SHA-256 "
                f"is not the one in {MANIFEST}); copy the directory again or fit again"
            )
    return base


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON:
            raise ModelError(f"{path}: too large to be a model's file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds no JSON object")
    return content
