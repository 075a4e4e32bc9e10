"""fastMRI's HDF5 volumes: one slice of the reconstruction.

The data set ``reconstruction_rss`` (root sum of squares; else ``reconstruction_esc``, emulated
single coil) is stored as (slice, y, x), float, with the first row at the bottom of the picture.
It is flipped up-down on reading: so it is the right way up, and so fastMRI+'s boxes were drawn.

A file may be a trap: links to other places, virtual data sets, raw data in other files and object
references are refused, and sizes are judged before anything is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdmad.data.plane import Header, ImageError, Plane, Window, check_size, choose_slice, one_of

if TYPE_CHECKING:
    import h5py

KEYS = ("reconstruction_rss", "reconstruction_esc")

MAX_CHUNK = 1 << 29
"""Bytes of a chunk, unpacked, above which a file is refused (512 MiB)."""

SHOWN_KEYS = 10
"""How many of a file's keys an error lists."""

_LONGEST_ID = 256


@dataclass(frozen=True)
class Volume:
    """An opened volume.

    Attributes:
        path: of the file.
        data: h5py's data set, (slice, y, x).
    """

    path: Path
    data: h5py.Dataset

    @property
    def header(self) -> Header:
        """Type of a value, size and number of slices."""
        slices, height, width = self.data.shape
        return Header("HDF5", str(self.data.dtype), (height, width), slices)

    def part(self, index: int | None) -> str:
        """Whether only the middle slice is read."""
        slices = int(self.data.shape[0])
        return one_of(slices, "slices", index, f"number {slices // 2}, from 0,")

    def plane(self, index: int | None, max_pixels: int, _window: Window) -> Plane:
        """Read one slice, flipped up-down; the middle one where none is named."""
        slices, height, width = self.data.shape
        check_size(self.path, width, height, max_pixels)
        chunk = 0 if self.data.chunks is None else math.prod(self.data.chunks)
        if chunk > max_pixels or chunk * self.data.dtype.itemsize > MAX_CHUNK:
            raise ImageError(
                f"{self.path}: stored in chunks of more than {min(max_pixels, MAX_CHUNK):,} values "
                f"or {MAX_CHUNK:,} bytes, refused; store it slice by slice",
                self.path,
            )
        values = self.data[choose_slice(self.path, index, slices)]
        return Plane(np.ascontiguousarray(values[::-1]))


@contextmanager
def opened(path: Path) -> Iterator[Volume]:
    """Open a file and find its reconstruction."""
    with import_h5py(path).File(path, "r") as file:
        yield Volume(path, _reconstruction(path, file))


def patient(path: Path) -> str:
    """The patient's pseudonym, the attribute ``patient_id``; "" where it lacks."""
    with import_h5py(path).File(path, "r") as file:
        value = file.attrs.get("patient_id", "")
    name = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return name[:_LONGEST_ID]


def import_h5py(path: Path) -> Any:
    """The module h5py.

    Raises:
        ImageError: if it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise ImageError(
            f'{path}: HDF5 needs h5py; install it with: pip install "sdmad[hdf5]"', path
        ) from None
    return h5py


def _reconstruction(path: Path, file: h5py.File) -> h5py.Dataset:
    """The data set of the pictures, if it lies in the file itself."""
    import h5py

    links = file.id.links  # looked at without following them
    name = next((key for key in KEYS if links.exists(key.encode())), None)
    if name is None:
        keys = sorted(file)
        listed = ", ".join(repr(key[:40]) for key in keys[:SHOWN_KEYS]) or "none"
        more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
        raise ImageError(
            f"{path}: HDF5 without {' or '.join(KEYS)} (fastMRI's reconstruction); "
            f"its keys: {listed}{more}",
            path,
        )
    if links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise ImageError(f"{path}: {name} is a link to another place, which is not followed", path)
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise ImageError(f"{path}: {name} is no array but a group", path)
    if data.is_virtual or data.external:
        raise ImageError(f"{path}: {name} lies in other files, which are not opened", path)
    if data.dtype.kind not in "fiu" or data.dtype.itemsize > 8 or data.ndim != 3 or 0 in data.shape:
        raise ImageError(
            f"{path}: {name} must hold numbers of shape (slice, y, x), "
            f"got {data.dtype} of shape {data.shape}",
            path,
        )
    return data
