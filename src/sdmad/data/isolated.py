"""DICOM frames decoded by GDCM in a process of their own.

GDCM, the only decoder here for lossless JPEG, ends its process on some damaged frames. A helper
process takes that blow: it is started at the first such frame, kept for the next ones, and started
again after a frame that ended it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

_lock = threading.Lock()


class _Helper(subprocess.Popen[bytes]):
    """The helper process: a request is a line of JSON, an answer such a line and bytes.

    Attributes:
        owner: the process that it answers; a fork of that one needs its own.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        super().__init__(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def ask(self, request: dict[str, object]) -> NDArray[np.integer]:
        """Send a request and read the answer.

        Raises:
            RuntimeError: if the process has ended instead of answering.
        """
        asks, answers = self.stdin, self.stdout
        if asks is None or answers is None:
            raise RuntimeError("no pipe to the decoder")
        try:
            asks.write(json.dumps(request).encode() + b"\n")
            asks.flush()
        except OSError as error:
            raise RuntimeError("the decoder has ended") from error
        head = answers.readline()
        if not head.endswith(b"\n"):
            raise RuntimeError("the decoder has ended")
        shape, kind, length = json.loads(head)
        data = answers.read(length)
        if len(data) != length:
            raise RuntimeError("the decoder has ended")
        return np.frombuffer(data, dtype=np.dtype(kind)).reshape(shape)

    def end(self) -> None:
        """End the process and close its pipes."""
        self.kill()
        self.communicate()


_helper: _Helper | None = None


def decode(path: Path, frame: int, frames: int) -> NDArray[np.integer]:
    """Decode one frame of a file.

    Args:
        path: of the file.
        frame: its index.
        frames: how many frames the file has.

    Returns:
        What `pydicom.pixels.pixel_array` returns: ``(H, W)`` or ``(H, W, 3)``.

    Raises:
        RuntimeError: if the frame cannot be decoded.
        OSError: if no process can be started.
    """
    global _helper
    request: dict[str, object] = {"path": str(path.resolve()), "frame": frame, "frames": frames}
    with _lock:
        if _helper is None or _helper.owner != os.getpid():
            _helper = _Helper()
        try:
            return _helper.ask(request)
        except (RuntimeError, KeyboardInterrupt):
            _helper.end()
            _helper = None
            raise


@atexit.register
def _end_helper() -> None:
    if _helper is not None and _helper.owner == os.getpid():
        _helper.end()


def serve() -> None:
    """Answer requests on the standard input until it ends; a frame in error ends the process."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what GDCM prints
    for line in sys.stdin.buffer:
        _answer(json.loads(line), answers)


def _answer(request: dict[str, object], answers: IO[bytes]) -> None:
    from pydicom.pixels import pixel_array

    values = np.ascontiguousarray(
        pixel_array(
            str(request["path"]),
            index=int(str(request["frame"])),
            number_of_frames=int(str(request["frames"])),
            decoding_plugin="gdcm",
        )
    )
    data = values.tobytes()
    answers.write(json.dumps([values.shape, values.dtype.str, len(data)]).encode() + b"\n" + data)
    answers.flush()
