"""The entry point: signals before everything else, so that an early one ends as cleanly as any.

SIGINT (Ctrl-C) and SIGTERM unwind what is under way, so that nothing is left half-written. What an
interrupted import or library makes of the interruption is told as the interruption that it is.
"""

from __future__ import annotations

from sdmad.cli.signals import listen, received, told


def run() -> None:
    """Run the command line."""
    listen()
    try:
        from sdmad.cli import main

        main.run()
    except BaseException as error:
        if not received or isinstance(error, SystemExit):
            raise
        told(received[0])
