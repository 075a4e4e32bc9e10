"""What the files of a model directory may say: types, shapes and ranges, checked when it is loaded.

A model may be anyone's. What passes here cannot fail later, when images are scored: every number is
finite and of a size that a fit gives, every tensor has the shape that the bank and the backbone ask
for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.backbones.known import Overrides
from sdmad.detector.calibration import Calibration
from sdmad.detector.config import SDMADConfig
from sdmad.detector.familiarity import Familiarity
from sdmad.detector.head import ImageEvidence
from sdmad.detector.held_out import HeldOut
from sdmad.detector.patients import PatientHashes
from sdmad.detector.probe import LinearProbe
from sdmad.detector.training import EpochLog
from sdmad.errors import InputError
from sdmad.signs import SignBank

BEFORE = {"sign_view": "image"}
"""What models meant that were saved before there was such a setting."""

MAX_TENSORS = 1 << 32
"""Bytes of a model's tensors; the adapters of the largest published tower need a tenth of it."""

MAX_SEED = 1 << 63
LARGEST = 1e9
"""No number of a fitted model comes near it."""

UNIT = 0.05
"""What the length of a unit vector may be off, in half precision too."""

_HASH = re.compile(r"[0-9a-f]{64}")
_SALT = re.compile(r"(?:[0-9a-f]{2}){8,64}")


@dataclass(frozen=True)
class StoredConfig:
    """``config.json`` of a model directory.

    Attributes:
        settings: of the fit.
        seed: of the fit.
        bank: the bank's name.
        backbone: the backbone's name.
        overrides: what was stated of the backbone.
        activation: that the backbone ran; "" where it says nothing.
    """

    settings: SDMADConfig
    seed: int
    bank: str
    backbone: str
    overrides: Overrides
    activation: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read it.

        Raises:
            ValueError: naming what is missing, of another type or out of range.
        """
        settings = SDMADConfig.from_dict({**BEFORE, **_mapping(content, "settings")})
        seed = content.get("seed")
        if type(seed) is not int or not 0 <= seed < MAX_SEED:
            raise InputError(f"seed must be a whole number from 0, got {seed!r}")
        stated = _mapping(content, "backbone_overrides") if "backbone_overrides" in content else {}
        try:
            overrides = Overrides(**stated)
        except TypeError as error:
            raise InputError(f"backbone_overrides: {error}") from error
        bank, backbone = _text(content, "bank"), _text(content, "backbone")
        return cls(settings, seed, bank, backbone, overrides, _text(content, "activation", ""))


@dataclass(frozen=True)
class StoredSupport:
    """``support.json`` of a model directory.

    Attributes:
        images: SHA-256 of each support image.
        thresholds: SHA-256 of each image behind the thresholds.
        patients: salted hashes of the support patients.
    """

    images: tuple[str, ...]
    thresholds: tuple[str, ...]
    patients: PatientHashes

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read it.

        Raises:
            ValueError: naming what is missing or no hash.
        """
        patients = _mapping(content, "patients")
        salt = patients.get("salt")
        if not isinstance(salt, str) or not _SALT.fullmatch(salt):
            raise InputError("patients: the salt must be hexadecimal")
        hashes = PatientHashes(salt, _hashes(patients, "hashes"))
        thresholds = _hashes(content, "threshold_images_sha256")
        return cls(_hashes(content, "images_sha256"), thresholds, hashes)


def read_training(content: Mapping[str, Any]) -> tuple[tuple[EpochLog, ...], tuple[str, ...]]:
    """The epochs and the notes in ``training.json``.

    Raises:
        ValueError: naming what is missing or of another type.
    """
    epochs = []
    for entry in _list(content, "epochs"):
        if not isinstance(entry, dict):
            raise InputError(f"an epoch must be a mapping, got {type(entry).__name__}")
        values = (_number(entry.get(key), f"an epoch's {key}") for key in ("loss", "sign_cosine"))
        epochs.append(EpochLog(*values))
    notes = _list(content, "notes")
    if not all(isinstance(note, str) for note in notes):
        raise InputError("notes must be texts")
    return tuple(epochs), tuple(notes)


