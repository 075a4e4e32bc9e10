"""How UniVAD adds up what patches, components, words and the graph say."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdmad.baselines.univad.masks import Gate


@dataclass(frozen=True)
class Compared:
    """What the comparison with normal images says of n images, before any words.

    Attributes:
        maps: of CLIP's and DINOv2's patches, in sum, ``(n, H, H)``.
        beside: what is added to an image's score, ``(n,)``.
        local: patches of CLIP's second path among the texts, unit length, ``(n, P, D)``.
    """

    maps: Tensor
    beside: Tensor
    local: Tensor


def summed(whole: Tensor, parts: Tensor | None) -> Tensor:
    """CLIP's and DINOv2's maps of an image in sum, ``(H, H)``.

    Args:
        whole: of all patches, ``(2, H, H)``.
        parts: the same within components, of which the mean is taken; None for a texture.
    """
    return whole.sum(dim=0) if parts is None else (whole.sum(dim=0) + parts.sum(dim=0)) / 2


def score_beside(gate: Gate, whole: Tensor, structure: Tensor) -> Tensor:
    """What is added to an image's score, a scalar.

    Args:
        gate: how images are compared.
        whole: one minus the largest cosine of the image embedding with a reference's.
        structure: the graph's distance.
    """
    if gate is Gate.TEXTURE:
        return torch.zeros_like(whole)
    return whole + structure / 2 if gate is Gate.MULTI else whole


def fused(maps: Tensor, text: Tensor) -> Tensor:
    """The map of an anomaly, ``(n, H, H)``: the mean of the three.

    Args:
        maps: CLIP's and DINOv2's in sum, ``(n, H, H)``.
        text: probability of abnormal words, ``(n, H, H)``.
    """
    return (maps + text) / 3


def image_scores(maps: Tensor, beside: Tensor, mean: bool) -> Tensor:
    """Score of each image, ``(n,)``: its map's largest value, or the mean, and what is beside."""
    flat = maps.flatten(1)
    return (flat.mean(dim=1) if mean else flat.amax(dim=1)) + beside
