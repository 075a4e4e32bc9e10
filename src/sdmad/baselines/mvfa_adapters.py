"""MVFA's adapters: two behind each adapted block, one for segmentation and one for detection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

from sdmad.method.adapters import Tower


class LevelFeatures(NamedTuple):
    """Unit-length features of all tokens behind one adapted block, ``(n, T, D)`` each."""

    segmentation: Tensor
    detection: Tensor


class FeatureAdapter(nn.Module):
    """Two linear maps, each with LeakyReLU(0.01) and without bias.

    The tensor between them is what is compared with the text; behind the second it returns to the
    tower.

    Args:
        width: width W of the tower.
        dimension: size D of a text feature.
    """

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, dimension, bias=False)
        self.outer = nn.Linear(dimension, width, bias=False)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(n, T, W)`` to features ``(n, T, D)`` and what returns, ``(n, T, W)``."""
        features = leaky_relu(self.inner(hidden))
        return features, leaky_relu(self.outer(features))


class DoubleAdaptedTower(nn.Module):
    """A frozen image tower with two adapters behind some of its blocks.

    Behind such a block ``x`` becomes ``(1 - 2 share) x + share (segmentation + detection)``.

    Args:
        tower: the frozen encoder.
        blocks: ascending block numbers, counted from 1.
        dimension: size D of a text feature.
        share: of each adapter in the stream that goes on.
    """

    def __init__(self, tower: Tower, blocks: tuple[int, ...], dimension: int, share: float) -> None:
        super().__init__()
        self.blocks, self.share = blocks, share
        self.segmentation = nn.ModuleDict(_adapters(tower, blocks, dimension))
        self.detection = nn.ModuleDict(_adapters(tower, blocks, dimension))
        self._tower = (tower,)  # in a tuple, so that its weights are not counted as this module's

    @torch.no_grad()
    def frozen_part(self, hidden: Tensor, state: Any) -> Tensor:
        """Run embedded tokens ``(n, T, W)`` up to the first adapted block's output."""
        for index in range(1, self.blocks[0] + 1):
            hidden = self._tower[0].block(index, hidden, state)
        return hidden

    def forward(self, frozen: Tensor, state: Any) -> tuple[list[LevelFeatures], Tensor]:
        """Go on from :meth:`frozen_part`.

        Returns:
            The features of each level and the last block's tokens ``(n, T, W)``.
        """
        tower, hidden, levels = self._tower[0], frozen, []
        for index in range(self.blocks[0], tower.depth + 1):
            if index > self.blocks[0]:
                hidden = tower.block(index, hidden, state)
            if index in self.blocks:
                here, back = self.segmentation[str(index)](hidden)
                there, forth = self.detection[str(index)](hidden)
                levels.append(LevelFeatures(normalize(here, dim=-1), normalize(there, dim=-1)))
                hidden = (1 - 2 * self.share) * hidden + self.share * (back + forth)
        return levels, hidden


def _adapters(
    tower: Tower, blocks: tuple[int, ...], dimension: int
) -> Mapping[str, FeatureAdapter]:
    return {str(block): FeatureAdapter(tower.widths[block - 1], dimension) for block in blocks}
