"""From a shard's images to squares: bytes are fetched ahead, and decoded in a decoder process.

What is wrong with an image is told in its row. A place that does not answer is no fault of an
image: it is asked again, and then the run ends, to be taken up later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.archive.parquet import cells
from sdmad.archive.places import Place, patiently
from sdmad.archive.sources import BYTES_COLUMNS, Entry, column_of
from sdmad.data.address import slice_address, split_slice
from sdmad.data.decoders import Lane
from sdmad.data.decoding import Square
from sdmad.data.images import ImageError, content_hash
from sdmad.data.limits import MEMORY, limits
from sdmad.data.reading import check_file
from sdmad.data.tasks import Answer

AHEAD = 8
"""Images that are fetched at once, ahead of the decoder."""


@dataclass(frozen=True)
class Looked:
    """What came of one image.

    Attributes:
        entry: where it is.
        hash: SHA-256 of its content, as `sdmad.data.images.content_hash`; None of what could not
            be fetched.
        found: its square, or what else was asked; why it cannot be read.
    """

    entry: Entry
    hash: str | None
    found: Answer | ImageError


Fetched = bytes | Path | ImageError
"""An image's bytes, its path where it lies on this machine, or why it cannot be had."""


def look(
    rows: Sequence[Entry], task: str, indexed: bool = True, **arguments: Any
) -> Iterator[Looked]:
    """Ask something of every image, in their order.

    Args:
        rows: the images.
        task: one of `sdmad.data.tasks.TASKS`.
        indexed: whether the task is of one slice.
        arguments: plain values for it.

    Raises:
        SDMADError: if a place does not answer.
        InputError: if no decoder process can be started.
    """
    lane = Lane()
    with tempfile.TemporaryDirectory(prefix="sdmad-") as folder, contextlib.ExitStack() as end:
        end.callback(lane.leave)
        for number, (entry, fetched) in enumerate(_ahead(rows)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of thousands of images nobody reads them
                yield _looked(
                    lane, Path(folder, str(number)), entry, fetched, task, indexed, arguments
                )


def squares(rows: Sequence[Entry], how: dict[str, Any]) -> Iterator[Looked]:
    """The squares of some images, as `look`; ``how`` is `Preprocessing.how`."""
    return look(rows, "square", **how)


def _looked(
    lane: Lane,
    place: Path,
    entry: Entry,
    fetched: Fetched,
    task: str,
    indexed: bool,
    arguments: dict[str, Any],
) -> Looked:
    """Ask it of one image, whose bytes lie in a file of their own meanwhile."""
    if isinstance(fetched, ImageError):
        return Looked(entry, None, fetched)
    index = _slice(entry)
    path, mark = (fetched, None) if isinstance(fetched, Path) else (place, None)
    if isinstance(fetched, bytes):
        path.write_bytes(fetched)
    digest = mark
    try:
        check_file(path)
        digest = _hash(path, index, fetched)
        more = {"index": index} if indexed else {}
        return Looked(entry, digest, lane.ask(task, path, **more, **arguments))
    except ImageError as error:
        told = str(error).replace(str(path), entry.file)
        return Looked(entry, digest, ImageError(told))
    finally:
        if isinstance(fetched, bytes):
            path.unlink()


def _hash(path: Path, index: int | None, fetched: Fetched) -> str:
    if index is not None:
        return content_hash(slice_address(path, index))
    if isinstance(fetched, bytes):
        return hashlib.sha256(fetched).hexdigest()
    return content_hash(path)


def _slice(entry: Entry) -> int | None:
    mark = _split(entry)[1]
    return int(mark[1:]) if mark else None


def _split(entry: Entry) -> tuple[str, str]:
    """The address of the file behind an entry and the mark of its slice.

    A file whose own name ends like a slice is taken as the file that it is: one that a folder
    holds, which then has a size, or one on this machine.
    """
    here = Place(entry.holder).is_local and os.path.exists(entry.holder)  # noqa: PTH110
    if entry.kind != "file" or entry.size >= 0 or here:
        return entry.holder, ""
    return split_slice(entry.holder)


def _ahead(rows: Sequence[Entry]) -> Iterator[tuple[Entry, Fetched]]:
    """Each image with what was fetched of it, a few ahead."""
    for kind, group in groupby(rows, key=lambda entry: entry.kind):
        if kind == "parquet":
            yield from _of_parquet(list(group))
        elif kind == "missing":
            yield from ((entry, ImageError(entry.error or entry.file)) for entry in group)
        else:
            yield from _pooled(list(group))


def _pooled(rows: Sequence[Entry]) -> Iterator[tuple[Entry, Fetched]]:
    waiting: deque[tuple[Entry, Future[Fetched]]] = deque()
    with ThreadPoolExecutor(AHEAD) as pool:
        try:
            for entry in rows:
                waiting.append((entry, pool.submit(_fetch, entry)))
                if len(waiting) > AHEAD:
                    first, job = waiting.popleft()
                    yield first, job.result()
            while waiting:
                first, job = waiting.popleft()
                yield first, job.result()
        finally:
            for _, job in waiting:
                job.cancel()


def _fetch(entry: Entry) -> Fetched:
    """The bytes of an image that lies in a file or in a tar file."""
    holder = Place(_split(entry)[0])
    if holder.is_local and entry.kind == "file":
        return Path(holder.address)
    most = int(limits().memory * (1 << 30))
    if entry.size > most:
        return ImageError(f"{entry.file}: larger than {limits().memory:g} GiB ({MEMORY})")
    start, size = (entry.offset, entry.size) if entry.kind == "tar" else (0, most)
    try:
        found = patiently(lambda: holder.read(start, size))
    except FileNotFoundError:
        return ImageError(f"{entry.file}: no such file")
    if entry.kind == "tar" and len(found) < entry.size:
        return ImageError(f"{entry.file}: cut short, as its tar file is")
    return found


def _of_parquet(rows: Sequence[Entry]) -> Iterator[tuple[Entry, Fetched]]:
    """The bytes in a Parquet file's rows, which follow each other."""
    for holder, group in groupby(rows, key=lambda entry: entry.holder):
        wanted = list(group)
        found = cells(
            Place(holder),
            lambda names: column_of(names, BYTES_COLUMNS),
            wanted[0].offset,
            wanted[-1].offset,
        )
        for entry, cell in zip(wanted, found, strict=True):
            yield entry, ImageError(f"{entry.file}: {cell}") if isinstance(cell, str) else cell


@cache
def blank(size: int) -> Square:
    """A black square, which stands for an image that cannot be read."""
    return np.zeros((size, size), np.uint8)
