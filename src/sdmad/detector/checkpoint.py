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

from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from sdmad._version import __version__
from sdmad.backbones import Backbone, load_backbone
from sdmad.backbones.known import Overrides
from sdmad.choices import Precision
from sdmad.data.address import is_folder
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.config import SDMADConfig
from sdmad.detector.features import reads_patches
from sdmad.detector.head import SignHead
from sdmad.detector.manifest import altered, check_file, file_hash, read_json, read_manifest
from sdmad.detector.precision import choose_device, choose_precision, placed
from sdmad.detector.state import FittedState
from sdmad.detector.stored import (
    MAX_TENSORS,
    Room,
    StoredConfig,
    StoredSupport,
    check_adapters,
    read_training,
)
from sdmad.detector.training import SignTexts, adapter_shapes, build_adapters
from sdmad.errors import ModelError, SDMADError
from sdmad.inputs import bounded, check_regular
from sdmad.output import output_directory, write_json, write_text
from sdmad.signs import SignBank

FORMAT = 2
MANIFEST = "manifest.json"
TENSORS = "adapters.safetensors"
FILES = (
    "config.json",
    "bank.yaml",
    TENSORS,
    "preprocessing.json",
    "support.json",
    "training.json",
)
IMAGE, TEXT, HEAD, EVIDENCE, FAMILIAR = "image.", "text.", "scorer.", "evidence.", "familiar."
HELD_OUT = "held_out."


def write_state(state: FittedState, folder: Path, force: bool = False) -> None:
    """Write what a fit settled; see :meth:`sdmad.SDMAD.save`."""
    backbone = state.backbone
    with output_directory(folder, force) as work:
        plain = {name: t.detach().cpu().contiguous() for name, t in _tensors(state).items()}
        (work / TENSORS).write_bytes(save(plain))
        write_json(
            work / "config.json",
            {
                "format": FORMAT,
                "sdmad": __version__,
                "settings": state.config.to_dict(),
                "seed": state.seed,
                "bank": state.bank.name,
                "backbone": backbone.name,
                "backbone_overrides": dict(backbone.overrides),
                "activation": backbone.activation,
            },
        )
        write_text(work / "bank.yaml", state.bank.to_yaml())
        write_json(work / "preprocessing.json", backbone.preprocessing.to_dict())
        write_json(
            work / "support.json",
            {
                "images_sha256": list(state.support_hashes),
                "threshold_images_sha256": list(state.threshold_hashes),
                "patients": asdict(state.support_patients),
            },
        )
        write_json(
            work / "training.json",
            {"notes": list(state.notes), "epochs": [asdict(epoch) for epoch in state.log]},
        )
        write_json(
            work / MANIFEST,
            {
                "files": {name: file_hash(work / name) for name in FILES},
                "base_weights_sha256": backbone.weights_hash,
            },
        )


def _tensors(state: FittedState) -> dict[str, Tensor]:
    """Adapters, text features and constants of the head, by their names in the file."""
    head, evidence = state.head, state.head.evidence
    tensors = {f"{HEAD}{name}": getattr(head, name) for name in ("signs", "anchor", "keep")}
    for prefix, tower in ((IMAGE, state.image), (TEXT, state.texts.tower)):
        tensors |= {prefix + name: t for name, t in tower.adapters.state_dict().items()}
    if evidence is not None:
        probe = evidence.probe
        scales = torch.tensor([evidence.sign_scale, evidence.probe_scale], dtype=torch.float64)
        tensors |= {f"{EVIDENCE}{n}": getattr(probe, n) for n in ("weights", "bias", "learnt")}
        tensors[f"{EVIDENCE}scales"] = scales
    if head.familiarity is not None:
        least = torch.tensor(head.familiarity.least, dtype=torch.float64)
        tensors |= {f"{FAMILIAR}centre": head.familiarity.centre, f"{FAMILIAR}least": least}
    if head.calibration is not None:
        line = [head.calibration.slope, head.calibration.shift, *head.calibration.prevalence]
        tensors["calibration"] = torch.tensor(line, dtype=torch.float64)
    if head.held_out is not None:
        for name, values in vars(head.held_out).items():
            tensors[f"{HELD_OUT}{name}"] = torch.from_numpy(values)
    if head.thresholds is not None:
        tensors["thresholds"] = torch.from_numpy(head.thresholds)
    return tensors


