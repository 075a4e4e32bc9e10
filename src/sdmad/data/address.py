"""Addresses of pictures: a file, or one slice of a volume as ``scan.nii.gz#80``."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SLICE = re.compile(r"#(\d{1,6})$")


def parse_address(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """Split an address into the file and the slice, counted from 0; None where none is named.

    A file whose own name ends like a slice is taken as the file that it is.

    >>> parse_address("scan.nii.gz#80"), parse_address("chest.png")
    ((PosixPath('scan.nii.gz'), 80), (PosixPath('chest.png'), None))
    """
    text = os.fspath(path)
    file, mark = split_slice(text)
    if not mark or is_there(Path(text)):
        return Path(text), None
    return Path(file), int(mark[1:])


def split_slice(text: str) -> tuple[str, str]:
    """Split the text of an address before the mark of its slice, whatever files there are.

    >>> split_slice("scan.nii.gz#80"), split_slice("chest.png"), split_slice("#1")
    (('scan.nii.gz', '#80'), ('chest.png', ''), ('#1', ''))
    """
    found = _SLICE.search(text)
    start = found.start() if found else 0
    return (text[:start], text[start:]) if start else (text, "")


def slice_address(file: str | os.PathLike[str], index: int) -> Path:
    """The address of slice ``index`` of a volume, counted from 0.

    >>> str(slice_address("scan.h5", 5))
    'scan.h5#5'
    """
    return Path(f"{os.fspath(file)}#{index}")


def file_of(path: str | os.PathLike[str]) -> Path:
    """The file behind an address."""
    return parse_address(path)[0]


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of this name; no, of a name that none can have."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or a null byte in it
        return False


def is_file(path: Path) -> bool:
    """Whether there is a regular file of this name; no, of a name that none can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder of this name; no, of a name that none can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
