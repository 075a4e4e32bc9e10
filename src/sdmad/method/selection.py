"""Sign selection (SD-MAD, section 3.3, Definition 3.2 to Eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SignMargins:
    """How each sign lies between its own and the foreign categories.

    Attributes:
        own: ``D_inf`` to the sign's own category, itself left out; shape ``(S,)``; infinite
            for the only sign of a category.
        foreign: ``delta``, the least ``D_inf`` to another category; shape ``(S,)``; infinite
            when there is no other category.
        nearest_foreign: index of the nearest sign of another category, shape ``(S,)``; -1 when
            there is none.
    """

    own: Tensor
    foreign: Tensor
    nearest_foreign: Tensor

    @property
    def margin(self) -> Tensor:
        """``delta - D_inf``, shape ``(S,)``; a sign is kept where it is positive."""
        return self.foreign - self.own


def sign_margins(text_features: Tensor, category: Tensor) -> SignMargins:
    """Measure Definition 3.2's distances for every sign.

    Args:
        text_features: unit-length sign embeddings, shape ``(S, D)``.
        category: index of each sign's category, shape ``(S,)``, int64.

    Raises:
        ValueError: if the shapes disagree, there is no sign or a category is negative.
    """
    if text_features.ndim != 2 or category.shape != text_features.shape[:1]:
        raise ValueError(
            "text_features must have shape (S, D) and category (S,), got "
            f"{tuple(text_features.shape)} and {tuple(category.shape)}"
        )
    if len(category) == 0:
        raise ValueError("there is no sign to select from")
    if int(category.min()) < 0:
        raise ValueError(f"category must count from 0, got {int(category.min())}")
    distance = (1 - text_features @ text_features.T).clamp(min=0)
    # Identical sentences are at distance 0 exactly, whatever rounding made of their product.
    _, text = torch.unique(text_features.detach(), dim=0, return_inverse=True)
    distance = torch.where(text.unsqueeze(0) == text.unsqueeze(1), 0, distance)
    same = category.unsqueeze(0) == category.unsqueeze(1)
    itself = torch.eye(len(category), dtype=torch.bool, device=category.device)
    own = distance.masked_fill(~same | itself, torch.inf).min(dim=1).values
    foreign, nearest = distance.masked_fill(same, torch.inf).min(dim=1)
    return SignMargins(own, foreign, torch.where(foreign.isinf(), -1, nearest))


def select_signs(text_features: Tensor, category: Tensor) -> Tensor:
    """Mark the signs that lie closer to their own category than to any other (Eq. 6).

    A category with one sign keeps it; a category that would lose all keeps the sign with the
    largest margin; with a single category every sign is kept.

    >>> import torch
    >>> features = torch.nn.functional.normalize(
    ...     torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.2, 1.0], [0.0, 1.0], [1.0, 0.3]]), dim=1)
    >>> select_signs(features, torch.tensor([0, 0, 1, 1, 1])).tolist()
    [True, True, True, True, False]

    Args:
        text_features: unit-length sign embeddings, shape ``(S, D)``.
        category: index of each sign's category, shape ``(S,)``, int64; every index from 0 to
            the largest has a sign.

    Returns:
        Boolean mask, shape ``(S,)``; every category keeps at least one sign.

    Raises:
        ValueError: if the shapes disagree or a category has no sign.
    """
    margins = sign_margins(text_features, category)
    keep = margins.own < margins.foreign
    for index in range(int(category.max()) + 1):
        mine = (category == index).nonzero().flatten()
        if len(mine) == 0:
            raise ValueError(f"category {index} has no sign")
        if not keep[mine].any():
            keep[mine[margins.margin[mine].argmax()]] = True
    return keep


def emptied_categories(text_features: Tensor, category: Tensor) -> list[int]:
    """Categories of several signs that Eq. 6 alone would leave with none.

    Args:
        text_features: unit-length sign embeddings, shape ``(S, D)``.
        category: index of each sign's category, shape ``(S,)``, int64.
    """
    margins = sign_margins(text_features, category)
    keep = margins.own < margins.foreign
    counts = torch.bincount(category)
    kept = torch.bincount(category, weights=keep.double())
    return [i for i in range(len(counts)) if counts[i] > 1 and kept[i] == 0]
