"""One process that reads files, and what is believed of its answers.

It answers one request after the other (`sdmad.data.serving`). A file may have taken it over: an
answer that no decoder gives counts as its end.
"""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.data.child import Child, EndedError, Watch
from sdmad.data.limits import Limits
from sdmad.data.shared import Shared
from sdmad.data.tasks import Answer, Described
from sdmad.errors import InputError

PROGRAM = "from sdmad.data.serving import serve; serve({memory}, {shared})"

MOST_ANSWERED = 1 << 30
"""Bytes of an array that is taken for an answer: more than any picture has."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """What a decoder says beside what it found.

    Attributes:
        warnings: class, kind and text of each.
        log: lines.
        error: why the file cannot be read; None where it can.
        memory: whether that is for want of memory.
    """

    warnings: tuple[tuple[str, str, str], ...]
    log: tuple[str, ...]
    error: str | None
    memory: bool

    @classmethod
    def of(cls, head: dict[str, Any]) -> Said:
        """Take it from the head of an answer.

        Raises:
            LookupError, TypeError, ValueError: if it is no head that a decoder writes.
        """
        told = tuple((str(name), str(kind), str(text)) for name, kind, text in head["warnings"])
        log, error = tuple(map(str, head["log"])), head.get("error")
        if not isinstance(error, str | None):
            raise TypeError("an error is a text")
        return cls(told, log, error, bool(head.get("memory")))


class Decoder(Child):
    """A process that reads files.

    Attributes:
        memory: that it may have, in GiB.
        asked: how many files it was asked for.
    """

    def __init__(self, memory: float) -> None:
        self.asked, self._shared = 0, Shared()
        shared = next(iter(self._shared.handed), -1)
        program = PROGRAM.format(memory=int(memory * (1 << 30)), shared=shared)
        try:
            super().__init__(program, memory, self._shared.handed)
        except InputError:
            self._shared.close()
            raise
        finally:
            self._shared.hand_over()

    def ask(
        self, task: str, path: Path, arguments: dict[str, Any], held: Limits
    ) -> tuple[Said, Answer]:
        """Send a request and read the answer.

        Raises:
            EndedError: if the process ends, or says what no decoder says.
            OverrunError: if it does not answer in time.
        """
        self.asked += 1
        request = {
            "task": task,
            "path": os.fspath(path),
            "folder": _current_folder(),
            "arguments": arguments,
            "seconds": held.seconds,
            "debug": _log.isEnabledFor(logging.DEBUG),
        }
        watch = Watch(held.clock)
        self.send(json.dumps(request).encode() + b"\n", watch)
        try:
            head = json.loads(self.line(watch))
            said = Said.of(head)
            if "type" not in head:
                return said, head["value"]
            array = self._array(head, watch)
            return said, Described(array, head["about"]) if "about" in head else array
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise EndedError from error  # no answer that a decoder gives

    def end(self) -> None:
        """End the process, close its pipes and give the shared memory back."""
        super().end()
        self._shared.close()

    def _array(self, head: dict[str, Any], watch: Watch) -> NDArray[Any]:
        """The array that an answer's head describes."""
        length = math.prod(head["shape"])
        negative = any(side < 0 for side in head["shape"])
        if head["type"] not in ("|u1", "|b1") or negative or length > MOST_ANSWERED:
            raise EndedError
        found = self._shared.taken(length) if head["shared"] else np.empty(length, np.uint8)
        if found is None:
            raise EndedError
        if not head["shared"]:
            self.fill(found.data, watch)
        return found.view(head["type"]).reshape(head["shape"])


def _current_folder() -> str:
    """That of this process now, where a path that is not absolute begins."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed meanwhile
        return os.sep
