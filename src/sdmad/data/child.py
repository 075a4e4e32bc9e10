"""A process that reads what strangers made, and the pipes to it. What it says is not trusted."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Callable

from sdmad.data.limits import MEMORY
from sdmad.errors import InputError
from sdmad.processes import environment

START = 60.0
"""Seconds that a process may take to start."""

SLICE = 1.0
"""Seconds that are waited at once; a wait that took longer, while stopped, counts as so many."""

MOST_SAID = 1 << 22
"""Bytes of a line."""

_PIPE, _HEAD = 1 << 20, 1 << 12

started: weakref.WeakSet[Child] = weakref.WeakSet()
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


class Child(subprocess.Popen[bytes]):
    """A process that finds this package where this process found it, and says a line once ready.

    Args:
        program: what it runs.
        memory: that it may have, in GiB.
        handed: file descriptors that it inherits.

    Raises:
        InputError: if no process can be started.
    """

    def __init__(self, program: str, memory: float, handed: tuple[int, ...] = ()) -> None:
        self.memory, self._started, self._read = memory, False, b""
        try:
            super().__init__(
                # Without the current folder: a module in it must not take the place of a library.
                [sys.executable, "-P", "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment(),
                pass_fds=handed,
            )
        except OSError as error:
            raise InputError(
                f"no process can be started to read images in ({error.strerror}); close other "
                "programs, or free memory"
            ) from error
        assert self.stdin is not None
        assert self.stdout is not None
        self._asks, self._answers = self.stdin, self.stdout
        if hasattr(select, "poll"):
            self._said, self._room = select.poll(), select.poll()
            self._said.register(self._answers.fileno(), select.POLLIN)
            self._room.register(self._asks.fileno(), select.POLLOUT)
            os.set_blocking(self._asks.fileno(), False)
        for pipe in (self._asks, self._answers):
            _widen(pipe.fileno())
        started.add(self)

    def start(self) -> None:
        """Wait until it is ready.

        Raises:
            InputError: if it ends or takes too long.
        """
        if self._started:
            return
        try:
            self.line(Watch(START))
        except (EndedError, OverrunError):
            self.end()
            raise InputError(
                f"a process to read images in ended as it started (status {self.returncode}); "
                f"free memory, or give it more ({MEMORY}, now {self.memory:g} GiB)"
            ) from None
        self._started = True

    def send(self, content: bytes, watch: Watch) -> None:
        """Write to its standard input.

        Raises:
            EndedError: if it has ended.
            OverrunError: if it does not read in time.
        """
        left = memoryview(content)
        while left:
            if hasattr(select, "poll"):
                watch.wait(self._room.poll)
            try:
                count = self._asks.write(left)
            except OSError as error:
                raise EndedError from error
            left = left[count or 0 :]  # None where there is no room after all

    def line(self, watch: Watch) -> bytes:
        """A line that it says.

        Raises:
            EndedError: if it ends, or the line does not.
            OverrunError: if it says none in time.
        """
        while b"\n" not in self._read:
            self._read += self._some(watch, _HEAD)
            if len(self._read) > MOST_SAID:
                raise EndedError
        line, _, self._read = self._read.partition(b"\n")
        return line

    def fill(self, place: memoryview, watch: Watch) -> None:
        """Fill memory with the bytes that it says behind a line; raises as `line`."""
        done = min(len(self._read), len(place))
        place[:done], self._read = self._read[:done], self._read[done:]
        while done < len(place):
            self._await(watch)
            count = self._answers.readinto(place[done:])  # type: ignore[attr-defined]
            if not count:
                raise EndedError
            done += count

    def end(self) -> None:
        """End the process and close its pipes."""
        self.kill()
        for pipe in (self._asks, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        self.wait()
        started.discard(self)

    def _some(self, watch: Watch, most: int) -> bytes:
        self._await(watch)
        found = os.read(self._answers.fileno(), most)
        if not found:
            raise EndedError
        return found

    def _await(self, watch: Watch) -> None:
        """Wait until there is something to read."""
        if hasattr(select, "poll"):  # a system without: no deadline
            watch.wait(self._said.poll)


def _widen(pipe: int) -> None:
    """Let a whole picture of ordinary size pass at once."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
