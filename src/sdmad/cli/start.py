"""The entry point: signals before everything else, so that an early one ends as cleanly as any.

SIGINT (Ctrl-C) and SIGTERM unwind what is under way, so that nothing is left half-written. What an
interrupted import or library makes of the interruption is told as the interruption that it is.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
WORDS = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}

received: list[int] = []
"""The signals that came, by the exit statuses that they mean."""


def run() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in the background of a script
            signal.signal(number, _end)
    try:
        from sdmad.cli import main

        main.run()
    except BaseException as error:
        if not received or isinstance(error, SystemExit):
            raise
        told(received[0])


def told(status: int) -> None:
    """Say what ended the run, and end it.

    Raises:
        SystemExit: with the status.
    """
    sys.stderr.write(f"error: {WORDS[status]}; nothing was left half-written\n")
    raise SystemExit(status)


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    received.append(128 + number)
    raise KeyboardInterrupt
