"""Progress on the standard error stream: shown to a person, silent when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
PATIENCE = 1.0


def track(items: Sequence[Item], title: str | None) -> Iterator[Item]:
    """Go through ``items``, with a progress bar once it has taken more than a second.

    Args:
        items: what to go through.
        title: what to call the work; no bar when None or when nobody watches.
    """
    if title is None or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(title, total=len(items))
    start, shown = time.monotonic(), False
    try:
        for item in items:
            yield item
            bar.advance(task)
            if not shown and time.monotonic() - start > PATIENCE:
                bar.start()
                shown = True
    finally:
        if shown:
            bar.stop()
