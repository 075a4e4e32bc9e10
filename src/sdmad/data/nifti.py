"""NIfTI volumes: one axial slice, as a radiologist looks at it.

The axes are put in nibabel's canonical order (x to the patient's right, y to the front, z to the
head) by the file's own orientation; slices are counted along z from the feet. A slice is shown in
the radiological convention: the patient's right on the left of the picture, the front at the top.
A volume of a single slice is shown the way that slice lies. A header without orientation is taken
as nibabel reads NIfTI's method 1 (x to the left).

Of several volumes the first is read, of a volume only the slice; sizes are judged by the header
before. Only single files (.nii, .nii.gz) are read, not pairs of header and image.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from sdmad.data.plane import ImageError, Plane, check_size, choose_slice, reading
from sdmad.data.windows import Window

if TYPE_CHECKING:
    from nibabel import Nifti1Header

MAX_VOLUME = 1 << 31
"""Bytes of one volume, unpacked, above which a file is refused (2 GiB)."""

MAX_OFFSET = 1 << 26
"""Bytes of header extensions before the data above which a file is refused (64 MiB)."""

_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, MemoryError, struct.error, zlib.error),
)


@dataclass(frozen=True)
class _File:
    """An opened volume.

    Attributes:
        path: of the file.
        stream: its bytes, unpacked.
        header: nibabel's.
        shape: of the first volume, three numbers in the order of storage.
        axes: the axes of storage that run along columns, rows and slices of the picture.
        flips: for these, whether storage runs against x, y or z.
    """

    path: Path
    stream: BinaryIO
    header: Nifti1Header
    shape: tuple[int, int, int]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def sides(self) -> tuple[int, int, int]:
        """Width, height and number of slices."""
        width, height, slices = (self.shape[axis] for axis in self.axes)
        return width, height, slices


def count_slices(path: Path) -> int:
    """The number of axial slices.

    Raises:
        ImageError: if the file is damaged or cannot be used.
    """
    with _opened(path) as file:
        return file.sides[2]


def read_plane(path: Path, index: int | None, max_pixels: int, _window: Window = "auto") -> Plane:
    """Read one axial slice, scaled by the header's slope and intercept.

    Args:
        path: a .nii or .nii.gz file.
        index: the slice from the feet, from 0; None for the middle one.
        max_pixels: of the slice, above which nothing is read.
        _window: of no meaning here: such a file asks for none.

    Raises:
        ImageError: if the file is damaged, too large, a pair's header, of complex values, has no
            such slice; or if nibabel is missing.
    """
    with _opened(path) as file:
        width, height, slices = file.sides
        check_size(path, width, height, max_pixels)
        place = choose_slice(path, index, slices)
        return Plane(_displayed(_slice(file, place), file))


def like_slice(path: Path, index: int | None, values: NDArray[np.floating[Any]]) -> bytes:
    """A NIfTI file of one slice that lies in space where a slice of another file lies.

    Args:
        path: the other file.
        index: its slice, as in :func:`read_plane`.
        values: shape ``(H, W)``, as :func:`read_plane` shows the slice; stored as float32.

    Returns:
        The content of a .nii.gz file. Nothing but geometry and units is taken from the other file.

    Raises:
        ImageError: if the other file cannot be used, or its slices have another shape.
    """
    from nibabel import Nifti1Image

    with _opened(path) as file:
        width, height, slices = file.sides
        if values.shape != (height, width):
            raise ImageError(
                f"{path}: its slices are {height} x {width}, the map is {values.shape}", path
            )
        place, along = choose_slice(path, index, slices), file.axes[2]
        stored = file.shape[along] - 1 - place if file.flips[2] else place
        affine = np.array(file.header.get_best_affine(), dtype=np.float64)
        affine[:3, 3] += stored * affine[:3, along]
        volume = np.expand_dims(_stored(values.astype(np.float32), file), along)
        image = Nifti1Image(volume, affine)
        image.header.set_xyzt_units(*file.header.get_xyzt_units())
    return gzip.compress(image.to_bytes(), mtime=0)


def _stored(values: NDArray[np.float32], file: _File) -> NDArray[np.float32]:
    """Undo :func:`_displayed`."""
    values = values.swapaxes(0, 1)
    if not file.flips[1]:
        values = values[:, ::-1]
    if not file.flips[0]:
        values = values[::-1]
    return values.swapaxes(0, 1) if file.axes[0] > file.axes[1] else values


def _slice(file: _File, place: int) -> NDArray[np.generic]:
    """Values of a slice in the order of storage, the slice's own axis gone."""
    from nibabel.arrayproxy import ArrayProxy

    header = file.header
    slope, intercept = header.get_slope_inter()
    kind = header.get_data_dtype()
    shape = header.get_data_shape()
    scale = (1.0, 0.0) if kind.fields else (slope or 1.0, intercept or 0.0)
    proxy = ArrayProxy(file.stream, (shape, kind, header.get_data_offset(), *scale), mmap=False)
    along = file.axes[2]
    where: list[slice | int] = [slice(None)] * min(3, len(shape)) + [0] * (len(shape) - 3)
    if along >= len(shape):  # a picture of two dimensions has one slice
        return np.asarray(proxy[tuple(where)])
    where[along] = file.shape[along] - 1 - place if file.flips[2] else place
    return np.asarray(proxy[tuple(where)])


