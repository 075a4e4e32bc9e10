"""A linear probe: one logistic regression a category on the frozen image tower's evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.registry import Build, Recipe
from sdmad.detector.base import Detector, TrainingSet
from sdmad.detector.probe import LinearProbe
from sdmad.detector.scores import ImageScores


@dataclass(frozen=True)
class LinearProbeSettings:
    """The hyper-parameter.

    Attributes:
        regularisation: strength of the L2 penalty, 1 / C of scikit-learn, whose usual value this
            is; CLIP's authors choose it by a search.
    """

    regularisation: float = 1.0


SEARCHED = LinearProbeSettings(regularisation=0.01)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


class LinearProbeDetector(Detector):
    """What any user would try first on the same few images.

    Args:
        categories: the K category names.
        backbone: the frozen model.
        settings: the hyper-parameter.

    Attributes:
        probe_: the fitted probe.
    """

    set_by_fit = "probe_"

    def __init__(
        self,
        categories: Sequence[str],
        backbone: Backbone,
        settings: LinearProbeSettings | None = None,
    ) -> None:
        self.categories, self.backbone = tuple(categories), backbone
        self.settings = settings or LinearProbeSettings()
        self.probe_: LinearProbe | None = None

    def _fit(self, training: TrainingSet) -> None:
        """Fit a logistic regression a category; unknown labels are left out of theirs."""
        pixels = self.backbone.preprocessing(training.images)
        parts = [self.backbone.encode_with_evidence(part)[1] for part in pixels.split(32)]
        strength = self.settings.regularisation
        sizes = self.backbone.image.evidence_parts
        self.probe_ = LinearProbe.fit(torch.cat(parts), training.labels, strength, sizes)

    @property
    def trained_parameters(self) -> int:
        """Weights and biases of the regressions."""
        probe = self.probe_
        return 0 if probe is None else probe.weights.numel() + probe.bias.numel()

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        self.check_fitted()
        assert self.probe_ is not None
        odds = self.probe_(self.backbone.encode_with_evidence(pixels)[1])
        return ImageScores.of(odds, odds > 0, odds.amax(dim=1))


def _make(build: Build, settings: LinearProbeSettings) -> LinearProbeDetector:
    return LinearProbeDetector(build.bank.names, build.backbone, settings)


RECIPES = {
    "linear-probe": Recipe(_make, LinearProbeSettings()),
    "linear-probe-searched": Recipe(_make, LinearProbeSettings(), SEARCHED),
}
