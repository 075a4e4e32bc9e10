"""Pseudo anomalies: pieces of images, altered and pasted where they do not belong.

Li et al., CutPaste, CVPR 2021, and Yun et al., CutMix, ICCV 2019, as DRA and BGAD use them. Images
here have channel values in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample


class Brightness:
    """Between standardised pixels and channel values in [0, 1].

    Args:
        mean: of the channels.
        std: of the channels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = torch.tensor(mean).reshape(3, 1, 1)
        self.std = torch.tensor(std).reshape(3, 1, 1)

    def of(self, pixels: Tensor) -> Tensor:
        """Channel values of pixels ``(..., 3, H, W)``."""
        return pixels * self.std.to(pixels.device) + self.mean.to(pixels.device)

    def standardise(self, values: Tensor) -> Tensor:
        """Pixels of channel values ``(..., 3, H, W)``."""
        return (values - self.mean.to(values.device)) / self.std.to(values.device)


def uniform(low: float, high: float, draws: Generator) -> float:
    """A number between two bounds."""
    return low + (high - low) * float(torch.rand(1, generator=draws))


def turn(images: Tensor, degrees: float, draws: Generator) -> Tensor:
    """Turn each image by an angle of its own, at most ``degrees``; corners become black.

    Args:
        images: ``(n, C, H, W)``.
        degrees: the largest angle, either way.
        draws: of the angles.
    """
    angles = (2 * torch.rand(len(images), generator=draws) - 1) * math.radians(degrees)
    return turned(images, angles)


def turned(images: Tensor, angles: Tensor) -> Tensor:
    """Images ``(n, C, H, W)``, each turned by its angle in radians, ``(n,)``; corners are black."""
    zero, cos, sin = torch.zeros_like(angles), angles.cos(), angles.sin()
    theta = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3).to(images.device)
    return grid_sample(images, affine_grid(theta, list(images.shape), False), align_corners=False)


def jitter(image: Tensor, amount: float, draws: Generator) -> Tensor:
    """Change brightness, contrast and saturation of an image ``(3, h, w)`` in [0, 1].

    Each factor lies within ``amount`` of 1.
    """
    image = image * uniform(1 - amount, 1 + amount, draws)
    image = image.mean() + (image - image.mean()) * uniform(1 - amount, 1 + amount, draws)
    grey = image.mean(dim=0, keepdim=True)
    return (grey + (image - grey) * uniform(1 - amount, 1 + amount, draws)).clamp(0, 1)


def cut_and_paste(
    image: Tensor,
    area: tuple[float, float],
    aspect: tuple[float, float],
    amount: float,
    draws: Generator,
) -> Tensor:
    """Paste a jittered rectangle of an image ``(3, H, W)`` elsewhere into it.

    Args:
        image: in [0, 1].
        area: bounds of the rectangle's share of the image.
        aspect: bounds of its width by its height, drawn evenly on the logarithm.
        amount: of the jitter.
        draws: of everything.
    """
    height, width = image.shape[-2:]
    size = uniform(*area, draws) * height * width
    ratio = math.exp(uniform(math.log(aspect[0]), math.log(aspect[1]), draws))
    h = min(height, max(1, round(math.sqrt(size / ratio))))
    w = min(width, max(1, round(math.sqrt(size * ratio))))
    (top, left), (to_top, to_left) = (
        (_place(height - h, draws), _place(width - w, draws)) for _ in range(2)
    )
    changed = image.clone()
    piece = image[:, top : top + h, left : left + w]
    changed[:, to_top : to_top + h, to_left : to_left + w] = jitter(piece, amount, draws)
    return changed


def paste_anomaly(
    normal: Tensor, abnormal: Tensor, mask: Tensor, amount: float, draws: Generator
) -> tuple[Tensor, Tensor]:
    """Paste an anomaly, mirrored, turned by right angles and jittered, into a normal image.

    Args:
        normal: image in [0, 1], ``(3, H, W)``.
        abnormal: image in [0, 1], ``(3, H, W)``, square.
        mask: where it is abnormal, boolean ``(H, W)``, with a pixel set.
        amount: of the jitter.
        draws: of everything.

    Returns:
        The image and its mask.
    """
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    piece, shape = jitter(abnormal[:, box[0], box[1]], amount, draws), mask[box]
    turns = int(torch.randint(4, (1,), generator=draws))
    piece, shape = piece.rot90(turns, (1, 2)), shape.rot90(turns)
    if torch.rand(1, generator=draws) < 0.5:
        piece, shape = piece.flip(-1), shape.flip(-1)
    height, width = shape.shape
    top = _place(normal.shape[1] - height, draws)
    left = _place(normal.shape[2] - width, draws)
    where = torch.zeros_like(mask)
    where[top : top + height, left : left + width] = shape
    changed = normal.clone()
    changed[:, where] = piece[:, shape]
    return changed, where


def _place(room: int, draws: Generator) -> int:
    return int(torch.randint(room + 1, (1,), generator=draws))
