"""AA-CLIP's adapters: one linear map behind each of the first blocks, and new projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

from sdmad.backbones.transformer import ImageTransformer, TextTransformer


def blend(hidden: Tensor, adapted: Tensor, share: float) -> Tensor:
    """Mix tokens ``(n, T, W)`` with adapted ones that are brought to the same length first."""
    length = hidden.norm(dim=-1, keepdim=True)
    return (1 - share) * hidden + share * length * normalize(adapted, dim=-1)


def _linear(inside: int, outside: int) -> nn.Linear:
    layer = nn.Linear(inside, outside, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer


class FirstBlocks(nn.ModuleList):
    """A linear map behind each of a tower's first blocks.

    Args:
        widths: of the tokens behind these blocks.
        share: of a map in the stream that goes on.
    """

    def __init__(self, widths: Sequence[int], share: float) -> None:
        super().__init__([_linear(width, width) for width in widths])
        self.share = share

    def forward(self, index: int, hidden: Tensor) -> Tensor:
        """The stream ``(n, T, W)`` behind block ``index``, counted from 1."""
        if index > len(self):
            return hidden
        return blend(hidden, leaky_relu(self[index - 1](hidden)), self.share)


class TextAdapters(nn.Module):
    """A frozen text tower with adapters behind its first blocks and a learned projection.

    Args:
        tower: the frozen encoder.
        until: number of the last adapted block, counted from 1.
        dimension: size D of a feature.
        share: of an adapter in the stream that goes on.
    """

    def __init__(self, tower: TextTransformer, until: int, dimension: int, share: float) -> None:
        super().__init__()
        self._tower = (tower,)
        self.layers = FirstBlocks(tower.widths[:until], share)
        self.projection = _linear(tower.widths[-1], dimension)

    def forward(self, ids: Tensor) -> Tensor:
        """Unit-length features ``(S, D)`` of token ids ``(S, T)``."""
        tower = self._tower[0]
        hidden, state = tower.embed(ids)
        for index in range(1, tower.depth + 1):
            hidden = self.layers(index, tower.block(index, hidden, state))
        rows = torch.arange(len(hidden), device=hidden.device)
        last = tower.norm_after(hidden[rows, state.end])
        return normalize(leaky_relu(self.projection(last)), dim=-1)


class ImageAdapters(nn.Module):
    """A frozen image tower with adapters behind its first blocks and learned projections.

    Args:
        tower: the frozen encoder.
        until: number of the last adapted block, counted from 1.
        blocks: blocks whose patches are projected, counted from 1.
        dimension: size D of a feature.
        share: of an adapter in the stream that goes on.
    """

    def __init__(
        self,
        tower: ImageTransformer,
        until: int,
        blocks: tuple[int, ...],
        dimension: int,
        share: float,
    ) -> None:
        super().__init__()
        self._tower, self.blocks = (tower,), blocks
        self.layers = FirstBlocks(tower.widths[:until], share)
        self.levels = nn.ModuleList([_linear(tower.widths[b - 1], dimension) for b in blocks])
        self.whole = _linear(tower.widths[-1], dimension)

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features of the patches at each level and of the image: see :meth:`adapted`.

        Args:
            pixels: ``(n, 3, H, W)``.
        """
        return self.adapted(*self.frozen(pixels))

    @torch.no_grad()
    def frozen(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """What no adapter changes of images ``(n, 3, H, W)``.

        Returns:
            Tokens ``(n, T, W)`` behind the first block, and the tower's state.
        """
        tower = self._tower[0]
        hidden, state = tower.embed(pixels)
        return tower.block(1, hidden, state), state

    def adapted(self, hidden: Tensor, state: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Features of the patches at each level and of the image, of what :meth:`frozen` gives.

        Returns:
            Unit-length patches ``(n, P, D)`` a level, and the mean of the unit-length patches that
            a projection of its own makes of the last level, ``(n, D)``.
        """
        tower, found = self._tower[0], []
        for index in range(1, tower.depth + 1):
            hidden = self.layers(index, tower.block(index, hidden, state) if index > 1 else hidden)
            if index in self.blocks:
                found.append(tower.norm_after(hidden[:, 1:]))
        levels = [
            normalize(project(patches), dim=-1)
            for project, patches in zip(self.levels, found, strict=True)
        ]
        return levels, normalize(self.whole(found[-1]), dim=-1).mean(dim=1)