def _displayed(values: NDArray[Any], file: _File) -> NDArray[np.generic]:
    """Rows from front to back, columns from the patient's right to the left; colour last."""
    if values.dtype.fields:
        values = np.stack([np.asarray(values[name]) for name in ("R", "G", "B")], axis=-1)
    if file.axes[0] > file.axes[1]:
        values = values.swapaxes(0, 1)
    if not file.flips[0]:
        values = values[::-1]
    if not file.flips[1]:
        values = values[:, ::-1]
    return np.ascontiguousarray(values.swapaxes(0, 1))


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    with reading(path, "NIfTI", _ERRORS), _unpacked(path) as stream:
        yield _parse(path, stream)


def _unpacked(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _parse(path: Path, stream: BinaryIO) -> _File:
    header = _header(path, stream)
    kind = header.get_data_dtype()
    if kind.kind == "c" or (kind.fields and not {"R", "G", "B"} <= set(kind.fields)):
        raise ImageError(f"{path}: NIfTI of complex values; save their magnitude", path)
    shape = tuple(int(side) for side in header.get_data_shape())
    if len(shape) < 2 or min(shape) < 1:
        raise ImageError(f"{path}: NIfTI of shape {shape}, no picture or volume", path)
    first = (*shape, 1)[:3]
    size, offset = math.prod(first) * kind.itemsize, header.get_data_offset()
    if size > MAX_VOLUME or not 0 <= offset <= MAX_OFFSET:
        raise ImageError(
            f"{path}: a volume of {size:,} bytes, more than {MAX_VOLUME:,}, or a header of more "
            f"than {MAX_OFFSET:,}, refused; crop it or store it with fewer bytes a voxel",
            path,
        )
    order = _orientation(path, header)
    single = [axis for axis, _ in order if first[axis] == 1]
    if len(single) == 1:  # one slice, whichever way it lies
        order.sort(key=lambda entry: entry[0] == single[0])
    axes, flips = zip(*order, strict=True)
    return _File(path, stream, header, cast(tuple[int, int, int], first), axes, flips)


def _header(path: Path, stream: BinaryIO) -> Nifti1Header:
    """The header alone, without its extensions."""
    try:
        from nibabel import Nifti1Header, Nifti2Header
    except ImportError:
        raise ImageError(
            f'{path}: NIfTI needs nibabel; install it with: pip install "sdmad[nifti]"', path
        ) from None
    block = stream.read(540)
    old = 348 in struct.unpack("<i", block[:4]) + struct.unpack(">i", block[:4])
    if block[344:348] == b"ni1\0" if old else block[4:8] == b"ni2\0":
        raise ImageError(
            f"{path}: the header of a NIfTI pair (.hdr, .img); save it as one .nii file", path
        )
    return Nifti1Header(block[:348], check=False) if old else Nifti2Header(block, check=False)


def _orientation(path: Path, header: Nifti1Header) -> list[tuple[int, bool]]:
    """For x, y and z the axis of storage, and whether it runs the other way."""
    from nibabel.orientations import io_orientation

    affine = header.get_best_affine()
    found = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if not np.isfinite(found).all():
        raise ImageError(f"{path}: NIfTI whose orientation cannot be made out (its affine)", path)
    towards = [int(axis) for axis in found[:, 0]]
    axes = [towards.index(axis) for axis in range(3)]
    return [(axis, bool(found[axis, 1] < 0)) for axis in axes]
