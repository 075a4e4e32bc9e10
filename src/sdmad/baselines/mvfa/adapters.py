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
    """Two linear maps, each with LeakyReLU(0.01) and without bias, of several detectors at once.

    The tensor between them is what is compared with the text; behind the second it returns to the
    tower.

    Args:
        width: width W of the tower.
        dimension: size D of a text feature.
        detectors: how many detectors G are trained side by side; all start alike.
    """

    def __init__(self, width: int, dimension: int, detectors: int = 1) -> None:
        super().__init__()
        maps = nn.Linear(width, dimension, bias=False), nn.Linear(dimension, width, bias=False)
        self.inner, self.outer = (
            nn.Parameter(one.weight.detach().repeat(detectors, 1, 1)) for one in maps
        )

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(G n, T, W)`` to features ``(G n, T, D)`` and what returns, ``(G n, T, W)``."""
        rows, tokens, width = hidden.shape
        features = leaky_relu(hidden.reshape(len(self.inner), -1, width) @ self.inner.mT)
        back = leaky_relu(features @ self.outer.mT)
        return features.view(rows, tokens, -1), back.view(rows, tokens, width)


class DoubleAdaptedTower(nn.Module):
    """A frozen image tower with two adapters behind some of its blocks.

    Behind such a block ``x`` becomes ``(1 - 2 share) x + share (segmentation + detection)``.

    Args:
        tower: the frozen encoder.
        blocks: ascending block numbers, counted from 1.
        dimension: size D of a text feature.
        share: of each adapter in the stream that goes on.
        detectors: how many detectors G with adapters of their own run side by side; the images of
            the first come first, then as many of the second, and so on.
    """

    def __init__(
        self, tower: Tower, blocks: tuple[int, ...], dimension: int, share: float,
        detectors: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.blocks, self.share, self.dimension = blocks, share, dimension

        def adapters() -> Mapping[str, FeatureAdapter]:
            return {
                str(block): FeatureAdapter(tower.widths[block - 1], dimension, detectors)
                for block in blocks
            }

        self.segmentation = nn.ModuleDict(adapters())
        self.detection = nn.ModuleDict(adapters())
        self._tower = (tower,)  # in a tuple, so that its weights are not counted as this module's

    def detector_tower(self, number: int) -> DoubleAdaptedTower:
        """The tower of one of the detectors, counted from 0, with a copy of its weights."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            alone = DoubleAdaptedTower(self._tower[0], self.blocks, self.dimension, self.share)
            alone.to(next(self.parameters()).device)
            for mine, theirs in zip(alone.parameters(), self.parameters(), strict=True):
                mine.copy_(theirs[number : number + 1])
        return alone

    @torch.no_grad()
    def frozen_part(self, hidden: Tensor, state: Any) -> Tensor:
        """Run embedded tokens ``(n, T, W)`` up to the first adapted block's output."""
        for index in range(1, self.blocks[0] + 1):
            hidden = self._tower[0].block(index, hidden, state)
        return hidden

    def forward(self, frozen: Tensor, state: Any) -> tuple[list[LevelFeatures], Tensor]:
        """Go on from :meth:`frozen_part`, ``(G n, T, W)``.

        Returns:
            The features of each level and the last block's tokens ``(G n, T, W)``.
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
