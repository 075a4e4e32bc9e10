"""SD-MAD's own rows among the compared systems."""

from __future__ import annotations

from sdmad.baselines.registry import Build, System
from sdmad.detector.config import SDMADConfig
from sdmad.detector.sdmad import SDMAD

SOURCE = "SD-MAD, under review at ICLR 2026"

SEARCHED = SDMADConfig.paper(learning_rate=3e-4, epochs=20)
"""The best of eight on validation phantoms with the nano backbone (docs/searched.md)."""


def _make(build: Build, settings: SDMADConfig) -> SDMAD:
    return SDMAD(build.bank, build.backbone, settings, build.seed)


SYSTEMS = (
    System(
        "sd-mad-unselected",
        "SD-MAD as printed, no selection",
        SOURCE,
        "support set",
        _make,
        maps=True,
        published=SDMADConfig.paper(selection="none"),
    ),
    System(
        "sd-mad-printed",
        "SD-MAD as printed",
        SOURCE,
        "support set",
        _make,
        maps=True,
        published=SDMADConfig.paper(),
    ),
    System(
        "sd-mad-searched",
        "SD-MAD as printed, searched",
        SOURCE,
        "support set",
        _make,
        maps=True,
        published=SDMADConfig.paper(),
        searched=SEARCHED,
    ),
    System(
        "sd-mad",
        "SD-MAD recommended",
        SOURCE,
        "support set",
        _make,
        maps=True,
        published=SDMADConfig(),
        own_settings=True,
    ),
)
