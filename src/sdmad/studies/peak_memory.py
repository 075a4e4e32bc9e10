"""How far the process's resident memory rises."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path


class PeakMemory:
    """Watches how far the process's resident memory rises.

    Attributes:
        mib: the highest rise so far, MiB.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self._start = _resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._look()

    def _look(self) -> None:
        self.mib = max(self.mib, _resident() - self._start)


def _resident() -> float:
    """Resident memory of this process in MiB; the peak so far where the system tells no more."""
    status = Path("/proc/self/statm")
    if status.exists():
        pages = int(status.read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
