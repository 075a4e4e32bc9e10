"""Systems that tell abnormal from normal images, and one of them a category for several kinds.

The compared systems of this kind know one question only: is the image abnormal? For the protocols
that ask which category it shows, one detector is fitted a category.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.data.images import ImageSource
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError
from sdmad.evidence import Combined
from sdmad.interface import Detector, Mask, check_images, check_labels
from sdmad.scores import ImageScores

FIT_BATCH = 32


class AnomalyDetector(ABC):
    """Tells abnormal from normal images, and perhaps where.

    Attributes:
        has_maps: whether :meth:`map_pixels` is there.
        natural_threshold: abnormality above which an image counts as abnormal where the support
            set cannot say.
        preprocessing: how its images are prepared; None for the backbone's way.
    """

    has_maps: bool = False
    natural_threshold: float = 0.5
    preprocessing: Preprocessing | None = None

    @abstractmethod
    def fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> Self:
        """Learn from the support set.

        Args:
            pixels: preprocessed images, ``(n, 3, H, W)``.
            abnormal: which of them are abnormal, boolean ``(n,)``.
            masks: where each is abnormal, boolean of any size, or None where that is not known.

        Raises:
            InputError: if the system needs what the support set does not have.
        """

    @abstractmethod
    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Abnormality ``(n,)`` of preprocessed images ``(n, 3, H, W)``; larger is more."""

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where they are abnormal, ``(n, h, w)``; larger is more.

        Raises:
            InputError: if the system makes no maps.
        """
        del pixels
        raise InputError(f"{type(self).__name__} makes no anomaly maps")


class OnePerCategory(Detector):
    """One anomaly detector for "is it abnormal at all", and one a category.

    A category's detector learns from the images that show it against all whose label is 0, normal
    ones included. A category is found where its detector's score exceeds the midpoint between the
    mean scores of the two groups of support images; without both groups, the detector's natural
    threshold. The maps are those of the first detector.

    Args:
        categories: the K names.
        backbone: the frozen model.
        make: builds an unfitted detector for a category, or for None: any anomaly.
    """

    def __init__(
        self,
        categories: Sequence[str],
        backbone: Backbone,
        make: Callable[[str | None], AnomalyDetector],
    ) -> None:
        self.categories, self.backbone = tuple(categories), backbone
        self.general = make(None)
        self.single = [make(name) for name in self.categories]
        self.has_maps = self.general.has_maps
        self.thresholds_: Tensor | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """The detectors' own way to prepare an image, or the backbone's."""
        return self.general.preprocessing or self.backbone.preprocessing

    def forget_categories(self) -> None:
        """Answer only whether an image is abnormal: every category gets that one score."""
        self.single = []

    def fit(
        self,
        images: Sequence[ImageSource],
        labels: NDArray[np.float64],
        masks: Sequence[Mask | None] | None = None,
    ) -> Self:
        """Fit every detector.

        Args:
            images: n paths, Pillow images or arrays.
            labels: 1 present, 0 absent, NaN unknown, shape ``(n, K)``; an all-zero row is normal.
            masks: where each image is abnormal, or None where that is not known.

        Raises:
            ImageError: if an image cannot be read.
            InputError: if shapes disagree, there is no image, or a detector lacks what it needs.
        """
        check_images(images)
        if len(images) == 0:
            raise InputError("there is no image to fit on")
        values = check_labels(labels, len(images), len(self.categories))
        where = [None] * len(images) if masks is None else list(masks)
        pixels = self.preprocessing(images).to(self.backbone.device)
        truth = torch.tensor(values, device=pixels.device)
        positive, normal = (truth == 1).any(dim=1), (truth == 0).all(dim=1)
        whole = self._fit(self.general, pixels, positive, positive | normal, where)
        thresholds = [
            self._fit(detector, pixels, truth[:, k] == 1, ~truth[:, k].isnan(), where)
            for k, detector in enumerate(self.single)
        ]
        self.thresholds_ = torch.tensor(thresholds or [whole] * len(self.categories))
        return self

    def _fit(
        self,
        detector: AnomalyDetector,
        pixels: Tensor,
        abnormal: Tensor,
        known: Tensor,
        masks: Sequence[Mask | None],
    ) -> float:
        """Fit one detector on the images whose label is known; returns its threshold."""
        rows = known.nonzero()[:, 0].tolist()
        mine, truth = pixels[rows], abnormal[rows]
        detector.fit(mine, truth, [masks[i] for i in rows])
        if truth.all() or not truth.any():
            return detector.natural_threshold
        with torch.no_grad():
            scores = torch.cat([detector.score_pixels(part) for part in mine.split(FIT_BATCH)])
        return float((scores[truth].mean() + scores[~truth].mean()) / 2)

    def check_fitted(self) -> None:
        """Raise InputError if :meth:`fit` has not run."""
        if self.thresholds_ is None:
            raise InputError("these detectors are not fitted yet: call fit")

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        self.check_fitted()
        assert self.thresholds_ is not None
        pixels = pixels.to(self.backbone.device)
        abnormality = self.general.score_pixels(pixels).cpu()
        columns = [one.score_pixels(pixels).cpu() for one in self.single]
        scores = torch.stack(columns or [abnormality] * len(self.categories), dim=1)
        found = scores > self.thresholds_
        combined = Combined(scores, scores - self.thresholds_, abnormality)
        nothing = torch.zeros(len(pixels), 0)
        return ImageScores.of(combined, found, nothing, torch.full((len(pixels),), torch.nan))

    @torch.no_grad()
    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where preprocessed images ``(n, 3, H, W)`` are abnormal: ``(n, h, w)``."""
        return self.general.map_pixels(pixels.to(self.backbone.device))
