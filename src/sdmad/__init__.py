"""Sign-driven few-shot detection of several anomalies in one medical image (SD-MAD).

Not a medical device: for research, never for diagnosis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sdmad._version import __version__

if TYPE_CHECKING:
    from sdmad.backbones import load_backbone
    from sdmad.data.images import ImageError
    from sdmad.detector.config import SDMADConfig
    from sdmad.detector.findings import Explanation
    from sdmad.detector.scores import ImageScores
    from sdmad.detector.sdmad import SDMAD
    from sdmad.errors import (
        InputError,
        MissingExtraError,
        ModelError,
        NotFittedError,
        SDMADError,
        WeightsMissingError,
    )
    from sdmad.signs import SignBank

_HOMES = {
    "Explanation": "sdmad.detector.findings",
    "ImageError": "sdmad.data.images",
    "ImageScores": "sdmad.detector.scores",
    "InputError": "sdmad.errors",
    "MissingExtraError": "sdmad.errors",
    "ModelError": "sdmad.errors",
    "NotFittedError": "sdmad.errors",
    "SDMAD": "sdmad.detector.sdmad",
    "SDMADConfig": "sdmad.detector.config",
    "SDMADError": "sdmad.errors",
    "SignBank": "sdmad.signs",
    "WeightsMissingError": "sdmad.errors",
    "load_backbone": "sdmad.backbones",
}

__all__ = [
    "SDMAD",
    "Explanation",
    "ImageError",
    "ImageScores",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "NotFittedError",
    "SDMADConfig",
    "SDMADError",
    "SignBank",
    "WeightsMissingError",
    "__version__",
    "load_backbone",
]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that ``import sdmad`` stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sdmad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