@dataclass(frozen=True)
class Room:
    """The sizes that a bank and a backbone ask for.

    Attributes:
        signs: S.
        categories: K.
        dimension: of the embeddings, D.
        evidence: of what the image tower knows before its projection, E.
    """

    signs: int
    categories: int
    dimension: int
    evidence: int

    @classmethod
    def of(cls, bank: SignBank, backbone: Backbone) -> Self:
        """Those of a bank on a backbone."""
        parts = backbone.image.evidence_parts
        evidence = sum(parts) or backbone.dimension
        return cls(len(bank.sentences), len(bank.names), backbone.dimension, evidence)

    def text(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The signs' embeddings, the anchor and the kept marks."""
        signs = _reals(tensors, "signs", (self.signs, self.dimension), unit=True)
        anchor = _reals(tensors, "anchor", (self.dimension,), unit=True)
        return signs, anchor, marks(_there(tensors, "keep"), "keep", self.signs)

    def probe(self, tensors: Mapping[str, Tensor]) -> ImageEvidence:
        """Image evidence."""
        weights = _there(tensors, "weights")
        widths = {self.dimension, self.evidence, self.dimension + self.evidence}
        if weights.ndim != 2 or weights.shape[1] not in widths:
            raise InputError(f"weights of shape {list(weights.shape)} fit no evidence")
        weights = _reals(tensors, "weights", (self.categories, weights.shape[1]))
        bias = _reals(tensors, "bias", (self.categories,))
        learnt = marks(_there(tensors, "learnt"), "learnt", self.categories)
        scales = _reals(tensors, "scales", (2,), torch.float64)
        if not (scales > 0).all():
            raise InputError(f"scales must be positive, got {scales.tolist()}")
        return ImageEvidence(LinearProbe(weights, bias, learnt), *scales.tolist())

    def familiarity(self, tensors: Mapping[str, Tensor]) -> Familiarity:
        """What tells images of another kind."""
        centre = _reals(tensors, "centre", (self.evidence,), unit=True)
        return Familiarity(centre, float(_reals(tensors, "least", (), torch.float64)))

    def calibration(self, tensors: Mapping[str, Tensor]) -> Calibration:
        """From log odds to probabilities."""
        line = _reals(tensors, "calibration", (2 + self.categories,), torch.float64).tolist()
        return Calibration(line[0], line[1], tuple(line[2:]))

    def held_out(self, tensors: Mapping[str, Tensor]) -> HeldOut:
        """What fits said of support images that they did not see."""
        patients = _there(tensors, "patients")
        if patients.dtype != torch.int64 or patients.ndim != 1:
            raise InputError("patients of scores held out must be whole numbers")
        shape = (len(patients), self.categories)
        scores = _reals(tensors, "scores", shape, torch.float64)
        labels = _there(tensors, "labels").to(torch.float64)
        known = labels.isnan() | (labels == 0) | (labels == 1)
        if labels.shape != shape or not known.all():
            raise InputError("labels of scores held out must be 1, 0 or unknown")
        return HeldOut(*(t.cpu().numpy() for t in (scores, labels, patients)))

    def thresholds(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """A threshold a category."""
        return _reals(tensors, "thresholds", (self.categories,), torch.float64)


def check_adapters(tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Hold adapters to the shapes that the settings ask for, before they get any memory.

    Raises:
        ValueError: naming a tensor that is missing, too much, of another shape, or not finite.
    """
    if odd := sorted(wanted.keys() ^ tensors.keys()):
        raise InputError(f"adapters: {odd[0]} is {'missing' if odd[0] in wanted else 'too much'}")
    for name, shape in wanted.items():
        _reals(tensors, name, shape)


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise InputError(f"{key} must be a mapping, got {type(value).__name__}")
    return value


def _list(content: Mapping[str, Any], key: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list):
        raise InputError(f"{key} must be a list, got {type(value).__name__}")
    return value


def _text(content: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = content.get(key, default)
    if not isinstance(value, str):
        raise InputError(f"{key} must be text, got {type(value).__name__}")
    return value


def _number(value: object, what: str) -> float:
    """A number; what was not finite is written as null."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST:
        raise InputError(f"{what} must be a number")
    return float(value)


def _hashes(content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = _list(content, key)
    if not all(isinstance(value, str) and _HASH.fullmatch(value) for value in values):
        raise InputError(f"{key} must be hashes of 64 hexadecimal digits")
    return tuple(values)


def _there(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise InputError(f"the tensor {name} is missing")
    return tensors[name]


def _reals(
    tensors: Mapping[str, Tensor],
    name: str,
    shape: Sequence[int],
    kind: torch.dtype = torch.float32,
    unit: bool = False,
) -> Tensor:
    """A tensor of finite numbers; with ``unit``, its last dimension holds unit vectors."""
    found = _there(tensors, name)
    if found.shape != tuple(shape):
        raise InputError(f"{name} has shape {list(found.shape)}, not {list(shape)}")
    if not found.is_floating_point():
        raise InputError(f"{name} holds {found.dtype}, not numbers with a fraction")
    found = found.to(kind)
    if not (found.abs() <= LARGEST).all():
        raise InputError(f"{name} holds numbers that no fit gives")
    if unit and not ((found.norm(dim=-1) - 1).abs() <= UNIT).all():
        raise InputError(f"{name} is not of unit length")
    return found


def marks(found: Tensor, name: str, count: int) -> Tensor:
    """A tensor of so many marks, boolean.

    Raises:
        InputError: if it is another.
    """
    if found.dtype != torch.bool or found.shape != (count,):
        raise InputError(f"{name} must be {count} marks, got {found.dtype} {list(found.shape)}")
    return found
