"""What a decoder process does: tasks of `sdmad.data.tasks`, one after the other, within limits.

A request is a line of JSON on the standard input, an answer such a line on the standard output. The
bytes of an array go into shared memory (`sdmad.data.shared`), or behind the line. The first answer
says that the process has started. Nothing else is ever imported or run by what a request or a file
says.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sdmad.data import intensity
from sdmad.data.plane import ImageError
from sdmad.data.reading import TOO_MUCH_MEMORY, boundary
from sdmad.data.shared import inherited
from sdmad.data.tasks import TASKS, Answer, Described
from sdmad.processes import alarm, answering, bound, end_at_alarms


def serve(memory: int, shared: int = -1) -> None:
    """Answer requests until there are no more.

    Args:
        memory: bytes of address space that this process may have.
        shared: descriptor of the memory that arrays are put into; -1 if there is none.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides when it is over
    end_at_alarms()
    bound(memory)  # and no core with a patient's picture is left behind
    answers = answering()
    place = inherited(shared)
    _write(answers, place, {}, "")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        with contextlib.suppress(OSError):  # then a path that is not absolute is not found
            os.chdir(request.pop("folder"))
        with alarm(request.pop("seconds")):
            _write(answers, place, *_answer(**request))


def _answer(
    task: str, path: str, arguments: dict[str, Any], debug: bool
) -> tuple[dict[str, Any], Answer]:
    """Do a task; what it warned of and logged comes with the answer."""
    head: dict[str, Any] = {}
    found: Answer = ""
    intensity.forget()
    with warnings.catch_warnings(record=True) as caught, _logged(debug) as lines:
        warnings.simplefilter("always")
        try:
            with boundary(Path(path)):
                found = TASKS[task](Path(path), **arguments)
        except ImageError as error:
            head["error"] = str(error)
            head["memory"] = TOO_MUCH_MEMORY in str(error)
    head["warnings"] = [
        (type(one.message).__name__, getattr(one.message, "kind", ""), str(one.message))
        for one in caught
    ]
    head["log"] = lines
    return head, found


@contextlib.contextmanager
def _logged(wanted: bool) -> Any:
    """The lines that this package logs meanwhile, where they are wanted."""
    lines: list[str] = []
    if not wanted:
        yield lines
        return
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("sdmad")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def _write(
    answers: IO[bytes], place: NDArray[np.uint8], head: dict[str, Any], found: Answer
) -> None:
    if isinstance(found, Described):
        head, found = {**head, "about": found.about}, found.array
    if isinstance(found, np.ndarray):
        array = np.ascontiguousarray(found)
        shared = array.nbytes <= place.size
        head |= {"type": array.dtype.str, "shape": array.shape, "shared": shared}
        if shared:
            place[: array.nbytes] = array.reshape(-1).view(np.uint8)
        answers.write(json.dumps(head).encode() + b"\n")
        if not shared:
            answers.write(array.data)
    else:
        answers.write(json.dumps({**head, "value": found}).encode() + b"\n")
    answers.flush()
