"""What signals did to a run: an interruption is told as one, whatever a library makes of it."""

from __future__ import annotations

import signal
import sys
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
WORDS = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}

received: list[int] = []
"""The signals that came, by the exit statuses that they mean."""


def listen() -> None:
    """Have SIGINT and SIGTERM unwind what is under way."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in the background of a script
            signal.signal(number, _end)


def told(status: int) -> None:
    """Say what ended the run, and end it; a signal that comes again meanwhile changes nothing.

    Raises:
        SystemExit: with the status.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_IGN)
    sys.stderr.write(f"error: {WORDS[status]}; nothing was left half-written\n")
    raise SystemExit(status)


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    received.append(128 + number)
    raise KeyboardInterrupt
