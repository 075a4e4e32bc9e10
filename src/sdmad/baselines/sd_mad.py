"""SD-MAD's own rows among the compared systems."""

from __future__ import annotations

from sdmad.baselines.registry import Build, System
from sdmad.config import SDMADConfig
from sdmad.detector import SDMAD

SOURCE = "SD-MAD, under review at ICLR 2026"


def _printed(build: Build) -> SDMAD:
    return SDMAD(build.bank, build.backbone, SDMADConfig.paper(), build.seed)


def _unselected(build: Build) -> SDMAD:
    return SDMAD(build.bank, build.backbone, SDMADConfig.paper(selection="none"), build.seed)


def _recommended(build: Build) -> SDMAD:
    return SDMAD(build.bank, build.backbone, SDMADConfig(), build.seed)


SYSTEMS = (
    System(
        "sd-mad-unselected",
        "SD-MAD as printed, no selection",
        SOURCE,
        "support set",
        _unselected,
        maps=True,
        differs="no code was published; docs/method.md decides every gap of the paper",
    ),
    System("sd-mad-printed", "SD-MAD as printed", SOURCE, "support set", _printed, maps=True),
    System(
        "sd-mad",
        "SD-MAD recommended",
        SOURCE,
        "support set",
        _recommended,
        maps=True,
        differs="margin, weight of Eq. 3, pooling and a linear probe; see docs/settings.md",
    ),
)
