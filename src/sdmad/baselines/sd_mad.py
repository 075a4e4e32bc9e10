"""SD-MAD's own rows among the compared systems."""

from __future__ import annotations

from sdmad.baselines.registry import Build, Recipe
from sdmad.detector.config import SDMADConfig
from sdmad.detector.sdmad import SDMAD

SEARCHED = SDMADConfig.paper(learning_rate=3e-4, epochs=20)
"""The best of eight on validation phantoms with the nano backbone (docs/searched.md)."""


def _make(build: Build, settings: SDMADConfig) -> SDMAD:
    return SDMAD(build.bank, build.backbone, settings, build.seed)


RECIPES = {
    "sd-mad-unselected": Recipe(
        _make,
        SDMADConfig.paper(selection="none"),
        differs="no code was published; docs/method.md decides every gap of the paper",
    ),
    "sd-mad-printed": Recipe(_make, SDMADConfig.paper()),
    "sd-mad-searched": Recipe(
        _make,
        SDMADConfig.paper(),
        SEARCHED,
        differs="on the nano its settings come from a search as large as every peer's; on any "
        "other backbone it is SD-MAD as printed",
    ),
    "sd-mad": Recipe(
        _make,
        SDMADConfig(),
        differs="margin, weight of Eq. 3, pooling and a linear probe; see docs/settings.md",
    ),
}
