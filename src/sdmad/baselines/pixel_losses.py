"""Losses of segmentation on probabilities: focal and Dice.

Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, and Milletari et al., V-Net, 3DV 2016,
as MVFA, AnomalyCLIP and AA-CLIP use them on maps of the probability of abnormal.
"""

from __future__ import annotations

from torch import Tensor

FOCUS = 2.0
SMOOTH_TARGET = 1e-5
SMOOTH_DICE = 1.0


def focal_loss(abnormal: Tensor, masks: Tensor) -> Tensor:
    """Focal loss ``-(1 - p)^2 log p`` of the true class, mean over the pixels: ``(n,)``.

    The target is smoothed by 1e-5 and so is ``p``, which keeps the logarithm finite.

    Args:
        abnormal: probability of abnormal, ``(n, H, W)``; that of normal is the rest.
        masks: 1 where abnormal, else 0; ``(n, H, W)``.

    Raises:
        ValueError: if the shapes disagree.
    """
    _check(abnormal, masks)
    target = masks.clamp(SMOOTH_TARGET, 1 - SMOOTH_TARGET)
    true = (1 - target) + (2 * target - 1) * abnormal + SMOOTH_TARGET
    return -((1 - true) ** FOCUS * true.log()).mean(dim=(1, 2))


def dice_loss(probabilities: Tensor, masks: Tensor) -> Tensor:
    """One minus Dice, ``(2 sum pm + 1) / (sum p + sum m + 1)``, of each image: ``(n,)``.

    Args:
        probabilities: of one class, ``(n, H, W)``.
        masks: 1 where that class is, else 0; ``(n, H, W)``.

    Raises:
        ValueError: if the shapes disagree.
    """
    _check(probabilities, masks)
    found, truth = probabilities.flatten(1), masks.flatten(1)
    overlap = 2 * (found * truth).sum(dim=1) + SMOOTH_DICE
    return 1 - overlap / (found.sum(dim=1) + truth.sum(dim=1) + SMOOTH_DICE)


def both_sides_loss(abnormal: Tensor, masks: Tensor) -> Tensor:
    """Focal loss plus the Dice losses of the abnormal and of the normal class: ``(n,)``.

    Args:
        abnormal: probability of abnormal, ``(n, H, W)``.
        masks: 1 where abnormal, else 0; ``(n, H, W)``.

    Raises:
        ValueError: if the shapes disagree.
    """
    both = dice_loss(abnormal, masks) + dice_loss(1 - abnormal, 1 - masks)
    return focal_loss(abnormal, masks) + both


def _check(probabilities: Tensor, masks: Tensor) -> None:
    if masks.ndim != 3 or probabilities.shape != masks.shape:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} do not fit masks {tuple(masks.shape)}"
        )
