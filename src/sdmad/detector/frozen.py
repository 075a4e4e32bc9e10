"""What training never changes, computed once: tokens of images and sentences at the first adapter.

Fits on one backbone share it: a sweep of lambda, epochs or seeds over the same images runs the
frozen blocks once. Tensors above a limit lie in a file that the system maps into memory and that
vanishes with the process.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

IN_MEMORY = 1 << 30
"""Bytes above which tokens are kept in a mapped file."""

KEPT = 512 << 20
"""Bytes of all tokens that are kept for the next fit; the least recently used go first."""

Frozen = tuple[Tensor, Any]


class FrozenStore:
    """Frozen tokens by what they were computed from.

    Args:
        kept: bytes that are kept at most.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.kept = kept
        self._found: OrderedDict[tuple[object, ...], Frozen] = OrderedDict()
        self._towers: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count()  # an address may be used again, a number is not

    def get(
        self, tower: nn.Module, block: int, inputs: Tensor, compute: Callable[[], Frozen]
    ) -> Frozen:
        """The tokens of some inputs behind a block, computed if they are not there.

        Args:
            tower: the frozen tower; not altered as long as it lives.
            block: number of the block.
            inputs: pixel values or token ids.
            compute: gives tokens and the tower's state.
        """
        if tower not in self._towers:
            self._towers[tower] = next(self._numbers)
        number = self._towers[tower]
        content = inputs.detach().cpu().contiguous()
        digest = hashlib.sha256(content.flatten().view(torch.uint8).numpy().data).hexdigest()
        key = (number, block, tuple(inputs.shape), inputs.dtype, digest)
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        found = compute()
        if _size(found[0]) <= self.kept:
            self._found[key] = found
            while sum(_size(tokens) for tokens, _ in self._found.values()) > self.kept:
                self._found.popitem(last=False)
        return found


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def room_for(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """An empty tensor, in memory or, above :data:`IN_MEMORY` on the CPU, in a mapped file.

    Args:
        shape: of the tensor.
        dtype: of the tensor.
        device: where it is.
    """
    count = torch.Size(shape).numel()
    if device.type != "cpu" or count * dtype.itemsize <= IN_MEMORY:
        return torch.empty(shape, dtype=dtype, device=device)
    with tempfile.TemporaryDirectory() as folder:
        # The mapping holds the file after its name is gone.
        mapped = torch.from_file(str(Path(folder) / "tokens"), shared=True, size=count, dtype=dtype)
    return mapped.view(shape)


STORE = FrozenStore()
