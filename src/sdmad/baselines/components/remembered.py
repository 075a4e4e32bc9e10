"""A memory of the support set's normal images, place by place: PatchCore and AnomalyDINO.

An image is as abnormal as its places are far from those that are remembered. Anomalies are not
looked at, so that one detector answers for every category.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sdmad.baselines.components.anomaly import AnomalyDetector, Lesson
from sdmad.baselines.components.once import Once
from sdmad.baselines.components.patch_maps import gaussian_blur
from sdmad.detector.base import Mask

READ_BATCH = 8


@dataclass(frozen=True)
class Memory:
    """Remembered places.

    Attributes:
        places: their features, ``(M, D)``.
        owner: number of the normal image of each, int64 ``(M,)``.
    """

    places: Tensor
    owner: Tensor

    @classmethod
    def of(cls, places: Tensor) -> Memory:
        """All places ``(r, P, D)`` of r images."""
        count, each = places.shape[:2]
        owner = torch.arange(count, device=places.device).repeat_interleave(each)
        return cls(places.flatten(0, 1), owner)

    def rows(self, choice: Tensor) -> Memory:
        """Some of the places, by number or by a boolean each."""
        return Memory(self.places[choice], self.owner[choice])


def unlike(images: Tensor, one: Tensor) -> Tensor:
    """Which of some images ``(r, 3, H, W)`` are not this one ``(3, H, W)``: boolean ``(r,)``."""
    return (images != one).flatten(1).any(dim=1)


def known_alone(normal: Tensor, pixels: Tensor) -> Tensor:
    """Which of some images ``(n, 3, H, W)`` are all the normal ones that there are: ``(n,)``."""
    return torch.stack([~unlike(normal, image).any() for image in pixels])


class Remembered(AnomalyDetector):
    """Remembers places of normal images; one detector serves all categories.

    Args:
        read: features of the places of images ``(n, 3, H, W)``, in rows of a square grid:
            ``(n, P, D)``.
        blur: deviation of the Gaussian over the map, in pixels of the images.

    Attributes:
        memory_: what is remembered.
        normal_: the normal images, to know them by.
    """

    has_maps = True
    needs_normal = True

    def __init__(self, read: Callable[[Tensor], Tensor], blur: float) -> None:
        self.read, self.blur = Once(torch.no_grad()(in_parts(read))), blur
        self.memory_: Memory | None = None
        self.normal_ = torch.zeros(0)
        self._looked = Once(self._look)

    @abstractmethod
    def remember(self, pixels: Tensor) -> Memory:
        """What is kept of normal images ``(r, 3, H, W)``."""

    @abstractmethod
    def compare(self, places: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """How far an image's places ``(P, D)`` are from the memory ``(M, D)``; its score.

        Returns:
            The distances ``(P,)`` and the image's abnormality, a scalar.
        """

    @classmethod
    def fit_together(cls, detectors: Sequence[Any], lessons: Sequence[Lesson]) -> None:
        """Fit the one detector that serves all categories, on the normal images."""
        first = lessons[0]
        detectors[0].fit(first.pixels, first.abnormal, first.masks)

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Remember the normal images; everything else is ignored."""
        del masks
        self.normal_ = pixels[~abnormal]
        self.memory_ = self.remember(self.normal_)
        self._looked = Once(self._look)
        self.natural_threshold = float(self.support_scores(self.normal_).max())

    def _look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Distances ``(n, P)`` and scores ``(n,)`` of images."""
        assert self.memory_ is not None
        found = [self.compare(places, self.memory_.places) for places in self.read(pixels)]
        distances, scores = zip(*found, strict=True)
        return torch.stack(distances), torch.stack(scores)

    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Abnormality ``(n,)`` of preprocessed images ``(n, 3, H, W)``."""
        return self._looked(pixels)[1]

    def support_scores(self, pixels: Tensor) -> Tensor:
        """Scores of the support images; a normal one is compared with the others only.

        The only normal image is compared with itself.
        """
        assert self.memory_ is not None
        found = []
        for image, places in zip(pixels, self.read(pixels), strict=True):
            others = unlike(self.normal_, image)
            memory = self.memory_.rows(others[self.memory_.owner]) if others.any() else self.memory_
            found.append(self.compare(places, memory.places)[1])
        return torch.stack(found)

    def compared_with_itself(self, pixels: Tensor) -> Tensor:
        """Which support images are the only normal one, boolean ``(n,)``."""
        return known_alone(self.normal_, pixels)

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """How far each place is from the memory, blurred, ``(n, H, W)``."""
        distances = self._looked(pixels)[0]
        side = round(distances.shape[1] ** 0.5)
        grid = distances.unflatten(1, (1, side, side))
        wide = interpolate(grid, pixels.shape[-2:], mode="bilinear", align_corners=False)
        return gaussian_blur(wide[:, 0], self.blur)


def in_parts(read: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same function of images, on some at a time."""
    return lambda pixels: torch.cat([read(part) for part in pixels.split(READ_BATCH)])
