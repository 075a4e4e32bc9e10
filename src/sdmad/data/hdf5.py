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
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdmad.data.plane import ImageError, Plane, check_size, choose_slice, reading
from sdmad.data.windows import Window

if TYPE_CHECKING:
    import h5py

KEYS = ("reconstruction_rss", "reconstruction_esc")

SHOWN_KEYS = 10
"""How many of a file's keys an error lists."""

_ERRORS = (OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError, MemoryError)


def count_slices(path: Path) -> int:
    """The number of slices.

    Raises:
        ImageError: if the file holds no reconstruction or is damaged.
    """
    with _opened(path) as data:
        return int(data.shape[0])


def read_plane(path: Path, index: int | None, max_pixels: int, _window: Window = "auto") -> Plane:
    """Read one slice, flipped up-down.

    Args:
        path: the file.
        index: the slice, from 0; None for the middle one.
        max_pixels: of the slice or of a compressed chunk, above which nothing is read.
        _window: of no meaning here: such a file asks for none.

    Raises:
        ImageError: if there is no reconstruction, it lies outside the file, is too large or
            damaged, or has no such slice; or if h5py is missing.
    """
    with _opened(path) as data:
        slices, height, width = data.shape
        check_size(path, width, height, max_pixels)
        if data.chunks is not None and math.prod(data.chunks) > max_pixels:
            raise ImageError(
                f"{path}: stored in chunks of more than {max_pixels:,} values, refused; "
                "store it slice by slice",
                path,
            )
        values = data[choose_slice(path, index, slices)]
        return Plane(np.ascontiguousarray(values[::-1]))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.Dataset]:
    try:
        import h5py
    except ImportError:
        raise ImageError(
            f'{path}: HDF5 needs h5py; install it with: pip install "sdmad[hdf5]"', path
        ) from None
    with reading(path, "HDF5", _ERRORS), h5py.File(path, "r") as file:
        yield _reconstruction(path, file)


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
    if data.dtype.kind not in "fiu" or data.ndim != 3 or 0 in data.shape:
        raise ImageError(
            f"{path}: {name} must hold numbers of shape (slice, y, x), "
            f"got {data.dtype} of shape {data.shape}",
            path,
        )
    return data
