"""UniVAD's component-aware patch matching: how far a patch is from the nearest normal one.

A product of P patches with M stored ones has ``4 P min(M, 16384)`` bytes in float32
(:mod:`~sdmad.baselines.components.nearest`), whatever M is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, max_pool2d, pad

from sdmad.baselines.components.nearest import nearest_distance


def patch_distance(query: Tensor, references: Tensor) -> Tensor:
    """One minus the largest cosine with a patch of the references, mean over the levels.

    Args:
        query: unit length, ``(L, P, W)``.
        references: unit length, ``(k, L, P, W)``.

    Returns:
        ``(P,)``.
    """
    levels = references.transpose(0, 1).flatten(1, 2)
    found = [nearest_distance(own, theirs) for own, theirs in zip(query, levels, strict=True)]
    return torch.stack(found).mean(dim=0)


def component_distance(
    query: Tensor, references: Tensor, covers: Tensor, reference_covers: Tensor, whole: Tensor
) -> Tensor:
    """The same, each component's patches against those of the component in the references.

    A patch of several components takes the smallest, one of none 0. A component that no reference
    has keeps the distance to all their patches.

    Args:
        query: unit length, ``(L, P, W)``.
        references: unit length, ``(k, L, P, W)``.
        covers: which patches belong to each of K components, boolean ``(K, P)``.
        reference_covers: the same of the references, ``(k, K, P)``.
        whole: what :func:`patch_distance` says, ``(P,)``.

    Returns:
        ``(P,)``.
    """
    found = torch.full_like(whole, torch.inf)
    for own, theirs in zip(covers, reference_covers.transpose(0, 1), strict=True):
        if not own.any():
            continue
        distance = whole[own]
        if theirs.any():
            levels = references.transpose(0, 1)[:, theirs]
            distance = patch_distance(query[:, own], levels[None])
        found[own] = torch.minimum(found[own], distance)
    return found.where(covers.any(dim=0), 0)


def widened(masks: Tensor, pixels: int) -> Tensor:
    """Masks dilated with a square.

    >>> mask = torch.tensor([[[0, 0, 0, 1, 0, 0]]]).bool()
    >>> widened(mask, 2).int().tolist(), widened(mask, 3).int().tolist()
    ([[[0, 0, 0, 1, 1, 0]]], [[[0, 0, 1, 1, 1, 0]]])

    Args:
        masks: boolean ``(m, H, W)``.
        pixels: side of the square; 1 or less changes nothing.
    """
    if pixels <= 1 or len(masks) == 0:
        return masks
    before, after = pixels // 2, (pixels - 1) // 2
    values = pad(masks[:, None].float(), (before, after, before, after))
    rows = max_pool2d(values, (1, pixels), stride=1)
    return max_pool2d(rows, (pixels, 1), stride=1)[:, 0] > 0


def covered(masks: Tensor, side: int) -> Tensor:
    """Which patches of a square grid have a pixel in each mask.

    Args:
        masks: boolean ``(m, H, W)``.
        side: patches a side.

    Returns:
        Boolean ``(m, side * side)``.
    """
    return adaptive_max_pool2d(masks[:, None].float(), side)[:, 0].flatten(1) > 0
