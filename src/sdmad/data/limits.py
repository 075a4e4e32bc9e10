"""What reading a file may take: memory and time, and whether that is held by a process of its own.

A file that a stranger made can ask for any amount of both. So files are read in decoder processes
(`sdmad.data.decoders`) under these limits:

| setting | environment variable | default |
| --- | --- | --- |
| memory of a process, in GiB | ``SDMAD_READ_MEMORY`` | 2 |
| seconds of processor time a file | ``SDMAD_READ_SECONDS`` | 20 |

Processor time, so that a good file is read on a busy machine too. What waits uses none, so a file
may take `CLOCK` times as long by the clock, and no longer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sdmad.errors import InputError

MEMORY, SECONDS = "SDMAD_READ_MEMORY", "SDMAD_READ_SECONDS"

CLOCK = 6
"""How many times the seconds of processor time a file may take by the clock."""

LEAST_MEMORY = 0.5
"""GiB that a process needs at least: the libraries alone map nearly 0.3."""


@dataclass(frozen=True)
class Limits:
    """Limits of reading one file.

    Attributes:
        memory: address space of a decoder process, in GiB; held where the system can (Linux).
        seconds: of processor time that one file may take.
        trusted: whether files are read in this process, without limits.

    Raises:
        InputError: if a value is out of range.
    """

    memory: float = 2.0
    seconds: float = 20.0
    trusted: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.memory) and self.memory >= LEAST_MEMORY):
            raise InputError(
                f"{MEMORY}: a process needs {LEAST_MEMORY} GiB at least, got {self.memory:g}"
            )
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise InputError(f"{SECONDS}: must be more than 0 seconds, got {self.seconds:g}")

    @property
    def clock(self) -> float:
        """Seconds that one file may take by the clock."""
        return CLOCK * self.seconds


_set: Limits | None = None


def limits() -> Limits:
    """The limits that hold now.

    Raises:
        InputError: if an environment variable is no such number.
    """
    if _set is not None:
        return _set
    return Limits(_number(MEMORY, Limits.memory), _number(SECONDS, Limits.seconds))


@contextmanager
def reading_limits(
    memory: float | None = None, seconds: float | None = None, trusted: bool | None = None
) -> Iterator[None]:
    """Read under other limits, in all threads of this process.

    >>> with reading_limits(trusted=True):
    ...     limits().trusted
    True

    Args:
        memory: GiB of a decoder process; what holds now when None.
        seconds: of processor time a file; what holds now when None.
        trusted: whether files are read in this process. Only for files that you made yourself: a
            damaged or hostile one can take all memory, take for ever or end the process.

    Raises:
        InputError: if a value is out of range.
    """
    global _set
    before, now = _set, limits()
    _set = Limits(
        now.memory if memory is None else memory,
        now.seconds if seconds is None else seconds,
        now.trusted if trusted is None else trusted,
    )
    try:
        yield
    finally:
        _set = before


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{variable}: expected a number, got {text[:40]!r}") from None
