"""When a process hangs: it has worked too long, whatever else the machine does, or never ends.

Time on the clock alone would call it a hang when other programs have the processor. So what is
counted is processor time, that of its children included; time on the clock, of which there is much
more, finds what sleeps for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

LOOK = 0.2
"""Seconds between two looks at a process that may hang."""

CLOCK = 3600.0
"""Seconds on the clock that no case takes, however busy the machine is."""


class Patience:
    """What one piece of work of a process may take, from now on.

    Args:
        process: its number.
        seconds: of processor time, of all processes below it together.
        clock: seconds on the clock.
    """

    def __init__(self, process: int, seconds: float, clock: float = CLOCK) -> None:
        self._process, self._seconds, self._clock = process, seconds, clock
        self._begin, self._worked = time.monotonic(), processor_time(process)

    def lost(self) -> str:
        """What it has taken too much of, in words; nothing while it may go on."""
        if processor_time(self._process) - self._worked > self._seconds:
            return f"more than {self._seconds:g} s of processor time"
        if time.monotonic() - self._begin > self._clock:
            return f"no end after {self._clock:g} s"
        return ""


def processor_time(process: int) -> float:
    """Seconds that a process and those below it have worked; 0 where the system does not say.

    Those that have ended count with the one that waited for them.
    """
    return sum(map(_own_time, _with_children(process))) / os.sysconf("SC_CLK_TCK")


def _with_children(process: int) -> Iterator[int]:
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = task.read_text("ascii").split()
        except OSError:  # it has ended
            continue
        for child in children:
            yield from _with_children(int(child))


def _own_time(process: int) -> int:
    """Ticks of the clock: its own, and those of children that it waited for."""
    try:
        told = Path(f"/proc/{process}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return 0
    return sum(map(int, told.rpartition(")")[2].split()[11:15]))  # after the name, which may be ) (
