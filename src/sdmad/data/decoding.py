"""Images decoded ahead in other processes, in order, in bounded memory.

A worker process answers one request after the other: a line of JSON in, a line of JSON and the
bytes of a square out. A thread of ours keeps each worker busy a few images ahead of whoever reads.
A file that ends its worker (a crash inside a decoder) is one unreadable image; the worker is
started again.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sdmad.data.plane import ImageError
from sdmad.data.preprocessing import Preprocessing

Square = NDArray[np.uint8]
ENOUGH = 64
"""Fewer images than this are not worth the start of a process."""

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
        workers: processes; None takes one less than the machine has cores, at least one, where
            there are many images and all are paths, else none.

    Yields:
        For each image its square, ``(S, S)`` or ``(S, S, 3)`` uint8, or why it cannot be read.
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


class _Worker(subprocess.Popen[bytes]):
    """A worker process; it finds this package where this process found it."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        folders = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
        program = f"from {__name__} import serve; serve()"
        super().__init__(
            [sys.executable, "-c", program, json.dumps(preprocessing.to_dict())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        )


class _Line:
    """One worker, its share of the images, and the thread between."""

    def __init__(self, preprocessing: Preprocessing, images: Sequence[Any], ahead: int) -> None:
        self.preprocessing, self.images = preprocessing, images
        self.done: queue.Queue[Square | ImageError | BaseException] = queue.Queue(ahead)
        self.closed = threading.Event()
        self.worker: _Worker | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def next(self) -> Square | ImageError:
        """The next square; raises what stopped the thread."""
        found = self.done.get()
        if isinstance(found, ImageError) or not isinstance(found, BaseException):
            return found
        raise found

    def close(self) -> None:
        """Stop the worker; what is under way is dropped."""
        self.closed.set()
        worker = self.worker
        if worker is not None:
            worker.kill()
        with contextlib.suppress(queue.Empty):
            while True:
                self.done.get_nowait()
        self.thread.join()
        if worker is not None:
            worker.communicate()

    def _run(self) -> None:
        for image in self.images:
            if self.closed.is_set():
                return
            try:
                found: Square | ImageError | BaseException = self._ask(Path(image))
            except (OSError, RuntimeError, ValueError) as error:
                found = error
            while not self.closed.is_set():
                with contextlib.suppress(queue.Full):
                    self.done.put(found, timeout=0.1)
                    break

    def _ask(self, path: Path) -> Square | ImageError:
        if self.worker is None:
            self.worker = _Worker(self.preprocessing)
        worker = self.worker
        assert worker.stdin is not None
        assert worker.stdout is not None
        with contextlib.suppress(OSError):  # a dead worker shows below
            worker.stdin.write(json.dumps(os.fspath(path)).encode() + b"\n")
            worker.stdin.flush()
        head = worker.stdout.readline()
        if not head.endswith(b"\n"):
            worker.kill()
            worker.communicate()
            self.worker = None
            return ImageError(f"{path}: its decoder crashed on it; export the file again", path)
        answer = json.loads(head)
        for category, text in answer["warnings"]:
            _warn(category, text)
        if "error" in answer:
            return ImageError(answer["error"], path)
        data = worker.stdout.read(int(np.prod(answer["shape"])))
        return np.frombuffer(data, np.uint8).reshape(answer["shape"])


def _warn(category: str, text: str) -> None:
    from sdmad.data.intensity import IntensityWarning

    kind = IntensityWarning if category == IntensityWarning.__name__ else UserWarning
    warnings.warn(text, kind, stacklevel=2)


def serve() -> None:
    """Answer requests on the standard input until it ends; the preprocessing is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the reader decides when it is over
    preprocessing = Preprocessing.from_dict(json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what libraries print
    for line in sys.stdin.buffer:
        _answer(preprocessing, Path(json.loads(line)), answers)


def _answer(preprocessing: Preprocessing, path: Path, answers: IO[bytes]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _here(preprocessing, path)
    head: dict[str, object] = {"warnings": [(w.category.__name__, str(w.message)) for w in caught]}
    if isinstance(found, ImageError):
        answers.write(json.dumps({**head, "error": str(found)}).encode() + b"\n")
    else:
        answers.write(json.dumps({**head, "shape": found.shape}).encode() + b"\n")
        answers.write(np.ascontiguousarray(found).tobytes())
    answers.flush()
