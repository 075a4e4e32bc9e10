"""What pretraining minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

POSITIVE_WEIGHT = 4.0


def _one_way(logits: Tensor, truth: Tensor) -> Tensor:
    """Each true pair against the false pairs of its row, averaged over the true pairs."""
    false = logits.masked_fill(truth, -torch.inf).logsumexp(dim=1, keepdim=True)
    losses = softplus(false - logits)
    usable = truth & false.isfinite()
    return torch.where(usable, losses, 0).sum() / usable.sum().clamp(min=1)


def contrastive_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Contrast with any number of true pairs, both ways; true pairs never compete.

    Args:
        logits: scaled cosines, shape ``(images, sentences)``.
        truth: whether the sentence is true of the image, boolean, same shape.
    """
    return (_one_way(logits, truth) + _one_way(logits.T, truth.T)) / 2


def pairwise_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Is this sentence true of this image? True and false pairs weigh the same.

    Args:
        logits: scaled and shifted cosines, shape ``(images, sentences)``.
        truth: boolean, same shape.
    """
    losses = binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
    weight = truth / truth.sum().clamp(min=1) + ~truth / (~truth).sum().clamp(min=1)
    return (losses * weight).sum() / 2


def present_loss(logits: Tensor, present: Tensor) -> Tensor:
    """Is it there? Binary cross-entropy in which the rare positives weigh four times.

    Args:
        logits: any shape.
        present: boolean, same shape.
    """
    return binary_cross_entropy_with_logits(
        logits, present.to(logits.dtype), pos_weight=torch.tensor(POSITIVE_WEIGHT)
    )
