"""Which model said it, and how it was asked to decide."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad._version import __version__
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector import checkpoint
from sdmad.detector.manifest import file_hash
from sdmad.detector.sign_detector import SignDetector
from sdmad.export import files
from sdmad.export.runtime import ExportedModel
from sdmad.output import json_text
from sdmad.signs import SignBank

Judge = SignDetector | ExportedModel
"""What scores images: a fitted detector, or an export of one."""


@dataclass(frozen=True)
class ModelIdentity:
    """A model as it decides.

    Attributes:
        name: of its sign bank.
        sha256: of its manifest, which holds the SHA-256 of every other file.
        settings: what else decides, by name: the rule, thresholds, prevalence, error rate.
        version: of this package.
    """

    name: str
    sha256: str
    settings: Mapping[str, str]
    version: str = __version__

    @classmethod
    def of(
        cls,
        judge: Judge,
        folder: Path,
        *,
        prevalence: object = None,
        error_rate: float | None = None,
        precision: str = "float32",
    ) -> ModelIdentity:
        """That of a model directory or an export, as it was loaded.

        Args:
            judge: what was loaded, with its decision rule set.
            folder: where from.
            prevalence: as it was stated; None where it was not.
            error_rate: as it was stated.
            precision: of the towers.

        Raises:
            ModelError: if its manifest cannot be read.
        """
        exported = isinstance(judge, ExportedModel)
        manifest = folder / (files.MANIFEST if exported else checkpoint.MANIFEST)
        limits = limits_of(judge)
        said = {
            "decision": judge.description.decision
            if isinstance(judge, ExportedModel)
            else judge.config_.decision,
            "thresholds": None if limits is None else [round(v, 6) for v in limits.tolist()],
            "prevalence": prevalence,
            "error rate": error_rate,
            "precision": judge.description.precision
            if isinstance(judge, ExportedModel)
            else precision,
        }
        settings = {
            name: value if isinstance(value, str) else json_text(value, indent=None)
            for name, value in said.items()
            if value is not None
        }
        return cls(bank_of(judge).name, file_hash(manifest), settings)

    @property
    def fingerprint(self) -> str:
        """Of all that decides: two runs of one fingerprint give the same results."""
        return hashlib.sha256(json_text(vars(self)).encode()).hexdigest()


def bank_of(judge: Judge) -> SignBank:
    """Its signs."""
    return judge.description.bank if isinstance(judge, ExportedModel) else judge.bank_


def preprocessing_of(judge: Judge) -> Preprocessing:
    """How it sees an image."""
    if isinstance(judge, ExportedModel):
        return judge.description.preprocessing
    return judge.preprocessing


def limits_of(judge: Judge) -> NDArray[np.float64] | None:
    """The score above which each category is found, ``(K,)``; None of a rule of signs alone."""
    if not isinstance(judge, ExportedModel):
        return judge.head_.limits()
    limits = judge.description.limits
    return None if limits is None else np.array(limits)
