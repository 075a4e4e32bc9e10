"""One process that reads files, and what is believed of its answers.

It answers one request after the other (`sdmad.data.serving`). A file may have taken it over: an
answer that no decoder gives counts as its end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.data.limits import MEMORY, Limits
from sdmad.data.shared import Shared
from sdmad.data.tasks import Answer, Described
from sdmad.errors import InputError
from sdmad.processes import environment

PROGRAM = "from sdmad.data.serving import serve; serve({memory}, {shared})"

START = 60.0
"""Seconds that a process may take to start."""

SLICE = 1.0
"""Seconds that are waited at once; a wait that took longer, while stopped, counts as so many."""

MOST_ANSWERED = 1 << 30
"""Bytes of an array that is taken for an answer: more than any picture has."""

MOST_SAID = 1 << 22
"""Bytes of an answer without its array."""

_PIPE, _HEAD = 1 << 20, 1 << 12
_log = logging.getLogger(__name__)

started: weakref.WeakSet[Decoder] = weakref.WeakSet()
"""Those of this process that have not been ended."""


class EndedError(Exception):
    """The process has ended instead of answering."""


class OverrunError(Exception):
    """The process has not answered in time."""


class Watch:
    """Seconds left by the clock; those count for little in which this process did not run either.

    It may have been stopped and gone on, with its decoders, or the whole machine may be starved.
    """

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def wait(self, ready: Callable[[float], object]) -> None:
        """Wait until something is ready.

        Args:
            ready: waits for at most so many milliseconds, and says whether it is.

        Raises:
            OverrunError: if no time is left before.
        """
        while self.left > 0:
            start, most = time.monotonic(), min(self.left, SLICE)
            found = ready(most * 1000)
            self.left -= min(most, time.monotonic() - start)
            if found:
                return
        raise OverrunError


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


class Decoder(subprocess.Popen[bytes]):
    """A process that reads files; it finds this package where this process found it.

    Attributes:
        memory: that it may have, in GiB.
        asked: how many files it was asked for.
    """

    def __init__(self, memory: float) -> None:
        self.memory, self.asked, self._started, self._read = memory, 0, False, b""
        self._shared = Shared()
        shared = next(iter(self._shared.handed), -1)
        program = PROGRAM.format(memory=int(memory * (1 << 30)), shared=shared)
        try:
            super().__init__(
                # Without the current folder: a module in it must not take the place of a library.
                [sys.executable, "-P", "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment(),
                pass_fds=self._shared.handed,
            )
        except OSError as error:
            self._shared.close()
            raise InputError(
                f"no process can be started to read images in ({error.strerror}); close other "
                "programs, or free memory"
            ) from error
        finally:
            self._shared.hand_over()
        assert self.stdin is not None
        assert self.stdout is not None
        self._asks, self._answers = self.stdin, self.stdout
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(self._answers.fileno(), select.POLLIN)
        _widen(self._answers.fileno())
        started.add(self)

    def start(self) -> None:
        """Wait until it is ready.

        Raises:
            InputError: if it ends or takes too long.
        """
        if self._started:
            return
        try:
            self._line(Watch(START))
        except (EndedError, OverrunError):
            self.end()
            raise InputError(
                f"a process to read images in ended as it started (status {self.returncode}); "
                f"free memory, or give it more ({MEMORY}, now {self.memory:g} GiB)"
            ) from None
        self._started = True

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
        try:
            self._asks.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise EndedError from error
        try:
            head = json.loads(self._line(watch))
            said = Said.of(head)
            if "type" not in head:
                return said, head["value"]
            array = self._array(head, watch)
            return said, Described(array, head["about"]) if "about" in head else array
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise EndedError from error  # no answer that a decoder gives

    def end(self) -> None:
        """End the process and close its pipes."""
        self.kill()
        for pipe in (self._asks, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        self.wait()
        self._shared.close()
        started.discard(self)

    def _line(self, watch: Watch) -> bytes:
        while b"\n" not in self._read:
            self._read += self._some(watch, _HEAD)
            if len(self._read) > MOST_SAID:
                raise EndedError
        line, _, self._read = self._read.partition(b"\n")
        return line

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
            self._fill(found.data, watch)
        return found.view(head["type"]).reshape(head["shape"])

    def _fill(self, place: memoryview, watch: Watch) -> None:
        """Fill memory with the bytes that follow."""
        done = min(len(self._read), len(place))
        place[:done], self._read = self._read[:done], self._read[done:]
        while done < len(place):
            self._await(watch)
            count = self._answers.readinto(place[done:])  # type: ignore[attr-defined]
            if not count:
                raise EndedError
            done += count

    def _some(self, watch: Watch, most: int) -> bytes:
        self._await(watch)
        found = os.read(self._answers.fileno(), most)
        if not found:
            raise EndedError
        return found

    def _await(self, watch: Watch) -> None:
        """Wait until there is something to read."""
        if not hasattr(select, "poll"):  # a system without: no deadline
            return
        watch.wait(self._poll.poll)


def _current_folder() -> str:
    """That of this process now, where a path that is not absolute begins."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed meanwhile
        return os.sep


def _widen(pipe: int) -> None:
    """Let a whole picture of ordinary size pass at once."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
