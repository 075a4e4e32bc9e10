"""Shift adapters and where they sit in a tower (SD-MAD, section 3.2, Eq. 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from sdmad.method.choices import Activation

PAPER_DEPTH = 24
PAPER_IMAGE_BLOCKS = (6, 8, 18, 24)
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}
"""The activations that an adapter may have."""


class Tower(Protocol):
    """What an adapter needs of an image or text encoder: its blocks, one by one.

    ``state`` is whatever the tower wants to carry from ``embed`` to ``pool``, such as the
    attention mask and the place of the end-of-text token.
    """

    depth: int
    widths: tuple[int, ...]

    def block(self, index: int, hidden: Tensor, state: Any) -> Tensor:
        """Run block ``index`` (from 1) on ``hidden`` ``(n, T, W)``."""
        ...

    def last_block(self, hidden: Tensor, state: Any) -> Tensor:
        """Run the last block where only ``pool`` reads its output."""
        ...

    def pool(self, hidden: Tensor, state: Any) -> Tensor:
        """Turn the last block's output into unit-length embeddings ``(n, D)``."""
        ...


class ShiftAdapter(nn.Module):
    """A small trainable shift of a block's output.

    ``f_ada = a(W2 a(W1 f))`` (Eq. 1), ``f_out = lam * f + (1 - lam) * f_ada`` (Eq. 2), without
    bias.

    Args:
        width: width W of the tower.
        bottleneck: width between the two linear maps, as a fraction of W.
        lam: the interpolation ratio lambda of Eq. 2, in [0, 1].
        activation: a key of :data:`ACTIVATIONS`.

    Raises:
        ValueError: if a value is out of its range.
    """

    def __init__(
        self, width: int, bottleneck: float = 0.75, lam: float = 0.8, activation: str = "leaky_relu"
    ) -> None:
        super().__init__()
        if width < 1 or not bottleneck > 0:
            raise ValueError(f"width and bottleneck must be positive, got {width}, {bottleneck}")
        if not 0 <= lam <= 1:
            raise ValueError(f"lam must lie in [0, 1], got {lam}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        hidden = max(1, int(width * bottleneck))
        self.lam = lam
        self.down = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(hidden, width, bias=False)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, features: Tensor) -> Tensor:
        """Shift block outputs of shape ``(..., W)``; the shape is kept.

        Raises:
            ValueError: if the last dimension is not W.
        """
        width = self.down.in_features
        if features.shape[-1:] != (width,):
            raise ValueError(
                f"features must have shape (..., {width}), got {tuple(features.shape)}"
            )
        # The weights stay float32 for the optimiser; a tower may run in bfloat16.
        down, up = self.down.weight.to(features.dtype), self.up.weight.to(features.dtype)
        adapted = self.activation(linear(self.activation(linear(features, down)), up))
        return self.lam * features + (1 - self.lam) * adapted


def adapted_blocks(depth: int, blocks: Sequence[int] = PAPER_IMAGE_BLOCKS) -> tuple[int, ...]:
    """Move the paper's block numbers (of 24) to a tower of another depth.

    The same fractions of the depth, rounded half up; where two coincide, the earlier moves one
    down.

    >>> adapted_blocks(24), adapted_blocks(12), adapted_blocks(6)
    ((6, 8, 18, 24), (3, 4, 9, 12), (1, 2, 5, 6))

    Args:
        depth: number of blocks of the tower, at least ``len(blocks)``.
        blocks: ascending block numbers of a tower of 24 blocks, counted from 1.

    Raises:
        ValueError: if the tower has fewer blocks than ``blocks``, or these are not ascending
            numbers from 1 to 24.
    """
    if list(blocks) != sorted(set(blocks)) or not set(blocks) <= set(range(1, PAPER_DEPTH + 1)):
        raise ValueError(f"blocks must ascend from 1 to {PAPER_DEPTH}, got {tuple(blocks)}")
    if depth < len(blocks):
        raise ValueError(f"a tower of {depth} blocks cannot hold {len(blocks)} adapters")
    placed = [max(1, int(block * depth / PAPER_DEPTH + 0.5)) for block in blocks]
    for i in range(len(placed) - 2, -1, -1):
        placed[i] = min(placed[i], placed[i + 1] - 1)
    for i, block in enumerate(placed):  # a shallow tower may have pushed one below the first block
        placed[i] = max(block, i + 1)
    return tuple(placed)


class AdaptedTower(nn.Module):
    """A frozen tower with shift adapters on the outputs of some of its blocks.

    Everything up to the first adapted block's output never changes during training:
    :meth:`frozen_part` computes it once, :meth:`forward` goes on from there.

    Args:
        tower: the frozen encoder.
        adapters: block number (from 1) to its adapter.

    Raises:
        ValueError: if the tower has no such block.
    """

    def __init__(self, tower: Tower, adapters: dict[int, ShiftAdapter]) -> None:
        super().__init__()
        outside = [block for block in adapters if not 1 <= block <= tower.depth]
        if outside:
            raise ValueError(f"the tower has blocks 1 to {tower.depth}, no block {outside}")
        self.tower = tower
        self.adapters = nn.ModuleDict({str(block): adapters[block] for block in sorted(adapters)})
        self.first = min(adapters, default=tower.depth)

    @torch.no_grad()
    def frozen_part(self, hidden: Tensor, state: Any) -> Tensor:
        """Run the blocks up to the first adapted one, whose adapter is not yet applied.

        Args:
            hidden: embedded tokens, shape ``(n, T, W)``.
            state: the tower's own state.
        """
        for index in range(1, self.first + 1):
            hidden = self.tower.block(index, hidden, state)
        return hidden

    def forward(self, frozen: Tensor, state: Any) -> Tensor:
        """Finish the tower from :meth:`frozen_part`'s output: unit embeddings ``(n, D)``."""
        depth = self.tower.depth
        if self.first == depth:
            return self.tower.pool(self.finish(frozen, state), state).float()
        hidden = self._until(depth - 1, frozen, state)
        hidden = self.adapt(depth, self.tower.last_block(hidden, state))
        return self.tower.pool(hidden, state).float()

    def finish(self, frozen: Tensor, state: Any) -> Tensor:
        """The last block's tokens ``(n, T, W)``, adapted, from :meth:`frozen_part`'s output."""
        return self._until(self.tower.depth, frozen, state)

    def _until(self, last: int, frozen: Tensor, state: Any) -> Tensor:
        """Tokens behind block ``last``, adapted, from :meth:`frozen_part`'s output."""
        hidden = self.adapt(self.first, frozen)
        for index in range(self.first + 1, last + 1):
            hidden = self.adapt(index, self.tower.block(index, hidden, state))
        return hidden

    def adapt(self, index: int, hidden: Tensor) -> Tensor:
        """Shift the output of block ``index``, counted from 1, if it has an adapter."""
        key = str(index)
        return self.adapters[key](hidden) if key in self.adapters else hidden
