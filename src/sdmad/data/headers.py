"""Size, format and depth of an image file, read from its header alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sdmad.data import decoders
from sdmad.data.address import parse_address
from sdmad.data.plane import Header as Header
from sdmad.data.plane import ImageError
from sdmad.data.reading import check_file

_TAIL = 1024
_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}


def read_header(address: str | os.PathLike[str]) -> Header:
    """Read what an image's header says, without its pixels.

    A PNG or JPEG file that lacks its end mark is refused: it was cut short.

    Args:
        address: a path or ``volume#slice``.

    Raises:
        ImageError: if the file is missing, empty, cut short, none of the formats that
            `read_image` reads, or the package that reads its format is not installed.
    """
    path, _ = parse_address(address)
    return header_of(path, read_ends(path))


@dataclass(frozen=True)
class Ends:
    """The two ends of a file.

    Attributes:
        start: the first 8 bytes.
        tail: the last 1,024 bytes.
        size: length of the file in bytes.
    """

    start: bytes
    tail: bytes
    size: int


def read_ends(path: Path) -> Ends:
    """Read the two ends of a file.

    Raises:
        ImageError: if the file is missing, no regular file, cannot be read or is empty.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return Ends(start, file.read(), size)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})", path) from None


def header_of(path: Path, ends: Ends) -> Header:
    """Read the header of a file whose ends are known, as `read_header` does."""
    said = decoders.ask_for("header", path)
    header = Header(**{**said, "shape": tuple(said["shape"])})
    if _ENDS.get(header.kind, b"") not in ends.tail:
        raise ImageError(f"{path}: cut short (no end mark); copy or export it again", path)
    return header


def volume_patient(path: Path) -> str:
    """The patient's pseudonym in a fastMRI volume.

    Returns:
        The attribute ``patient_id``; "" where the file or the attribute lacks, or the file cannot
        be read: the check and the reader say so.
    """
    if not path.is_file():
        return ""
    try:
        return str(decoders.ask("patient", path))
    except ImageError:
        return ""
