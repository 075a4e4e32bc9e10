"""The support set as a cache that votes, which Tip-Adapter introduced and APE refines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor


@dataclass(frozen=True)
class Cache:
    """What the support set says.

    Attributes:
        keys: evidence of the n support images, unit length, ``(n, E)``.
        values: each image's vote on each category, ``(n, K)``, as :func:`balanced` has them.
        beta: sharpness.
    """

    keys: Tensor
    values: Tensor
    beta: float

    @classmethod
    def build(cls, keys: Tensor, labels: Tensor, beta: float) -> Self:
        """Make the cache of support evidence ``(n, E)`` and labels ``(n, K)``, 1, 0 or NaN.

        >>> import torch
        >>> labels = torch.tensor([[1.0], [0.0], [0.0], [torch.nan]])
        >>> Cache.build(torch.eye(4), labels, beta=1.0).values[:, 0].tolist()
        [1.0, -0.5, -0.5, 0.0]
        """
        return cls(keys, balanced(labels).to(keys), beta)

    def logits(self, evidence: Tensor) -> Tensor:
        """Votes on each category, ``(n, K)``, of unit-length evidence ``(n, E)``."""
        return nearness(evidence, self.keys, self.beta) @ self.values


def balanced(labels: Tensor) -> Tensor:
    """Labels as votes of equal weight, ``(n, K)``.

    1 where an image shows a category; where it does not, below 0, so that all these together weigh
    as much as those that do; 0 where that is unknown, or where nobody shows it.

    >>> import torch
    >>> balanced(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, torch.nan]])).tolist()
    [[1.0, 0.0], [-0.5, 0.0], [-0.5, 0.0]]

    Args:
        labels: 1, 0 or NaN, ``(n, K)``.
    """
    shows, lacks = (labels == 1).float(), (labels == 0).float()
    return shows - shows.sum(dim=0) / lacks.sum(dim=0).clamp(min=1) * lacks


def nearness(queries: Tensor, keys: Tensor, beta: float) -> Tensor:
    """A Gaussian of the distance of unit-length vectors, ``exp(beta (cosine - 1))``.

    >>> import torch
    >>> round(float(nearness(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 1.0)), 4)
    0.3679

    Args:
        queries: ``(m, E)``.
        keys: ``(n, E)``.
        beta: how fast it falls.

    Returns:
        Shape ``(m, n)``.
    """
    return (beta * (queries @ keys.T - 1)).exp()
