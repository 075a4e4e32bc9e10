"""The auxiliary set as tensors, for systems that are trained elsewhere: AnomalyCLIP and AA-CLIP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.components.patch_maps import support_masks
from sdmad.baselines.registry import Auxiliary
from sdmad.errors import InputError


@dataclass(frozen=True)
class AuxiliaryTensors:
    """The auxiliary set on the backbone's device.

    Attributes:
        pixels: preprocessed images, ``(n, 3, H, W)``.
        truth: which of them are abnormal, boolean ``(n,)``.
        masks: 1 where abnormal, else 0; ``(n, H, W)``.
    """

    pixels: Tensor
    truth: Tensor
    masks: Tensor


def read_auxiliary(
    auxiliary: Callable[[], Auxiliary], backbone: Backbone, system: str
) -> AuxiliaryTensors:
    """Preprocess the auxiliary set.

    Args:
        auxiliary: gives it.
        backbone: whose preprocessing to use.
        system: what is trained, for the error.

    Raises:
        InputError: if it lacks normal or abnormal images.
    """
    given = auxiliary()
    pixels = backbone.preprocessing(given.images).to(backbone.device)
    truth = torch.tensor(given.abnormal, device=pixels.device)
    if truth.all() or not truth.any():
        raise InputError(f"{system}: the auxiliary set needs normal and abnormal images")
    masks, _ = support_masks(given.masks, truth, pixels.shape[-1])
    return AuxiliaryTensors(pixels, truth, masks)
