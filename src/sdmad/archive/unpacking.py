"""What the process does that reads a Parquet file for another one (`sdmad.archive.parquet`).

The file lies with the one that asks: this one has no network. Both write lines of JSON:

| asked | answered |
| --- | --- |
| ``size`` of the file, ``seconds`` of processor time an answer may take | ``columns`` |
| ``list``: names of two columns, or null | ``rows``: texts of both, again and again; ``end`` |
| ``cells``: a column; ``first``, ``last``: rows; ``most``: bytes of a cell | see below; ``end`` |

Of cells: ``group``, a row group's first row and the one behind its last, as it begins; then of each
row ``cell``, the number of its bytes, which follow, or null where it holds none; or ``large`` where
there are more than may be. ``error`` in place of an answer (``memory``: for want of it) is the last
one. ``read``, an offset and a length, asks for bytes of the file, which come as they are.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import date
from typing import IO, Any

from sdmad.processes import alarm, answering, be_alone, bound, end_at_alarms

PIECE = 1 << 20
"""Bytes of the file that are asked for at once."""

ROWS = 512
"""Rows that are listed at once."""

Answer = tuple[dict[str, Any], bytes]


def serve(memory: int) -> None:
    """Answer about one file.

    Args:
        memory: bytes of address space that this process may have.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides when it is over
    end_at_alarms()
    be_alone()  # before pyarrow, which starts threads
    bound(memory)
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others reserve a GiB of address space
    answers = answering()
    import pyarrow.parquet as pq

    _say(answers, {})
    asked = json.loads(sys.stdin.buffer.readline())
    try:
        with alarm(asked["seconds"]):
            # By a buffer: a row group is as large as its writer liked.
            file = pq.ParquetFile(_Distant(answers, asked["size"]), buffer_size=PIECE)
            _say(answers, {"columns": file.schema_arrow.names})
        task = json.loads(sys.stdin.buffer.readline())
        found = _listed(file, *task["list"]) if "list" in task else _cells(file, **task)
        while True:
            with alarm(asked["seconds"]):
                head, content = next(found)
                _say(answers, head, content)
    except StopIteration:
        _say(answers, {"end": True})
    except MemoryError as error:
        _say(answers, {"error": str(error)[:1000], "memory": True})
    except Exception as error:
        _say(answers, {"error": f"{type(error).__name__}: {error}"[:1000], "memory": False})


def _listed(file: Any, named: str | None, dated: str | None) -> Iterator[Answer]:
    wanted = [one for one in (named, dated) if one is not None]
    for batch in file.iter_batches(ROWS, columns=wanted, use_threads=False):
        columns, none = batch.to_pydict(), [None] * batch.num_rows
        both = zip(columns.get(named, none), columns.get(dated, none), strict=True)
        yield {"rows": [(_text(name), _text(when)) for name, when in both]}, b""


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, date) else str(value)


def _cells(file: Any, cells: str, first: int, last: int, most: int) -> Iterator[Answer]:
    row = 0
    for group in range(file.num_row_groups):
        stop = row + file.metadata.row_group(group).num_rows
        if stop > first and row <= last:
            yield {"group": [row, stop]}, b""
            # One by one: what is told of a row is told of no other.
            batches = file.iter_batches(1, row_groups=[group], columns=[cells], use_threads=False)
            for number, batch in zip(range(row, stop), batches, strict=False):
                if first <= number <= last:
                    yield _cell(batch, most)
        row = stop


def _cell(batch: Any, most: int) -> Answer:
    if batch.nbytes > most:
        return {"large": True}, b""
    value = batch.column(0)[0].as_py()
    if isinstance(value, dict):  # as the hub's data sets hold an image
        value = value.get("bytes")
    if not isinstance(value, bytes) or not value:
        return {"cell": None}, b""
    return {"cell": len(value)}, value


def _say(answers: IO[bytes], head: dict[str, Any], content: bytes = b"") -> None:
    answers.write(json.dumps(head).encode() + b"\n")
    answers.write(content)
    answers.flush()


class _Distant(io.RawIOBase):
    """The file, as the process that asks gives it."""

    def __init__(self, answers: IO[bytes], size: int) -> None:
        self._answers, self._size, self._at = answers, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def read(self, length: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        return b"".join(self._pieces(left if length < 0 else min(length, left)))

    def _pieces(self, length: int) -> Iterator[bytes]:
        for start in range(0, length, PIECE):
            count = min(PIECE, length - start)
            _say(self._answers, {"read": [self._at, count]})
            found = sys.stdin.buffer.read(count)
            if len(found) < count:
                raise EOFError("the process that asks has ended")
            self._at += count
            yield found
