"""Losses of segmentation on probabilities: focal and Dice.

Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, and Milletari et al., V-Net, 3DV 2016,
as MVFA, AnomalyCLIP and AA-CLIP use them on maps of the probability of abnormal. With ``p`` the
probability of abnormal at a pixel and ``m`` the mask there:

- focal: ``-(1 - t)^2 log t`` of the probability ``t`` of the true class, mean over the pixels. The
  target is smoothed by 1e-5 and so is ``t``, which keeps the logarithm finite;
- Dice of the abnormal class: ``1 - (2 sum pm + 1) / (sum p + sum m + 1)``; that of the normal class
  the same of ``1 - p`` and ``1 - m``.

Value and derivative are computed together, some rows at a time that stay in the processor's cache,
for on small backbones this loss is a large part of a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

FOCUS = 2
SMOOTH_TARGET = 1e-5
SMOOTH_DICE = 1.0
CHUNK = 2**16  # pixels


def one_side_loss(abnormal: Tensor, masks: Tensor) -> Tensor:
    """Focal loss plus the Dice loss of the abnormal class: ``(n,)``.

    Args:
        abnormal: probability of abnormal, ``(n, H, W)``; that of normal is the rest.
        masks: 1 where abnormal, else 0; ``(n, H, W)``.

    Raises:
        ValueError: if the shapes disagree.
    """
    return _loss(abnormal, masks, False)


def both_sides_loss(abnormal: Tensor, masks: Tensor) -> Tensor:
    """Focal loss plus the Dice losses of the abnormal and of the normal class: ``(n,)``.

    Args:
        abnormal: probability of abnormal, ``(n, H, W)``.
        masks: 1 where abnormal, else 0; ``(n, H, W)``.

    Raises:
        ValueError: if the shapes disagree.
    """
    return _loss(abnormal, masks, True)


def _loss(abnormal: Tensor, masks: Tensor, both: bool) -> Tensor:
    if masks.ndim != 3 or abnormal.shape != masks.shape:
        raise ValueError(
            f"probabilities {tuple(abnormal.shape)} do not fit masks {tuple(masks.shape)}"
        )
    found: Tensor = _WithSlope.apply(abnormal, masks, both)
    return found


class _WithSlope(torch.autograd.Function):
    """The loss of each image; its derivative is computed beside it and kept."""

    @staticmethod
    def forward(ctx: Any, abnormal: Tensor, masks: Tensor, both: bool) -> Tensor:
        rows = max(1, CHUNK // max(1, abnormal[0].numel())) if len(abnormal) else 1
        values, slopes = abnormal.new_empty(len(abnormal)), torch.empty_like(abnormal)
        for start in range(0, len(abnormal), rows):
            some = slice(start, start + rows)
            values[some] = _value_and_slope(abnormal[some], masks[some], both, slopes[some])
        ctx.save_for_backward(slopes)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * gradient[:, None, None], None, None


def _value_and_slope(p: Tensor, m: Tensor, both: bool, slope: Tensor) -> Tensor:
    """The loss ``(n,)`` of probabilities and masks ``(n, H, W)``; its derivative into ``slope``."""
    pixels = p[0].numel()
    target = m.clamp(SMOOTH_TARGET, 1 - SMOOTH_TARGET)
    sign = 2 * target - 1
    true = (1 + SMOOTH_TARGET - target).addcmul_(sign, p)
    wrong, log = 1 - true, true.log()
    value = (wrong**FOCUS * log).sum(dim=(1, 2)) / -pixels
    torch.mul(wrong, FOCUS * log - wrong / true, out=slope)
    slope.mul_(sign).div_(pixels)

    inside, found, truth = ((x).sum(dim=(1, 2), keepdim=True) for x in (p * m, p, m))
    total, overlap = found + truth + SMOOTH_DICE, 2 * inside + SMOOTH_DICE
    value += 1 - (overlap / total).flatten()
    slope.add_(overlap / total**2).addcmul_(m, -2 / total)
    if both:
        inside = pixels - found - truth + inside
        total, overlap = 2 * pixels - found - truth + SMOOTH_DICE, 2 * inside + SMOOTH_DICE
        value += 1 - (overlap / total).flatten()
        slope.add_(2 / total - overlap / total**2).addcmul_(m, -2 / total)
    return value
