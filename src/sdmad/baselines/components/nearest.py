"""The distance to the nearest of many stored features, as WinCLIP+, MVFA and UniVAD ask."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 16384  # stored features that are compared at once


def nearest_distance(features: Tensor, memory: Tensor) -> Tensor:
    """One minus the largest cosine with a stored feature.

    Args:
        features: unit-length, ``(P, D)``.
        memory: unit-length, ``(M, D)``; compared in parts, so that memory stays bounded.

    Returns:
        ``(P,)``.
    """
    best = torch.full((len(features),), -1.0, device=features.device)
    for part in memory.split(CHUNK):
        best = torch.maximum(best, (features @ part.T).amax(dim=1))
    return 1 - best
