"""Memory that a decoder process shares with the process that asks it: pixels without a pipe.

The process that asks makes it, of a length that nobody can change afterwards, and takes a copy of
what an answer put there. Where the system has none (Linux does), or more is to be passed, pixels go
through the pipe.
"""

from __future__ import annotations

import contextlib
import mmap
import os

import numpy as np
from numpy.typing import NDArray

LENGTH = 1 << 24
"""Bytes that are shared: a picture of 4,096 px a side in grey. They are taken as they are used."""


class Shared:
    """Shared memory in the process that asks.

    Attributes:
        handed: file descriptors that the decoder is to inherit: one, or none where memory cannot be
            shared.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self.handed: tuple[int, ...] = ()
        with contextlib.suppress(AttributeError, ImportError, OSError):
            import fcntl

            file = os.memfd_create("sdmad", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            self.handed = (file,)
            os.ftruncate(file, LENGTH)
            # Cut short, it would end whoever reads beyond the end.
            kept = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, kept)
            self._memory = mmap.mmap(file, LENGTH)
        if self._memory is None:
            self.hand_over()

    def hand_over(self) -> None:
        """The decoder has inherited it: close the descriptor here."""
        for file in self.handed:
            os.close(file)
        self.handed = ()

    def taken(self, length: int) -> NDArray[np.uint8] | None:
        """A copy of the first bytes; None where not so many are shared."""
        if self._memory is None or length > LENGTH:
            return None
        return np.frombuffer(self._memory, np.uint8, length).copy()

    def close(self) -> None:
        """Give the memory back."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def inherited(file: int) -> NDArray[np.uint8]:
    """Shared memory in the decoder, by its descriptor; empty where memory is not shared (-1)."""
    if file < 0:
        return np.empty(0, np.uint8)
    try:
        return np.frombuffer(mmap.mmap(file, LENGTH), np.uint8)
    finally:
        os.close(file)
