"""Parquet files of strangers, read in a process of its own within limits of memory and time.

A Parquet file is compressed, so a small one can unpack to any size. The process that unpacks it
(`sdmad.archive.unpacking`) has no network and no secret; it has the file's bytes from here. A row
that ends it, or takes too much, is a row with an error. Rows behind it in its row group cannot be
reached by a reader of Parquet: another process goes on with the next row group.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sdmad.archive.places import Place, patiently, reaching
from sdmad.archive.unpacking import PIECE
from sdmad.data.child import Child, EndedError, OverrunError, Watch
from sdmad.data.limits import CLOCK, MEMORY, SECONDS, limits
from sdmad.errors import InputError, SDMADError

PROGRAM = "from sdmad.archive.unpacking import serve; serve({memory})"

MOST_FAILED = 16
"""Row groups of one file that may fail before the other rows that are asked for are given up."""

PART = 8
"""A cell may have this part of the memory: it is there several times while it is unpacked."""

GONE = "no such row; its Parquet file has changed since it was listed"

Names = Sequence[str]


def rows(
    place: Place, choose: Callable[[Names], tuple[str | None, str | None]]
) -> Iterator[tuple[str | None, str | None]]:
    """The texts of two columns, row by row.

    Args:
        place: of the file.
        choose: two columns of all that there are; None for one that there is not.

    Raises:
        InputError: if it is no usable Parquet file; as raised by `choose`.
        SDMADError: if the place does not answer.
    """
    with _opened(place) as reader:
        try:
            left = reader.size  # an image has a byte at least
            for head in reader.answers(lambda names: {"list": choose(names)}):
                listed = _pairs(head)
                left -= len(listed)
                if left < 0:
                    raise _ToldError("more rows than bytes", False)
                yield from listed
        except (EndedError, OverrunError) as error:
            why = reader.why(error, quoted=True)
            raise InputError(f"{place}: no usable Parquet file ({why})") from None


def cells(
    place: Place, choose: Callable[[Names], str | None], first: int, last: int
) -> Iterator[bytes | str]:
    """The bytes in some rows that follow each other, or why they cannot be had.

    Args:
        place: of the file.
        choose: the column, of all that there are.
        first: row, from 0.
        last: row, which is one of them.

    Raises:
        SDMADError: if the place does not answer.
    """
    row = first
    for _ in range(MOST_FAILED):
        begun, stop = False, last + 1
        with _opened(place) as reader:
            try:
                for head in reader.answers(lambda names: _task(choose(names), row, last)):  # noqa: B023  # asked at once
                    if "group" in head:
                        start, stop = _group(head, row, last)
                        yield from [GONE] * (start - row)
                        begun, row = True, start
                    elif row < stop:
                        found = reader.cell(head)
                        yield found
                        row += 1
                begun, stop, why = False, last + 1, GONE
            except (EndedError, OverrunError) as error:
                why = f"{reader.why(error)}; write its Parquet file again"
        if begun and row < stop:
            yield why
            why = f"behind row {row} (from 0) of the same row group, which cannot be read: {why}"
            row += 1
        yield from [why] * (stop - row)
        if stop > last:
            return
        row = stop
    why = f"passed over, as {MOST_FAILED} row groups of its Parquet file failed before it"
    yield from [f"{why}; write it again"] * (last + 1 - row)


def _task(column: str | None, first: int, last: int) -> dict[str, Any]:
    return {"cells": column, "first": first, "last": last, "most": _most()}


def _most() -> int:
    """Bytes that a cell may have."""
    return int(limits().memory * (1 << 30)) // PART


class _ToldError(EndedError):
    """The process has told what is wrong with the file, and ends."""

    def __init__(self, text: str, memory: bool) -> None:
        super().__init__(text)
        self.memory = memory


class _Reader(Child):
    """The process, with a file that it has from here."""

    def __init__(self, place: Place, stream: Any) -> None:
        self._place, self._stream, self._held = place, stream, limits()
        with reaching(place):
            stream.seek(0, os.SEEK_END)
            self.size = int(stream.tell())
        super().__init__(
            PROGRAM.format(memory=int(self._held.memory * (1 << 30))), self._held.memory
        )

    def answers(self, ask: Callable[[Names], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Heads of its answers to what is asked of the file's columns.

        Raises:
            EndedError: if it ends, tells what is wrong, or says what it never does.
            OverrunError: if it takes too long.
            SDMADError: if the place does not answer.
        """
        self.start()
        self._tell({"size": self.size, "seconds": self._held.seconds})
        names = self._head().get("columns")
        if not isinstance(names, list):
            raise EndedError
        self._tell(ask([str(name) for name in names]))
        while "end" not in (head := self._head()):
            yield head

    def cell(self, head: dict[str, Any]) -> bytes | str:
        """The bytes behind such a head, or why there are none."""
        if head.get("large"):
            most = f"{_most() / (1 << 20):,.0f} MiB"
            return f"larger than {most} (an eighth of {MEMORY}, {self._held.memory:g} GiB)"
        length = head.get("cell", 0)
        if length is None:
            return "no bytes in this row"
        if type(length) is not int or not 0 < length <= _most():
            raise EndedError
        content = bytearray(length)
        self.fill(memoryview(content), Watch(self._held.clock))
        return bytes(content)

    def why(self, error: Exception, quoted: bool = False) -> str:
        """End it, and say what it ended by; its library's words may quote values of the file."""
        self.end()
        if isinstance(error, OverrunError):
            most = f"{self._held.clock:g} s by the clock ({CLOCK} times {SECONDS})"
            return f"not unpacked within {most}"
        if self.returncode == -getattr(signal, "SIGPROF", 0):
            most = f"{self._held.seconds:g} s of processor time"
            return f"not unpacked within {most} ({SECONDS} sets another limit)"
        memory = f"takes more memory to unpack than it may ({MEMORY}, {self._held.memory:g} GiB)"
        if not isinstance(error, _ToldError):
            return f"damaged, so that its reader crashed on it, or {memory}"
        if error.memory:
            return memory
        return str(error) if quoted else "damaged"

    def _tell(self, what: dict[str, Any]) -> None:
        self.send(json.dumps(what).encode() + b"\n", Watch(self._held.clock))

    def _head(self) -> dict[str, Any]:
        """The next answer; meanwhile it has what it asks for of the file, twice at most."""
        watch, left = Watch(self._held.clock), 2 * self.size
        while True:
            try:
                head = dict(json.loads(self.line(watch)))
            except (TypeError, ValueError, RecursionError) as error:
                raise EndedError from error
            if "error" in head:
                raise _ToldError(" ".join(str(head["error"]).split()), bool(head.get("memory")))
            if "read" not in head:
                return head
            start, length = _whole(head["read"])
            left -= length
            if not 0 < length <= PIECE or start < 0 or left < 0:
                raise EndedError
            self.send(self._range(start, length), watch)

    def _range(self, start: int, length: int) -> bytes:
        def once() -> bytes:
            with reaching(self._place):
                self._stream.seek(start)
                return bytes(self._stream.read(length))

        found = patiently(once)
        if len(found) != length:
            raise SDMADError(f"{self._place}: became shorter while it was read")
        return found


@contextmanager
def _opened(place: Place) -> Iterator[_Reader]:
    with reaching(place):
        system, path = place.opened()
        stream = system.open(path, "rb")
    with stream:
        reader = _Reader(place, stream)
        try:
            yield reader
        finally:
            reader.end()


def _pairs(head: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    """Rows of two texts, if it is that."""
    listed = head.get("rows")
    if not isinstance(listed, list) or not all(
        isinstance(row, list) and len(row) == 2 and all(isinstance(one, str | None) for one in row)
        for row in listed
    ):
        raise EndedError
    return [(one, two) for one, two in listed]


def _group(head: dict[str, Any], row: int, last: int) -> tuple[int, int]:
    """The first row of a row group that is wanted, and the one behind its last."""
    start, stop = _whole(head["group"])
    start, stop = max(row, start), min(stop, last + 1)
    if start >= stop:
        raise EndedError
    return start, stop


def _whole(pair: object) -> tuple[int, int]:
    """Two whole numbers, if it is that."""
    if not isinstance(pair, list) or len(pair) != 2 or {type(one) for one in pair} != {int}:
        raise EndedError
    return pair[0], pair[1]
