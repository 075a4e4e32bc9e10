"""Images decoded ahead in other processes, in order, in bounded memory.

A thread of ours keeps each decoder process (`sdmad.data.decoders`) busy a few images ahead of
whoever reads.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.data.address import parse_address
from sdmad.data.decoders import Lane
from sdmad.data.plane import ImageError
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError

Square = NDArray[np.uint8]
ENOUGH = 64
"""Fewer images than this are read one after the other, as they are asked for."""

AHEAD = 64
"""Squares that wait at most, all workers together."""

MOST_WORKERS = 8


def decode_all(
    preprocessing: Preprocessing, images: Sequence[Any], workers: int | None = None
) -> Generator[Square | ImageError, None, None]:
    """Decode and square images, in their order.

    Args:
        preprocessing: side, window and border.
        images: paths, Pillow images or arrays.
        workers: processes that read ahead; None takes one less than the machine has cores, at
            least one, where there are many images and all are paths, else none.

    Yields:
        For each image its square, ``(S, S)`` or ``(S, S, 3)`` uint8, or why it cannot be read.

    Raises:
        InputError: if no process can be started.
    """
    if workers is None:
        files = len(images) >= ENOUGH and all(isinstance(i, str | os.PathLike) for i in images)
        workers = min(MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1)) if files else 0
    if workers == 0:
        yield from (_here(preprocessing, image) for image in images)
        return
    lines = [
        _Line(preprocessing, images[first::workers], max(1, AHEAD // workers))
        for first in range(workers)
    ]
    try:
        for index in range(len(images)):
            yield lines[index % workers].next()
    finally:
        for line in lines:
            line.close()


def _here(preprocessing: Preprocessing, image: Any) -> Square | ImageError:
    try:
        return preprocessing.square(image)
    except ImageError as error:
        return error


class _Line:
    """One decoder, its share of the images, and the thread between."""

    def __init__(self, preprocessing: Preprocessing, images: Sequence[Any], ahead: int) -> None:
        self.how, self.images = preprocessing.how, images
        self.done: queue.Queue[Square | ImageError | BaseException] = queue.Queue(ahead)
        self.closed = threading.Event()
        self.lane = Lane()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def next(self) -> Square | ImageError:
        """The next square; raises what stopped the thread."""
        found = self.done.get()
        if isinstance(found, ImageError) or not isinstance(found, BaseException):
            return found
        raise found

    def close(self) -> None:
        """Stop the thread; what is under way is dropped."""
        if self.thread.is_alive():
            self.closed.set()
            self.lane.stop()
            with contextlib.suppress(queue.Empty):
                while True:
                    self.done.get_nowait()
        self.thread.join()

    def _run(self) -> None:
        for image in self.images:
            if self.closed.is_set():
                break
            found = self._read(image)
            while not self.closed.is_set():
                with contextlib.suppress(queue.Full):
                    self.done.put(found, timeout=0.1)
                    break
        self.lane.leave()

    def _read(self, image: Any) -> Square | ImageError | BaseException:
        path = Path(image)
        try:
            file, index = parse_address(path)
            found = self.lane.ask("square", file, index=index, **self.how)
            assert isinstance(found, np.ndarray)
        except (InputError, OSError, RuntimeError, ValueError) as error:
            return error
        return found
