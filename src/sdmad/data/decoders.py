"""Processes that read the files of strangers, within limits of memory and time.

A decoder answers one request after the other (`sdmad.data.serving`). A file that ends it (a crash
inside a library), overruns its time or its memory is one unreadable image: its decoder is ended,
and another one reads the next file. Processor time the decoder's own timer ends; what waits too
long by the clock is ended here. Decoders are kept for later files, and end with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.data.intensity import PartWarning, pass_on
from sdmad.data.limits import CLOCK, MEMORY, SECONDS, Limits, limits
from sdmad.data.plane import ImageError
from sdmad.data.shared import Shared
from sdmad.data.tasks import TASKS, Answer, Described
from sdmad.errors import InputError
from sdmad.processes import environment

PROGRAM = "from sdmad.data.serving import serve; serve({memory}, {shared})"

MOST_IDLE = 8
"""Decoders that wait for later files at most."""

START, STARTS = 60.0, 3
"""Seconds that a process may take to start, and how often it is tried."""

SLICE = 1.0
"""Seconds that are waited at once; a wait that took longer, while stopped, counts as so many."""

MOST_ANSWERED = 1 << 30
"""Bytes of an array that is taken for an answer: more than any picture has."""

MOST_SAID = 1 << 22
"""Bytes of an answer without its array."""

_PIPE, _HEAD = 1 << 20, 1 << 12
_log = logging.getLogger(__name__)


def ask(task: str, path: Path, **arguments: Any) -> Answer:
    """Ask something of a file, in a decoder process, or in this one where files are trusted.

    Args:
        task: one of `sdmad.data.tasks.TASKS`.
        path: the file.
        arguments: plain values.

    Raises:
        ImageError: if it cannot be read within the limits.
        InputError: if no process can be started.
    """
    held = limits()
    if held.trusted:
        return TASKS[task](path, **arguments)
    lane = Lane()
    try:
        return lane.ask_within(held, task, path, arguments)
    finally:
        lane.leave()


def ask_for(task: str, path: Path, **arguments: Any) -> dict[str, Any]:
    """Ask for something with named parts, as `ask`."""
    found = ask(task, path, **arguments)
    assert isinstance(found, dict)
    return found


def ask_for_pixels(task: str, path: Path, **arguments: Any) -> NDArray[Any]:
    """Ask for an array, as `ask`."""
    found = ask(task, path, **arguments)
    assert isinstance(found, np.ndarray)
    return found


def ask_for_described(task: str, path: Path, **arguments: Any) -> Described:
    """Ask for an array and what is said of it, as `ask`."""
    found = ask(task, path, **arguments)
    assert isinstance(found, Described)
    return found


class Lane:
    """A decoder for some files, one after the other; another one where it has ended."""

    def __init__(self) -> None:
        self._decoder: _Decoder | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def ask(self, task: str, path: Path, **arguments: Any) -> Answer:
        """Ask something of a file, as `sdmad.data.decoders.ask` does, always in a process."""
        return self.ask_within(limits(), task, path, arguments)

    def ask_within(self, held: Limits, task: str, path: Path, arguments: dict[str, Any]) -> Answer:
        """Ask something of a file within limits that are known."""
        head, found = self._ask(held, task, path, arguments)
        if head.get("memory") and self._had_others:
            self._end()  # what other files left may fill it: one more try, alone
            head, found = self._ask(held, task, path, arguments)
        _pass_on(head)
        if "error" in head:
            more = f" (of {held.memory:g} GiB; {MEMORY} sets another limit)"
            raise ImageError(head["error"] + (more if head["memory"] else ""), path)
        return found

    def leave(self) -> None:
        """Keep the decoder for later files."""
        with self._lock:
            decoder, self._decoder = self._decoder, None
        if decoder is not None and self._stopped:
            decoder.end()
        elif decoder is not None:
            _Idle.put(decoder)

    def stop(self) -> None:
        """End it, from another thread too; what is under way fails."""
        with self._lock:
            self._stopped = True
            if self._decoder is not None:
                self._decoder.kill()

    @property
    def _had_others(self) -> bool:
        return self._decoder is not None and self._decoder.asked > 1

    def _ask(
        self, held: Limits, task: str, path: Path, arguments: dict[str, Any]
    ) -> tuple[dict[str, Any], Answer]:
        decoder = self._ready(held)
        try:
            return decoder.ask(task, path, arguments, held)
        except _OverrunError:
            self._end()
            within = f"{held.clock:g} s by the clock ({CLOCK} times {SECONDS})"
            raise _overrun(path, within) from None
        except _EndedError:
            self._end()
            if decoder.returncode == -getattr(signal, "SIGPROF", 0):
                raise _overrun(path, f"{held.seconds:g} s of processor time") from None
            raise ImageError(
                f"{path}: its decoder crashed on it; export the file again", path
            ) from None
        except BaseException:  # an interruption: what is under way would be the next one's answer
            self._end()
            raise

    def _ready(self, held: Limits, tries: int = STARTS) -> _Decoder:
        """A decoder that has started; one that was ended meanwhile, by whomever, is replaced."""
        decoder = self._take(held)
        try:
            decoder.start()
        except InputError:
            self._end()
            if tries == 1:
                raise
            return self._ready(held, tries - 1)
        except BaseException:
            self._end()
            raise
        return decoder

    def _take(self, held: Limits) -> _Decoder:
        with self._lock:
            if self._stopped:
                raise InputError("stopped")
            if self._decoder is not None and self._decoder.memory != held.memory:
                self._decoder.end()
                self._decoder = None
            if self._decoder is None:
                self._decoder = _Idle.take(held.memory) or _Decoder(held.memory)
            return self._decoder

    def _end(self) -> None:
        with self._lock:
            decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.end()


def _overrun(path: Path, within: str) -> ImageError:
    return ImageError(
        f"{path}: not read within {within}, so its decoder was ended; {SECONDS} sets another limit",
        path,
    )


class _EndedError(Exception):
    """The process has ended instead of answering."""


class _OverrunError(Exception):
    """The process has not answered in time."""


class _Watch:
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
            _OverrunError: if no time is left before.
        """
        while self.left > 0:
            start, most = time.monotonic(), min(self.left, SLICE)
            found = ready(most * 1000)
            self.left -= min(most, time.monotonic() - start)
            if found:
                return
        raise _OverrunError


