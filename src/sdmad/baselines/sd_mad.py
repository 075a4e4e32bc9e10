"""SD-MAD's own rows among the compared systems."""

from __future__ import annotations

from sdmad.baselines.registry import Build, Recipe
from sdmad.detector.config import SDMADConfig
from sdmad.detector.sdmad import SDMAD

SEARCHED = SDMADConfig.paper(epochs=20)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


def _make(build: Build, settings: SDMADConfig) -> SDMAD:
    return SDMAD(build.bank, build.backbone, settings, build.seed)


RECIPES = {
    "sd-mad-unselected": Recipe(_make, SDMADConfig.paper(selection="none")),
    "sd-mad-printed": Recipe(_make, SDMADConfig.paper()),
    "sd-mad-searched": Recipe(_make, SDMADConfig.paper(), SEARCHED),
    "sd-mad": Recipe(_make, SDMADConfig()),
}
