"""What several detectors of one system compute alike, computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

Value = TypeVar("Value")


class Once(Generic[Value]):
    """A function of pixels that remembers its last answer.

    One detector a category is given the same tensor time after time; the frozen part that they
    share then runs once.

    >>> calls = []
    >>> once = Once(lambda pixels: calls.append(1) or pixels.sum().item())
    >>> import torch
    >>> ones = torch.ones(2)
    >>> once(ones), once(ones), once(2 * ones), len(calls)
    (2.0, 2.0, 4.0, 2)

    Args:
        function: of a tensor that nobody alters.
    """

    def __init__(self, function: Callable[[Tensor], Value]) -> None:
        self.function = function
        self._last: tuple[Tensor, Value] | None = None

    def __call__(self, pixels: Tensor) -> Value:
        """The function's value; remembered where it is the very tensor of the last call."""
        if self._last is None or self._last[0] is not pixels:
            self._last = (pixels, self.function(pixels))
        return self._last[1]
