"""Processes that read the files of strangers, within limits of memory and time.

A decoder (`sdmad.data.decoder`) answers one request after the other. A file that ends it (a crash
inside a library), overruns its time or its memory is one unreadable image: its decoder is ended,
and another one reads the next file. Processor time the decoder's own timer ends; what waits too
long by the clock is ended here. Decoders are kept for later files, and end with this process.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import warnings
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sdmad.data.child import EndedError, OverrunError, started
from sdmad.data.decoder import Decoder, Said
from sdmad.data.intensity import PartWarning, pass_on
from sdmad.data.limits import CLOCK, MEMORY, SECONDS, Limits, limits
from sdmad.data.plane import ImageError
from sdmad.data.tasks import TASKS, Answer, Described
from sdmad.errors import InputError

STARTS = 3
"""How often a process is started that ends as it starts."""

MOST_IDLE = 8
"""Decoders that wait for later files at most."""

Found = TypeVar("Found")
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
    return _of_kind(dict, ask(task, path, **arguments), path)


def ask_for_pixels(task: str, path: Path, **arguments: Any) -> NDArray[Any]:
    """Ask for an array, as `ask`."""
    return _of_kind(np.ndarray, ask(task, path, **arguments), path)


def ask_for_described(task: str, path: Path, **arguments: Any) -> Described:
    """Ask for an array and what is said of it, as `ask`."""
    return _of_kind(Described, ask(task, path, **arguments), path)


def _of_kind(kind: type[Found], found: object, path: Path) -> Found:
    if not isinstance(found, kind):  # the file has taken its decoder over
        raise _crashed(path)
    return found


def _crashed(path: Path) -> ImageError:
    return ImageError(f"{path}: its decoder crashed on it; export the file again", path)


class Lane:
    """A decoder for some files, one after the other; another one where it has ended."""

    def __init__(self) -> None:
        self._decoder: Decoder | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def ask(self, task: str, path: Path, **arguments: Any) -> Answer:
        """Ask something of a file, as `sdmad.data.decoders.ask` does, always in a process."""
        return self.ask_within(limits(), task, path, arguments)

    def ask_within(self, held: Limits, task: str, path: Path, arguments: dict[str, Any]) -> Answer:
        """Ask something of a file within limits that are known."""
        said, found = self._ask(held, task, path, arguments)
        if said.memory and self._had_others:
            self._end()  # what other files left may fill it: one more try, alone
            said, found = self._ask(held, task, path, arguments)
        _pass_on(said)
        if said.error is not None:
            more = f" (of {held.memory:g} GiB; {MEMORY} sets another limit)"
            raise ImageError(said.error + (more if said.memory else ""), path)
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
    ) -> tuple[Said, Answer]:
        decoder = self._ready(held)
        try:
            return decoder.ask(task, path, arguments, held)
        except OverrunError:
            self._end()
            within = f"{held.clock:g} s by the clock ({CLOCK} times {SECONDS})"
            raise _overrun(path, within) from None
        except EndedError:
            self._end()
            if decoder.returncode == -getattr(signal, "SIGPROF", 0):
                raise _overrun(path, f"{held.seconds:g} s of processor time") from None
            raise _crashed(path) from None
        except BaseException:  # an interruption: what is under way would be the next one's answer
            self._end()
            raise

    def _ready(self, held: Limits, tries: int = STARTS) -> Decoder:
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

    def _take(self, held: Limits) -> Decoder:
        with self._lock:
            if self._stopped:
                raise InputError("stopped")
            if self._decoder is not None and self._decoder.memory != held.memory:
                self._decoder.end()
                self._decoder = None
            if self._decoder is None:
                self._decoder = _Idle.take(held.memory) or Decoder(held.memory)
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


class _Idle:
    """Decoders that wait for a file, of this process alone."""

    lock = threading.Lock()
    waiting: list[Decoder]

    @classmethod
    def take(cls, memory: float) -> Decoder | None:
        with cls.lock:
            while cls.waiting:
                decoder = cls.waiting.pop()
                if decoder.memory == memory and decoder.poll() is None:
                    return decoder
                decoder.end()
        return None

    @classmethod
    def put(cls, decoder: Decoder) -> None:
        with cls.lock:
            if len(cls.waiting) < MOST_IDLE:
                cls.waiting.append(decoder)
                return
        decoder.end()

    @classmethod
    def forget(cls) -> None:
        """In a fork: they answer the process that started them."""
        cls.lock, cls.waiting = threading.Lock(), []
        started.clear()


_Idle.waiting = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Idle.forget)


@atexit.register
def _end_all() -> None:
    for decoder in list(started):
        decoder.end()


def _pass_on(said: Said) -> None:
    """Warn here of what a decoder warned of, and log what it logged."""
    for line in said.log:
        _log.debug("%s", line)
    for category, kind, text in said.warnings:
        if kind:
            pass_on(kind, text)
        else:
            here = PartWarning if category == PartWarning.__name__ else UserWarning
            warnings.warn(text, here, stacklevel=4)
