"""How far a feature is from the nearest of many, which systems ask that remember features."""

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


def nearest_places(features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The Euclidean distance to the nearest stored feature, and which that is.

    >>> far, which = nearest_places(torch.tensor([[3.0, 4.0]]), torch.tensor([[9.0, 9], [0, 0]]))
    >>> far.tolist(), which.tolist()
    ([5.0], [1])

    Args:
        features: ``(P, D)``.
        memory: ``(M, D)``; compared in parts, so that memory stays bounded.

    Returns:
        ``(P,)`` each, the second int64.
    """
    best = torch.full((len(features),), float("inf"), device=features.device)
    which = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    for number, part in enumerate(memory.split(CHUNK)):
        apart, place = torch.cdist(features, part).min(dim=1)
        nearer = apart < best
        best = torch.where(nearer, apart, best)
        which = torch.where(nearer, place + number * CHUNK, which)
    return best, which
