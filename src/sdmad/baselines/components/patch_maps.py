"""From the patches of a vision transformer to maps: what MVFA, AnomalyCLIP and AA-CLIP share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from sdmad.backbones import Backbone
from sdmad.detector.base import Mask
from sdmad.errors import InputError
from sdmad.method.adapters import adapted_blocks


def patches_a_side(backbone: Backbone, system: str) -> int:
    """Patches along a side of the image tower's square grid, which follows one class token.

    Args:
        backbone: whose image tower is meant.
        system: what needs the patches, for the error.

    Raises:
        InputError: if the tower has no class token or its blocks differ in width.
    """
    tower, size = backbone.image, backbone.preprocessing.size
    blank = torch.zeros(1, 3, size, size, device=backbone.device)
    with torch.no_grad():
        tokens = tower.embed(blank)[0].shape[1]
    side = isqrt(tokens - 1)
    if side * side != tokens - 1 or len(set(tower.widths)) != 1:
        raise InputError(
            f"{system} needs an image tower with a class token before a square of patches, as "
            f"CLIP's vision transformers have; that of {backbone.name} is none"
        )
    return side


def blocks_of(backbone: Backbone, blocks: Sequence[int], system: str) -> tuple[int, ...]:
    """Blocks of a tower of 24, moved to the depth of the image tower.

    Args:
        backbone: whose image tower is meant.
        blocks: ascending, counted from 1.
        system: what needs them, for the error.

    Raises:
        InputError: if the tower has too few blocks.
    """
    try:
        return adapted_blocks(backbone.image.depth, blocks)
    except ValueError as error:
        raise InputError(f"{system}: {backbone.name}: {error}") from error


def support_masks(
    masks: Sequence[Mask | None], abnormal: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Masks in the size of the input, and which images have one.

    A normal image always has one, without a pixel set; so an image that shows only other kinds of
    anomaly is normal throughout.

    Args:
        masks: where each image is abnormal, boolean of any size, or None.
        abnormal: which images are abnormal, boolean ``(n,)``.
        size: side of the input in pixels.

    Returns:
        1 where abnormal, else 0, ``(n, size, size)``, and boolean ``(n,)``.
    """
    found = torch.zeros(len(abnormal), size, size, device=abnormal.device)
    given = ~abnormal
    for i, mask in enumerate(masks):
        if mask is not None and abnormal[i]:
            values = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))
            found[i] = interpolate(values[None, None], size=(size, size), mode="nearest")[0, 0]
            given[i] = True
    return found, given


def to_pixels(patches: Tensor, size: int, *, corners: bool) -> Tensor:
    """Spread patches over the image, bilinearly, as two matrix products.

    Args:
        patches: in rows, ``(n, P)``; P is a square.
        size: side of the image in pixels.
        corners: whether the centres of the corner patches are put on the image's corners.

    Returns:
        ``(n, size, size)``.
    """
    side = isqrt(patches.shape[1])
    weights = _interpolation_weights(side, size, corners).to(patches)
    return weights @ patches.reshape(-1, side, side) @ weights.T


@lru_cache(maxsize=8)
def _interpolation_weights(side: int, size: int, corners: bool) -> Tensor:
    """The weight of each of ``side`` places in each of ``size``: ``(size, side)``."""
    places = torch.eye(side).unsqueeze(0)
    return interpolate(places, size=size, mode="linear", align_corners=corners)[0].T.contiguous()


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps ``(n, H, W)`` with a Gaussian cut at four deviations; edges are repeated.

    Args:
        maps: what to blur.
        sigma: deviation in pixels of the maps; 0 leaves them as they are.
    """
    radius = int(4 * sigma + 0.5)
    if radius < 1:
        return maps
    places = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = kernel / kernel.sum()
    blurred = pad(maps.unsqueeze(1), (radius,) * 4, mode="replicate")
    blurred = conv2d(conv2d(blurred, kernel[None, None, None, :]), kernel[None, None, :, None])
    return blurred[:, 0]
