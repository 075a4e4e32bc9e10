"""The directory of an export: what is in it, its hashes, and what it says of itself.

| file | holds |
| --- | --- |
| ``model.xml``, ``model.bin`` or ``model.onnx``, ``model.onnx.data`` | the graph and its weights |
| ``bank.yaml`` | the sign bank |
| ``config.json`` | format, precision, weight bits, preprocessing, decision rule, kept signs |
| ``export.json`` | SHA-256 of every other file, what it was made of, what the check found |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sdmad.choices import ExportTarget, GraphPrecision
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.calibration import Calibration
from sdmad.detector.config import parse_decision
from sdmad.detector.held_out import HeldOut
from sdmad.detector.manifest import check_file, read_json, read_manifest
from sdmad.errors import InputError, ModelError, SDMADError
from sdmad.inputs import bounded, check_regular
from sdmad.signs import SignBank

MANIFEST = "export.json"
CONFIG = "config.json"
BANK = "bank.yaml"
FORMAT = 1
NO_MAPS = "an exported model gives no maps; give the directory that sdmad fit wrote"
GRAPHS = {"openvino": ("model.xml", "model.bin"), "onnx": ("model.onnx", "model.onnx.data")}
"""Files of each runtime's graph; the first is opened."""

MAX_FILE = 1 << 34
"""Bytes of a file of an export; the weights of the largest published tower need a tenth of it."""

PRECISIONS = get_args(GraphPrecision)
TARGETS = get_args(ExportTarget)


@dataclass(frozen=True)
class Description:
    """What an export says of itself.

    Attributes:
        runtime: a key of :data:`GRAPHS`.
        precision: one of :data:`PRECISIONS`.
        preprocessing: what stands before the graph and, its resizing and standardising, inside it.
        bank: the signs.
        keep: those that selection kept, S of them.
        decision: the rule that the graph decides by.
        weight_bits: of int8, 7 where any processor adds the products right and 8 where one with
            VNNI is needed (see :mod:`sdmad.export.machine`); None for other precisions.
        calibration: from scores to probabilities; None where they are no log odds.
        held_out: what fits said of support images that they did not see; None where there is none.
        limits: the score above which each category is found, K of them; None of a rule that holds
            signs to the anchor, and of older exports.
    """

    runtime: str
    precision: str
    preprocessing: Preprocessing
    bank: SignBank
    keep: tuple[bool, ...]
    decision: str
    weight_bits: int | None = None
    calibration: Calibration | None = None
    held_out: HeldOut | None = None
    limits: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the bank's sentences."""
        return {
            "format": FORMAT,
            "runtime": self.runtime,
            "precision": self.precision,
            "weight_bits": self.weight_bits,
            "bank": self.bank.name,
            "keep": list(self.keep),
            "decision": self.decision,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "held_out": None if self.held_out is None else self.held_out.to_dict(),
            "limits": None if self.limits is None else list(self.limits),
            "preprocessing": self.preprocessing.to_dict(),
        }


def is_export(folder: Path) -> bool:
    """Whether a directory is an export rather than a model."""
    return (folder / MANIFEST).is_file()


def read_description(folder: Path) -> Description:
    """Check every file of an export against its hash, then read what it says of itself.

    Raises:
        ModelError: naming what is missing, truncated, altered or of another format.
    """
    _, files = read_manifest(folder / MANIFEST)
    check_file(folder / MANIFEST, files, CONFIG, "export again")
    config = read_json(folder / CONFIG)
    runtime = config.get("runtime")
    if config.get("format") != FORMAT or not isinstance(runtime, str) or runtime not in GRAPHS:
        raise ModelError(
            f"{folder}: an export of format {config.get('format')!r} for {config.get('runtime')!r};"
            f" this version reads format {FORMAT} for {' and '.join(GRAPHS)}; export again"
        )
    for name in (BANK, *GRAPHS[runtime]):
        check_regular(folder / name, MAX_FILE, ModelError)
        check_file(folder / MANIFEST, files, name, "export again")
    return _described(folder, config)


def _described(folder: Path, config: dict[str, Any]) -> Description:
    with bounded(f"{folder}: its files do not fit together", ModelError, SDMADError):
        bank = SignBank.load(folder / BANK)
        keep = tuple(config["keep"])
        if len(keep) != len(bank.sentences) or not all(isinstance(k, bool) for k in keep):
            raise InputError(f"{len(keep)} kept marks for {len(bank.sentences)} signs")
        precision, decision = config["precision"], config["decision"]
        if precision not in PRECISIONS:
            raise InputError(f"precision must be one of {', '.join(PRECISIONS)}")
        parse_decision(decision)
        return Description(
            config["runtime"],
            precision,
            Preprocessing.from_dict(config["preprocessing"]),
            bank,
            keep,
            decision,
            _weight_bits(config),
            _calibration(config, len(bank.names)),
            _held_out(config, len(bank.names)),
            _limits(config, len(bank.names)),
        )


def _calibration(config: dict[str, Any], categories: int) -> Calibration | None:
    """Older exports say nothing of it."""
    values = config.get("calibration")
    if values is None:
        return None
    found = Calibration.from_dict(values)
    if len(found.prevalence) != categories:
        raise ValueError(f"a calibration of {len(found.prevalence)} categories for {categories}")
    return found


def _held_out(config: dict[str, Any], categories: int) -> HeldOut | None:
    """Older exports have none."""
    values = config.get("held_out")
    if values is None:
        return None
    found = HeldOut.from_dict(values)
    if found.scores.shape[1] != categories:
        raise ValueError(f"scores of {found.scores.shape[1]} categories for {categories}")
    return found


def _limits(config: dict[str, Any], categories: int) -> tuple[float, ...] | None:
    values = config.get("limits")
    if values is None:
        return None
    found = tuple(float(value) for value in values)
    if len(found) != categories or not all(map(math.isfinite, found)):
        raise ValueError(f"thresholds {found} of {categories} categories")
    return found


def _weight_bits(config: dict[str, Any]) -> int | None:
    """Exports of int8 that do not say it have all 8 bits."""
    bits = config.get("weight_bits", 8 if config["precision"] == "int8" else None)
    if bits not in ((7, 8) if config["precision"] == "int8" else (None,)):
        raise ValueError(f"{config['precision']} weights of {bits} bits")
    return bits if isinstance(bits, int) else None
