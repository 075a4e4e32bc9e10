"""A linear probe: one logistic regression a category on the frozen image embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.registry import Build, Recipe
from sdmad.data.images import ImageSource
from sdmad.detector.base import Detector, Mask, check_images, check_labels
from sdmad.detector.evidence import Combined, LinearProbe
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError


@dataclass(frozen=True)
class LinearProbeSettings:
    """The hyper-parameter.

    Attributes:
        regularisation: strength of the L2 penalty, 1 / C of scikit-learn, whose usual value this
            is; CLIP's authors choose it by a search.
    """

    regularisation: float = 1.0


SEARCHED = LinearProbeSettings(regularisation=30.0)
"""The best of eight on validation phantoms with the nano backbone (docs/searched.md)."""


class LinearProbeDetector(Detector):
    """What any user would try first on the same few images.

    Args:
        categories: the K category names.
        backbone: the frozen model.
        settings: the hyper-parameter.

    Attributes:
        probe_: the fitted probe.
    """

    def __init__(
        self,
        categories: Sequence[str],
        backbone: Backbone,
        settings: LinearProbeSettings | None = None,
    ) -> None:
        self.categories, self.backbone = tuple(categories), backbone
        self.settings = settings or LinearProbeSettings()
        self.probe_: LinearProbe | None = None

    def fit(
        self,
        images: Sequence[ImageSource],
        labels: NDArray[np.float64],
        masks: Sequence[Mask | None] | None = None,
    ) -> Self:
        """Fit a logistic regression a category; unknown labels are left out of theirs.

        Args:
            images: n paths, Pillow images or arrays.
            labels: 1, 0 or NaN, shape ``(n, K)``.
            masks: ignored.

        Raises:
            ImageError: if an image cannot be read.
            InputError: if shapes disagree or there is no image.
        """
        del masks
        check_images(images)
        if len(images) == 0:
            raise InputError("there is no image to fit on")
        values = check_labels(labels, len(images), len(self.categories))
        pixels = self.backbone.preprocessing(images)
        features = torch.cat([self.backbone.encode_image(part) for part in pixels.split(32)])
        self.probe_ = LinearProbe.fit(features, values, self.settings.regularisation)
        return self

    def check_fitted(self) -> None:
        """Raise InputError if :meth:`fit` has not run."""
        if self.probe_ is None:
            raise InputError("this probe is not fitted yet: call fit")

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
        odds = self.probe_(self.backbone.encode_image(pixels))
        nothing = torch.zeros(len(odds), 0)
        unknown = torch.full((len(odds),), torch.nan)
        return ImageScores.of(Combined(odds, odds, odds.amax(dim=1)), odds > 0, nothing, unknown)


def _make(build: Build, settings: LinearProbeSettings) -> LinearProbeDetector:
    return LinearProbeDetector(build.bank.names, build.backbone, settings)


RECIPES = {
    "linear-probe": Recipe(
        _make,
        LinearProbeSettings(),
        differs="scikit-learn's usual penalty, where CLIP's authors search for one",
    ),
    "linear-probe-searched": Recipe(
        _make,
        LinearProbeSettings(),
        SEARCHED,
        differs="on the nano the penalty that ranks best; on any other backbone the linear probe",
    ),
}
