"""Where a backbone runs and in what type: devices, float32 or bfloat16 towers."""

from __future__ import annotations

import copy
from typing import get_args

import torch

from sdmad.backbones import Backbone
from sdmad.choices import Precision
from sdmad.errors import InputError

PRECISIONS = get_args(Precision)


def choose_device(name: str) -> torch.device:
    """``"auto"`` takes a GPU when there is one.

    Raises:
        InputError: if the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {name!r} here; auto, cpu or cuda") from error
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices natively; elsewhere they are slower.

    On a GPU this was never tried.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # torch names these checks with an underscore; a release without them counts as without.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of the towers' weights.

    Args:
        name: ``"float32"``, ``"bfloat16"`` or ``"auto"``: bfloat16 where the device has it.
        device: where the towers are.

    Raises:
        InputError: if it is none of these, or bfloat16 on a device without it.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {name!r}")
    native = has_bfloat16(device)
    if name == "bfloat16" and not native:
        raise InputError(
            f"this {device.type} has no bfloat16 arithmetic, which would be slower than float32; "
            "give float32 or auto"
        )
    return torch.bfloat16 if native and name != "float32" else torch.float32


def placed(backbone: Backbone, device: torch.device, dtype: torch.dtype) -> Backbone:
    """A backbone on a device and in a type; itself where it is so already, else a copy.

    What a tower holds in full precision stays in float32.

    Args:
        backbone: left as and where it is.
        device: where the towers shall be.
        dtype: ``torch.float32`` or ``torch.bfloat16``.
    """
    here = backbone.device
    if backbone.dtype == dtype and here.type == device.type and device.index in (None, here.index):
        return backbone
    twin = copy.copy(backbone)
    twin.image = copy.deepcopy(backbone.image).to(device).cast(dtype)
    twin.text = copy.deepcopy(backbone.text).to(device).cast(dtype)
    return twin