class _Decoder(subprocess.Popen[bytes]):
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
        _started.add(self)

    def start(self) -> None:
        """Wait until it is ready.

        Raises:
            InputError: if it ends or takes too long.
        """
        if self._started:
            return
        try:
            self._line(_Watch(START))
        except (_EndedError, _OverrunError):
            self.end()
            raise InputError(
                f"a process to read images in ended as it started (status {self.returncode}); "
                f"free memory, or give it more ({MEMORY}, now {self.memory:g} GiB)"
            ) from None
        self._started = True

    def ask(
        self, task: str, path: Path, arguments: dict[str, Any], held: Limits
    ) -> tuple[dict[str, Any], Answer]:
        """Send a request and read the answer: its head and what was found."""
        self.asked += 1
        request = {
            "task": task,
            "path": os.fspath(path),
            "folder": _current_folder(),
            "arguments": arguments,
            "seconds": held.seconds,
            "debug": _log.isEnabledFor(logging.DEBUG),
        }
        watch = _Watch(held.clock)
        try:
            self._asks.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise _EndedError from error
        try:
            head = json.loads(self._line(watch))
            if "type" not in head:
                return head, head["value"]
            array = self._array(head, watch)
            return head, Described(array, head["about"]) if "about" in head else array
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise _EndedError from error  # no answer that a decoder gives

    def end(self) -> None:
        """End the process and close its pipes."""
        self.kill()
        for pipe in (self._asks, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        self.wait()
        self._shared.close()
        _started.discard(self)

    def _line(self, watch: _Watch) -> bytes:
        while b"\n" not in self._read:
            self._read += self._some(watch, _HEAD)
            if len(self._read) > MOST_SAID:
                raise _EndedError
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _array(self, head: dict[str, Any], watch: _Watch) -> NDArray[Any]:
        """The array that an answer's head describes."""
        length = math.prod(head["shape"])
        negative = any(side < 0 for side in head["shape"])
        if head["type"] not in ("|u1", "|b1") or negative or length > MOST_ANSWERED:
            raise _EndedError
        found = self._shared.taken(length) if head["shared"] else np.empty(length, np.uint8)
        if found is None:
            raise _EndedError
        if not head["shared"]:
            self._fill(found.data, watch)
        return found.view(head["type"]).reshape(head["shape"])

    def _fill(self, place: memoryview, watch: _Watch) -> None:
        """Fill memory with the bytes that follow."""
        done = min(len(self._read), len(place))
        place[:done], self._read = self._read[:done], self._read[done:]
        while done < len(place):
            self._await(watch)
            count = self._answers.readinto(place[done:])  # type: ignore[attr-defined]
            if not count:
                raise _EndedError
            done += count

    def _some(self, watch: _Watch, most: int) -> bytes:
        self._await(watch)
        found = os.read(self._answers.fileno(), most)
        if not found:
            raise _EndedError
        return found

    def _await(self, watch: _Watch) -> None:
        """Wait until there is something to read."""
        if not hasattr(select, "poll"):  # a system without: no deadline
            return
        watch.wait(self._poll.poll)


class _Idle:
    """Decoders that wait for a file, of this process alone."""

    lock = threading.Lock()
    waiting: list[_Decoder]

    @classmethod
    def take(cls, memory: float) -> _Decoder | None:
        with cls.lock:
            while cls.waiting:
                decoder = cls.waiting.pop()
                if decoder.memory == memory and decoder.poll() is None:
                    return decoder
                decoder.end()
        return None

    @classmethod
    def put(cls, decoder: _Decoder) -> None:
        with cls.lock:
            if len(cls.waiting) < MOST_IDLE:
                cls.waiting.append(decoder)
                return
        decoder.end()

    @classmethod
    def forget(cls) -> None:
        """In a fork: they answer the process that started them."""
        cls.lock, cls.waiting = threading.Lock(), []
        _started.clear()


_started: weakref.WeakSet[_Decoder] = weakref.WeakSet()
_Idle.waiting = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Idle.forget)


@atexit.register
def _end_all() -> None:
    for decoder in list(_started):
        decoder.end()


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


def _pass_on(head: dict[str, Any]) -> None:
    """Warn here of what a decoder warned of, and log what it logged."""
    for line in head["log"]:
        _log.debug("%s", line)
    for category, kind, text in head["warnings"]:
        if kind:
            pass_on(kind, text)
        else:
            here = PartWarning if category == PartWarning.__name__ else UserWarning
            warnings.warn(text, here, stacklevel=4)
