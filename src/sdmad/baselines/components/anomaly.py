"""Systems that tell abnormal from normal images, and one of them a category for several kinds.

The compared systems of this kind know one question only: is the image abnormal? For the protocols
that ask which category it shows, one detector is fitted a category.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.base import Detector, Mask, TrainingSet
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError

FIT_BATCH = 32


@dataclass(frozen=True)
class Lesson:
    """What one detector learns from.

    Attributes:
        pixels: preprocessed images, ``(n, 3, H, W)``; one tensor where detectors share them.
        abnormal: which of them are abnormal, boolean ``(n,)``.
        masks: where each is abnormal, boolean of any size, or None where that is not known.
    """

    pixels: Tensor
    abnormal: Tensor
    masks: tuple[Mask | None, ...]

    @property
    def masked(self) -> bool:
        """Whether there is a mask of any abnormal image."""
        return any(
            mask is not None and abnormal
            for mask, abnormal in zip(self.masks, self.abnormal.tolist(), strict=True)
        )


class AnomalyDetector(ABC):
    """Tells abnormal from normal images, and perhaps where.

    Attributes:
        has_maps: whether :meth:`map_pixels` is there.
        needs_normal: whether it cannot be fitted without a normal image.
        natural_threshold: abnormality above which an image counts as abnormal where the support
            set cannot say.
        preprocessing: how its images are prepared; None for the backbone's way.
        log_: mean loss of each epoch of training; empty where nothing is trained.
    """

    has_maps: bool = False
    needs_normal: bool = False
    natural_threshold: float = 0.5
    preprocessing: Preprocessing | None = None
    log_: Sequence[float] = ()

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The tensors that training has set; detectors may share them."""
        return ()

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each epoch of training."""
        return tuple(self.log_)

    @final
    def fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> Self:
        """Learn from the support set.

        Args:
            pixels: preprocessed images, ``(n, 3, H, W)``.
            abnormal: which of them are abnormal, boolean ``(n,)``.
            masks: where each is abnormal, boolean of any size, or None where that is not known.

        Raises:
            InputError: if the system needs what the support set does not have.
        """
        if self.needs_normal and bool(abnormal.all()):
            raise InputError(
                f"{type(self).__name__} needs at least one normal image in the support set"
            )
        self._fit(pixels, abnormal, masks)
        return self

    @abstractmethod
    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Learn from a support set that has what the system needs."""

    @classmethod
    def fit_together(cls, detectors: Sequence[Any], lessons: Sequence[Lesson]) -> None:
        """:meth:`fit` of detectors of this kind, one after another unless they can share work.

        Args:
            detectors: of this class.
            lessons: one of each.

        Raises:
            InputError: as :meth:`fit`.
        """
        for detector, lesson in zip(detectors, lessons, strict=True):
            detector.fit(lesson.pixels, lesson.abnormal, lesson.masks)

    def support_scores(self, pixels: Tensor) -> Tensor:
        """Scores ``(n,)`` of the images it was fitted on, none compared with itself.

        Args:
            pixels: those images, ``(n, 3, H, W)``.
        """
        return torch.cat([self.score_pixels(part) for part in pixels.split(FIT_BATCH)])

    def compared_with_itself(self, pixels: Tensor) -> Tensor:
        """Which support images :meth:`support_scores` had nothing else to compare with, ``(n,)``.

        The score of such a one says nothing of an image that was not seen.

        Args:
            pixels: the images it was fitted on, ``(n, 3, H, W)``.
        """
        return torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)

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
    ones included, and from the category's own masks. A category is found where its detector's
    score exceeds the midpoint between the mean scores of the two groups of support images, of
    which none is compared with itself (:func:`_threshold`); without both groups, the detector's
    natural threshold. The maps are those of the first detector.

    Args:
        categories: the K names.
        backbone: the frozen model.
        make: builds an unfitted detector for a category, or for None: any anomaly.
    """

    set_by_fit = "thresholds_"

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

    def _fit(self, training: TrainingSet) -> None:
        """Fit every detector."""
        pixels = self.preprocessing(training.images).to(self.backbone.device)
        truth = torch.tensor(training.labels, device=pixels.device)
        positive = (truth == 1).any(dim=1)
        normal = torch.tensor(training.normal, device=pixels.device)
        detectors = [self.general, *self.single]
        lessons = [_lesson(pixels, positive, positive | normal, training.masks)]
        for k in range(len(self.single)):
            shows, known = truth[:, k] == 1, ~truth[:, k].isnan()
            lessons.append(_lesson(pixels, shows, known, training.category_masks(k)))
        type(self.general).fit_together(detectors, lessons)
        found = [_threshold(*pair) for pair in zip(detectors, lessons, strict=True)]
        self.thresholds_ = torch.tensor(found[1:] or found * len(self.categories))

    @property
    def trained_parameters(self) -> int:
        """Numbers that training has set in all detectors, those that they share once."""
        tensors = {id(t): t for one in (self.general, *self.single) for t in one.learnt}
        return sum(tensor.numel() for tensor in tensors.values())

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each epoch, of the detector of any anomaly."""
        return self.general.losses

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        self.check_fitted()
        assert self.thresholds_ is not None
        pixels = pixels.to(self.backbone.device)
        abnormality = self.general.score_pixels(pixels).cpu()
        columns = [one.score_pixels(pixels).cpu() for one in self.single]
        scores = torch.stack(columns or [abnormality] * len(self.categories), dim=1)
        return ImageScores.of(scores, scores > self.thresholds_, abnormality)

    @torch.no_grad()
    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where preprocessed images ``(n, 3, H, W)`` are abnormal: ``(n, h, w)``."""
        return self.general.map_pixels(pixels.to(self.backbone.device))


def _lesson(
    pixels: Tensor, abnormal: Tensor, known: Tensor, masks: Sequence[Mask | None]
) -> Lesson:
    """The images whose label is known; the very tensor where all are."""
    if known.all():
        return Lesson(pixels, abnormal, tuple(masks))
    rows = known.nonzero()[:, 0].tolist()
    return Lesson(pixels[rows], abnormal[rows], tuple(masks[i] for i in rows))


@torch.no_grad()
def _threshold(detector: AnomalyDetector, lesson: Lesson) -> float:
    """Between the mean scores of both groups of support images.

    The only normal image of a system that remembers it is left out where there is another image
    that is not abnormal: one that shows other categories.
    """
    abnormal = lesson.abnormal
    if abnormal.all() or not abnormal.any():
        return detector.natural_threshold
    scores = detector.support_scores(lesson.pixels)
    apart = ~abnormal & ~detector.compared_with_itself(lesson.pixels)
    others = apart if apart.any() else ~abnormal
    return float((scores[abnormal].mean() + scores[others].mean()) / 2)
