"""Is the image abnormal at all, by log odds of its categories and by what the signs alone say?

Protocol 1 under cross-modal evidence; ``docs/settings.md`` has the ways that were tried.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def any_of(odds: Tensor) -> Tensor:
    """Log odds that any category is there, were they independent.

    The odds of either of two are ``a + b + ab``; no probability is rounded to 0 or 1 on the way.

    Args:
        odds: log odds, ``(n, K)``.

    Returns:
        Shape ``(n,)``.

    >>> chances = torch.tensor([[0.5, 0.75]])
    >>> any_of(chances.logit()).sigmoid()  # 1 - .5 x .25
    tensor([0.8750])
    """
    found = odds[:, 0]
    for k in range(1, odds.shape[1]):
        found = torch.stack([found, odds[:, k] + softplus(found)]).logsumexp(dim=0)
    return found


def abnormality_beside_signs(odds: Tensor, signs: Tensor) -> Tensor:
    """Log odds of any category, to which what the signs alone say is added.

    The odds have heard of normal images of the support set alone, few as they are; the anchor
    knows in words what a normal image is.

    Args:
        odds: log odds of the categories, ``(n, K)``.
        signs: the best category's sign score less the anchor's cosine, in the unit that it has in
            the log odds, ``(n,)``.

    Returns:
        Shape ``(n,)``; larger is more abnormal.
    """
    return any_of(odds) + signs
