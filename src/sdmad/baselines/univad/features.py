"""What UniVAD reads of images: CLIP's tokens on two paths, and patches of DINOv2 and DINO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from sdmad.backbones import Backbone
from sdmad.baselines.components.dense_features import plain_towers, share_of_blocks
from sdmad.baselines.components.patch_maps import blocks_of
from sdmad.baselines.univad.masks import MaskFinder, standardise
from sdmad.baselines.univad.models import Loaded
from sdmad.baselines.univad.settings import UniVADSettings

READ_BATCH = 8


@dataclass(frozen=True)
class ClipTokens:
    """What CLIP says of n images.

    Attributes:
        levels: patches behind some blocks, unit length, ``(n, L, P, W)``.
        local: the second path's last patches among the texts, unit length, ``(n, P, D)``.
        embedding: of the whole image, unit length, ``(n, D)``.
    """

    levels: Tensor
    local: Tensor
    embedding: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean patch of the last of the blocks, ``(n, W)``."""
        return self.levels[:, -1].mean(dim=1)


class ClipReader:
    """CLIP's image tower with a second path of v-v attention (Li et al., CLIP Surgery, 2023).

    The second path collects what attention adds in the last blocks, with the values as queries and
    keys and without the feed-forward layers. It is projected without the last norm.

    Args:
        backbone: a CLIP in plain torch.
        settings: which blocks.

    Raises:
        InputError: if the towers are others, or have too few blocks.
    """

    def __init__(self, backbone: Backbone, settings: UniVADSettings) -> None:
        self.tower = plain_towers(backbone, "UniVAD")[0]
        self.blocks = blocks_of(backbone, settings.blocks, "UniVAD")
        self.first_local = 1 + self.tower.depth - share_of_blocks(self.tower.depth, settings.local)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> ClipTokens:
        """Read standardised images ``(n, 3, H, H)``."""
        parts = [self._read(part) for part in pixels.split(READ_BATCH)]
        return ClipTokens(
            torch.cat([part.levels for part in parts]),
            torch.cat([part.local for part in parts]),
            torch.cat([part.embedding for part in parts]),
        )

    def _read(self, pixels: Tensor) -> ClipTokens:
        tower, levels = self.tower, []
        hidden, state = tower.embed(pixels)
        local = hidden
        for index in range(1, tower.depth + 1):
            after = tower.block(index, hidden, state)
            second = index >= self.first_local
            local = local + tower.value_attention(index, hidden) if second else after
            hidden = after
            if index in self.blocks:
                levels.append(normalize(hidden[:, 1:].float(), dim=-1))
        projected = normalize(tower.projection(local[:, 1:]).float(), dim=-1)
        return ClipTokens(torch.stack(levels, dim=1), projected, tower.pool(hidden, state))


class PatchReader(Protocol):
    """Reads patches of images."""

    def __call__(self, values: Tensor) -> Tensor:
        """Unit-length patches ``(n, h, h, C)`` of channel values ``(n, 3, H, H)`` in [0, 1]."""
        ...


class TransformerPatches:
    """The patches of a vision transformer of ``transformers``: DINOv2, DINO.

    Args:
        loaded: the model.
        size: side of its input in pixels.
    """

    def __init__(self, loaded: Loaded, size: int) -> None:
        self.model, self.size = loaded.model, size
        # DINOv2 fits its positions to the input by itself; other transformers have to be told.
        self.options: dict[str, Any] = {}
        if self.model.config.model_type == "vit":
            self.options["interpolate_pos_encoding"] = True

    @torch.no_grad()
    def __call__(self, values: Tensor) -> Tensor:
        """Unit-length patches ``(n, h, h, C)`` of channel values ``(n, 3, H, H)`` in [0, 1]."""
        return torch.cat([self._read(part) for part in values.split(READ_BATCH)])

    def _read(self, values: Tensor) -> Tensor:
        sized = interpolate(values, (self.size, self.size), mode="bilinear", antialias=True)
        hidden = self.model(standardise(sized), **self.options).last_hidden_state[:, 1:]
        side = self.size // self.model.config.patch_size
        return normalize(hidden, dim=-1).unflatten(1, (side, side))


@dataclass(frozen=True)
class Models:
    """The frozen models.

    Attributes:
        clip: the compared backbone's image tower.
        dense: whose patches are compared beside CLIP's.
        context: whose patches are clustered.
        finder: of things.
    """

    clip: ClipReader
    dense: PatchReader
    context: PatchReader
    finder: MaskFinder
