"""Looking at every file once: header, size and a fingerprint of its end."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sdmad.data.address import parse_address
from sdmad.data.headers import Header, header_of, read_ends
from sdmad.data.plane import ImageError
from sdmad.data.sets.base import DataSet
from sdmad.progress import track

THREADS = min(4, os.cpu_count() or 1)
"""Files that are looked at at once, each in a decoder process."""

_AT_ONCE = 256


@dataclass(frozen=True)
class Inspection:
    """What a look at one file gave.

    Attributes:
        header: format, depth and size; None where the file is missing or unreadable.
        error: why it cannot be read; "" where it can.
        missing: whether there is no such file.
        size: its length in bytes.
        ends: fingerprint of its first 8 and last 1,024 bytes. PNG and JPEG end in compressed data,
            so two files of one size and one fingerprint are nearly always the same.
    """

    header: Header | None
    error: str
    missing: bool
    size: int
    ends: bytes


@dataclass(frozen=True)
class Scan:
    """All files of a data set.

    Attributes:
        data: the data set.
        files: the file of each row of the table.
        slices: the slice of each row; None where its address names none.
        inspections: what was seen of each file.
    """

    data: DataSet
    files: tuple[Path, ...]
    slices: tuple[int | None, ...]
    inspections: Mapping[Path, Inspection]

    def header(self, row: int) -> Header | None:
        """The header of one image; None where it is missing or unreadable."""
        return self.inspections[self.files[row]].header


def scan(data: DataSet) -> Scan:
    """Look at every file of a data set, with a progress bar.

    Args:
        data: the data set; its table is read.

    Raises:
        InputError: if the table cannot be read, or the package for a format is not installed.
    """
    parsed = [parse_address(file) for file in data.table.files]
    files = tuple(file for file, _ in parsed)
    different = list(dict.fromkeys(files))
    inspections: dict[Path, Inspection] = {}
    starts = range(0, len(different), _AT_ONCE)
    with ThreadPoolExecutor(THREADS) as threads:
        for start in track(starts, f"looking at {len(different)} files"):
            part = different[start : start + _AT_ONCE]
            inspections.update(zip(part, threads.map(inspect, part), strict=True))
    return Scan(data, files, tuple(index for _, index in parsed), inspections)


def inspect(path: Path) -> Inspection:
    """Look at one file.

    Raises:
        InputError: if the package for its format is not installed.
    """
    try:
        ends = read_ends(path)
    except ImageError as error:
        return Inspection(None, str(error), not path.exists(), 0, b"")
    mark = hashlib.blake2b(ends.start + ends.tail, digest_size=16).digest()
    try:
        return Inspection(header_of(path, ends), "", False, ends.size, mark)
    except ImageError as error:
        return Inspection(None, str(error), False, ends.size, mark)