def read_state(
    folder: Path, backbone: Backbone | str | Path | None, device: str, precision: Precision
) -> FittedState:
    """Read what a fit settled; see :meth:`sdmad.SDMAD.load`."""
    expected = verify(folder)
    config = read_json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise ModelError(
            f"{folder}: written in format {config.get('format')!r} by sdmad "
            f"{config.get('sdmad')!r}; this is sdmad {__version__}, which reads format {FORMAT}"
        )
    with bounded(f"{folder}: not a usable model directory", ModelError, SDMADError):
        stored = StoredConfig.of(config)
        preprocessing = Preprocessing.from_dict(read_json(folder / "preprocessing.json"))
        bank = replace(SignBank.load(folder / "bank.yaml"), name=stored.bank)
    source = backbone if backbone is not None else stored.backbone
    base = _load_base(folder, source, preprocessing.size, stored.overrides)
    _check_base(folder, base, stored.backbone, expected, stored.activation)
    where = choose_device(device)
    base = placed(base.with_preprocessing(preprocessing), where, choose_precision(precision, where))
    with bounded(f"{folder}: its files do not fit together", ModelError, SDMADError):
        if isinstance(source, Backbone):
            _check_size(source, base)
        return _restore(folder, bank, base, stored)


def _check_base(folder: Path, base: Backbone, name: str, expected: str, activation: str) -> None:
    """Refuse base weights or an activation that the detector was not fitted on."""
    if base.weights_hash != expected:
        raise ModelError(
            f"{folder} was fitted on {name} with weights {expected[:12]}... ({MANIFEST}), but "
            f"{base.name} has {base.weights_hash[:12]}.... Give the folder of the right weights as "
            "the backbone, or fit again."
        )
    if activation and base.activation and base.activation != activation:
        raise ModelError(
            f"{folder} was fitted with activation {activation!r}, but {base.name} runs "
            f"{base.activation!r}. Mend its config.json, or load it with "
            f"activation={activation!r}."
        )


def _check_size(given: Backbone, base: Backbone) -> None:
    """Show a given tower one image of the model's size, where its own is another."""
    side = base.preprocessing.size
    if side != given.preprocessing.size:
        base.encode_image(torch.zeros(1, 3, side, side, device=base.device, dtype=base.dtype))


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


def _restore(folder: Path, bank: SignBank, backbone: Backbone, stored: StoredConfig) -> FittedState:
    path, config = folder / TENSORS, stored.settings
    # A copy lies at an aligned address, as after training; elsewhere last bits may differ.
    loaded = load_file(path, device=str(backbone.device))
    tensors = {name: tensor.clone() for name, tensor in loaded.items()}
    adapted = any(name.startswith(IMAGE) for name in tensors)
    # sdmad 0.1 saved untrained adapters of a fit without epochs, and scored with them.
    built = config.replace(epochs=max(config.epochs, int(adapted)))
    for prefix, wanted in zip((IMAGE, TEXT), adapter_shapes(backbone, built), strict=True):
        check_adapters(_part(tensors, prefix), wanted)
    head = _head(bank, config, tensors, backbone)
    support = StoredSupport.of(read_json(folder / "support.json"))
    log, notes = read_training(read_json(folder / "training.json"))
    image, text = build_adapters(backbone, built, stored.seed)
    image.adapters.load_state_dict(_part(tensors, IMAGE))
    text.adapters.load_state_dict(_part(tensors, TEXT))
    texts = SignTexts(bank, backbone, text)
    fit = (bank, backbone, config, stored.seed, image, texts, head, log, notes)
    return FittedState(*fit, support.images, support.patients, support.thresholds)


def _head(
    bank: SignBank, config: SDMADConfig, tensors: dict[str, Tensor], backbone: Backbone
) -> SignHead:
    room = Room.of(bank, backbone)
    signs, anchor, keep = room.text(_part(tensors, HEAD))
    category = torch.tensor(bank.category_index, device=signs.device)
    heard = config.image_evidence != "none"
    evidence = room.probe(_part(tensors, EVIDENCE)) if heard else None
    part = _part(tensors, FAMILIAR)
    familiar = room.familiarity(part) if part else None
    known = room.thresholds(tensors).cpu().numpy() if "thresholds" in tensors else None
    calibration = room.calibration(tensors) if "calibration" in tensors else None
    part = _part(tensors, HELD_OUT)
    held_out = room.held_out(part) if part else None
    by_patch = reads_patches(backbone, config)
    beside = (evidence, known, by_patch, familiar, calibration, held_out)
    return SignHead(signs, anchor, category, keep, config, *beside)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def verify(folder: Path) -> str:
    """Check every file of a model directory against its manifest.

    Returns:
        SHA-256 of the base weights that the model was fitted on.

    Raises:
        ModelError: naming what is missing, truncated or altered.
    """
    if not is_folder(folder):
        raise ModelError(f"no model directory {folder}; sdmad fit writes one")
    if not (folder / MANIFEST).is_file():
        raise ModelError(f"{folder} is not a model directory: it has no {MANIFEST}")
    manifest, files = read_manifest(folder / MANIFEST)
    base = manifest.get("base_weights_sha256")
    if not isinstance(base, str):
        raise altered(folder / MANIFEST)
    check_regular(folder / TENSORS, MAX_TENSORS, ModelError)
    for name in FILES:
        check_file(folder / MANIFEST, files, name, "fit again")
    return base
