"""What authors' code does wrong, for those who want its figures: ``compat="published"``.

MVFA and AA-CLIP run OpenAI's weights with the exact GELU, though they were trained with QuickGELU,
and feed pixels in [0, 1] without CLIP's mean and deviation.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, Literal

from torch import Tensor
from torch.nn.functional import gelu

from sdmad.backbones import Backbone, Tower
from sdmad.backbones.transformer import Block, ImageTransformer, TextTransformer
from sdmad.baselines.components.pseudo import Brightness
from sdmad.errors import InputError

Compat = Literal["none", "published"]


def is_published(compat: str, system: str, flaws: str) -> bool:
    """Whether the authors' flaws are wanted; warns of them if so.

    Args:
        compat: ``"none"`` or ``"published"``.
        system: its name in the warning.
        flaws: what is done, in words.

    Raises:
        InputError: if it is neither.
    """
    if compat not in ("none", "published"):
        raise InputError(f"compat must be none or published, got {compat!r}")
    if compat == "published":
        warnings.warn(f'{system} with compat="published": {flaws}', UserWarning, stacklevel=3)
    return compat == "published"


def with_gelu(backbone: Backbone) -> Backbone:
    """The same weights with the exact GELU in both towers; the backbone itself stays as it is.

    Args:
        backbone: CLIP's towers in plain torch, or any that does not run QuickGELU.

    Raises:
        InputError: if it runs QuickGELU in towers that cannot be changed here.
    """
    if "quick_gelu" not in backbone.activation:
        return backbone
    changed = copy.copy(backbone)
    changed.image, changed.text = (
        _gelu_tower(t, backbone) for t in (backbone.image, backbone.text)
    )
    changed.activation = "gelu"
    return changed


def _gelu_tower(tower: Tower, backbone: Backbone) -> Tower:
    if not isinstance(tower, ImageTransformer | TextTransformer):
        raise InputError(
            f"the activation of {backbone.name} cannot be changed once it is loaded: load it with "
            'activation="gelu"'
        )
    shared: dict[int, Any] = {id(parameter): parameter for parameter in tower.parameters()}
    changed = copy.deepcopy(tower, shared)
    for module in changed.modules():
        if isinstance(module, Block):
            module.activation = gelu
    return changed


def unstandardised(pixels: Tensor, backbone: Backbone) -> Tensor:
    """Pixel values in [0, 1] of preprocessed images ``(n, 3, H, W)``."""
    return Brightness(backbone.preprocessing.mean, backbone.preprocessing.std).of(pixels)
