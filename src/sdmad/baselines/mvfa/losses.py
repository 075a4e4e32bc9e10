"""MVFA's losses: of an image's probability, and of its map at each level."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from sdmad.baselines.components.patch_maps import to_pixels
from sdmad.baselines.components.pixel_losses import one_side_loss


def detection_loss(logits: Tensor, abnormal: Tensor, second_sigmoid: bool = False) -> Tensor:
    """Cross-entropy of each image's probability, the mean of its patches' softmax: ``(n,)``.

    >>> import torch
    >>> logits = torch.zeros(1, 4, 2)
    >>> round(detection_loss(logits, torch.ones(1)).item(), 4)  # log 2
    0.6931
    >>> round(detection_loss(logits, torch.ones(1), second_sigmoid=True).item(), 4)
    0.4741

    Args:
        logits: of normal and abnormal for each patch, ``(n, P, 2)``.
        abnormal: 1 or 0, ``(n,)``.
        second_sigmoid: take the probability for a logit, as the authors do.
    """
    logs = log_softmax(logits, dim=-1)
    if second_sigmoid:
        probability = logs[..., 1].exp().mean(dim=1)
        return binary_cross_entropy_with_logits(probability, abnormal, reduction="none")
    normals, abnormals = (logs.logsumexp(dim=1) - math.log(logits.shape[1])).unbind(dim=1)
    return -(abnormal * abnormals + (1 - abnormal) * normals)


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Focal loss plus Dice loss of the abnormal class, at the size of the input: ``(n,)``.

    Args:
        logits: of normal and abnormal for each patch, ``(n, P, 2)``.
        masks: 1 where abnormal, else 0; ``(n, H, H)``.
    """
    return one_side_loss(abnormal_map(logits, masks.shape[-1]), masks)


def abnormal_map(logits: Tensor, size: int) -> Tensor:
    """Softmax of the logits ``(n, P, 2)`` spread over the image: of abnormal, ``(n, size, size)``.

    The softmax of two logits is the sigmoid of their difference, which is spread once.
    """
    return to_pixels(logits[..., 1] - logits[..., 0], size, corners=True).sigmoid()
