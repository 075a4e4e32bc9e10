"""MVFA's memory of normal tokens, its augmentation, and the constants of its scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def augment(
    images: Tensor, angles: Sequence[float] = (22.5, -22.5, 11.25, -11.25), shift: float = 0.1
) -> Tensor:
    """Every image as it is, turned, moved to the four corners and mirrored.

    Bilinear, with the picture mirrored at its edges.

    Args:
        images: ``(n, C, H, W)``.
        angles: of the turns, in degrees.
        shift: of the moves along each axis, in units of half the side.

    Returns:
        ``(k n, C, H, W)`` with k = 11 by default: all images as they are, then all with the first
        turn, and so on, so that row i comes from image i modulo n.
    """
    turns = []
    for angle in angles:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turns.append([[cos, -sin, 0.0], [sin, cos, 0.0]])
    moves = [[[1.0, 0.0, x], [0.0, 1.0, y]] for x in (shift, -shift) for y in (shift, -shift)]
    changed = [_transform(images, matrix) for matrix in (*turns, *moves)]
    return torch.cat([images, *changed, images.flip(-1), images.flip(-2)])


def _transform(images: Tensor, matrix: list[list[float]]) -> Tensor:
    theta = torch.tensor(matrix, dtype=images.dtype, device=images.device)
    places = affine_grid(theta.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, places, padding_mode="reflection", align_corners=False)


@dataclass(frozen=True)
class Range:
    """Smallest and largest value on the support set, to bring two scores onto one scale."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Tensor) -> Range:
        """The range of some values."""
        return cls(float(values.min()), float(values.max()))

    def __call__(self, values: Tensor) -> Tensor:
        """Stretch so that the range becomes [0, 1]; what lies outside it is not cut.

        >>> Range(2.0, 4.0)(torch.tensor([1.0, 3.0])).tolist()
        [-0.5, 0.5]
        """
        return (values - self.low) / max(self.high - self.low, 1e-6)
