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
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from sdmad.data.plane import (
    Header,
    ImageError,
    Plane,
    Shade,
    Window,
    check_size,
    choose_slice,
    damaged,
    one_of,
)

if TYPE_CHECKING:
    from nibabel import Nifti1Header

PIECE = 1 << 20
"""Values that are read at a time where a slice lies across the direction of storage."""

MAX_VOLUME = 1 << 31
"""Bytes of one volume, unpacked, above which a file is refused (2 GiB)."""

TYPES = {
    **{2: "u1", 256: "i1", 512: "u2", 4: "i2", 768: "u4", 8: "i4", 1280: "u8", 1024: "i8"},
    **{16: "f4", 64: "f8", 128: "RGB", 2304: "RGBA"},
}
"""Codes of the types of values that are read."""

_COMPLEX = (32, 1792, 2048)

MAX_OFFSET = 1 << 26
"""Bytes of header extensions before the data above which a file is refused (64 MiB)."""


@dataclass(frozen=True)
class Placement:
    """Where a slice lies in space; plain values.

    Attributes:
        shape: ``(H, W)``, as it is shown.
        affine: from indices, the slice's own 0, to millimetres, 4 x 4.
        axes: the axes of storage that run along columns, rows and slices of the picture.
        flips: for these, whether storage runs against x, y or z.
        units: of space and time.
    """

    shape: Sequence[int]
    affine: Sequence[Sequence[float]]
    axes: Sequence[int]
    flips: Sequence[bool]
    units: Sequence[str]


@dataclass(frozen=True)
class Nifti:
    """An opened volume.

    Attributes:
        path: of the file.
        stream: its bytes, unpacked.
        attributes: nibabel's header.
        kind: type of a value.
        shape: of the first volume, three numbers in the order of storage.
        axes: the axes of storage that run along columns, rows and slices of the picture.
        flips: for these, whether storage runs against x, y or z.
    """

    path: Path
    stream: BinaryIO
    attributes: Nifti1Header
    kind: np.dtype[Any]
    shape: tuple[int, int, int]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def sides(self) -> tuple[int, int, int]:
        """Width, height and number of slices."""
        width, height, slices = (self.shape[axis] for axis in self.axes)
        return width, height, slices

    @property
    def header(self) -> Header:
        """Type of a voxel, and size of an axial slice and their number."""
        width, height, slices = self.sides
        kind = "RGB" if self.kind.fields else self.kind.name
        return Header("NIfTI", kind, (height, width), slices)

    def part(self, index: int | None) -> str:
        """Whether only the first volume, and of it the middle slice, is read."""
        slices = self.sides[2]
        told = one_of(slices, "slices", index, f"number {slices // 2}, from 0,")
        volumes = math.prod(int(side) for side in self.attributes.get_data_shape()[3:])
        first = f"of its {volumes} volumes the first is read" if volumes > 1 else ""
        return "; ".join(filter(None, (first, told)))

    def placement(self, index: int | None) -> Placement:
        """Where a slice lies in space."""
        width, height, slices = self.sides
        place, along = choose_slice(self.path, index, slices), self.axes[2]
        stored = self.shape[along] - 1 - place if self.flips[2] else place
        affine = np.array(_affine(self.attributes), dtype=np.float64)
        affine[:3, 3] += stored * affine[:3, along]
        units = self.attributes.get_xyzt_units()
        return Placement((height, width), affine.tolist(), self.axes, self.flips, units)

    def plane(self, index: int | None, max_pixels: int, _window: Window) -> Plane:
        """Read one axial slice, counted from the feet; the middle one where none is named."""
        width, height, slices = self.sides
        check_size(self.path, width, height, max_pixels)
        shown = _displayed(_slice(self, choose_slice(self.path, index, slices)), self)
        return Plane(shown, units=_units(self.attributes, self.kind))


def _slice(file: Nifti, place: int) -> NDArray[Any]:
    """Values of a slice as stored, in the order of storage, the slice's own axis gone.

    The volume is passed through once, up to the slice's end and in pieces: a slice across the
    direction of storage takes no more memory than one along it.
    """
    width, height, depth = file.shape
    along = file.axes[2]
    stored = file.shape[along] - 1 - place if file.flips[2] else place
    file.stream.seek(int(file.attributes.get_data_offset()))
    if along == 2:
        _skip(file, width * height * stored)
        return _values(file, width * height).reshape(height, width).T
    if along == 1:
        rows = np.empty((depth, width), file.kind)
        for row in rows:
            _skip(file, width * stored)
            row[:] = _values(file, width)
            _skip(file, width * (height - 1 - stored))
        return rows.T
    columns = np.empty(depth * height, file.kind)
    step = max(1, PIECE // width)
    for start in range(0, len(columns), step):
        count = min(step, len(columns) - start)
        columns[start : start + count] = _values(file, count * width)[stored::width]
    return columns.reshape(depth, height).T


def _values(file: Nifti, count: int) -> NDArray[Any]:
    size = count * file.kind.itemsize
    data = file.stream.read(size)
    if len(data) != size:
        raise EOFError("a volume that is cut short")
    return np.frombuffer(data, file.kind)


def _skip(file: Nifti, count: int) -> None:
    if count:
        file.stream.seek(count * file.kind.itemsize, os.SEEK_CUR)


def _units(header: Nifti1Header, kind: np.dtype[Any]) -> Shade | None:
    """From stored values to the file's units by slope and intercept; None where they are alike."""
    slope, intercept = (None, None) if kind.fields else header.get_slope_inter()
    by, plus = slope or 1.0, intercept or 0.0
    return None if (by, plus) == (1, 0) else lambda values: values * by + plus


def _displayed(values: NDArray[Any], file: Nifti) -> NDArray[np.generic]:
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
def opened(path: Path) -> Iterator[Nifti]:
    """Open a file and read its header."""
    with _unpacked(path) as stream:
        yield _parse(path, stream)


def _unpacked(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _parse(path: Path, stream: BinaryIO) -> Nifti:
    header = _header(path, stream)
    kind = _type(path, header)
    shape = tuple(int(side) for side in header.get_data_shape())
    if len(shape) < 2 or min(shape) < 1:
        raise ImageError(f"{path}: NIfTI of shape {shape}, no picture or volume", path)
    first = (*shape, 1)[:3]
    size, offset = math.prod(first) * kind.itemsize, header.get_data_offset()
    if size > MAX_VOLUME:
        raise ImageError(
            f"{path}: a volume of {size:,} bytes, more than {MAX_VOLUME:,}, refused; "
            "crop it or store it with fewer bytes a voxel",
            path,
        )
    if not 0 <= offset <= MAX_OFFSET:
        raise damaged(
            path, f"NIfTI whose values begin at byte {offset:,}, not between 0 and {MAX_OFFSET:,}"
        )
    order = _orientation(path, header)
    single = [axis for axis, _ in order if first[axis] == 1]
    if len(single) == 1:  # one slice, whichever way it lies
        order.sort(key=lambda entry: entry[0] == single[0])
    axes, flips = zip(*order, strict=True)
    return Nifti(path, stream, header, kind, cast(tuple[int, int, int], first), axes, flips)


def _type(path: Path, header: Nifti1Header) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code in _COMPLEX:
        raise ImageError(f"{path}: NIfTI of complex values; save their magnitude", path)
    if code not in TYPES:
        raise ImageError(
            f"{path}: NIfTI whose values are of type {code}, which is not read; save it as "
            "integers of 8 to 64 bits, floats of 32 or 64, or RGB",
            path,
        )
    name = TYPES[code]
    if name.startswith("RGB"):
        return np.dtype([(channel, "u1") for channel in name])
    return np.dtype(name).newbyteorder(header.endianness)


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
    if len(block) < (348 if old else 540):
        raise damaged(path, "a NIfTI file whose header is cut short")
    if block[344:348] == b"ni1\0" if old else block[4:8] == b"ni2\0":
        raise ImageError(
            f"{path}: the header of a NIfTI pair (.hdr, .img); save it as one .nii file", path
        )
    return Nifti1Header(block[:348], check=False) if old else Nifti2Header(block, check=False)


def _orientation(path: Path, header: Nifti1Header) -> list[tuple[int, bool]]:
    """For x, y and z the axis of storage, and whether it runs the other way."""
    from nibabel.orientations import io_orientation

    affine = _affine(header)
    found = np.full((3, 2), np.nan) if affine is None else io_orientation(affine)
    if not np.isfinite(found).all():
        raise ImageError(f"{path}: NIfTI whose orientation cannot be made out (its affine)", path)
    towards = [int(axis) for axis in found[:, 0]]
    axes = [towards.index(axis) for axis in range(3)]
    return [(axis, bool(found[axis, 1] < 0)) for axis in axes]


def _affine(header: Nifti1Header) -> NDArray[np.float64] | None:
    """Where the volume lies: nibabel's best affine, but the qform where the sform is of no use.

    None where it cannot be made out.
    """
    codes = [int(header[f"{form}_code"]) for form in ("sform", "qform")]
    unusable = min(codes) > 0 and _flat(header.get_sform())
    affine = header.get_qform() if unusable else header.get_best_affine()
    return None if _flat(affine) else np.asarray(affine, dtype=np.float64)


def _flat(affine: NDArray[np.floating[Any]]) -> bool:
    """Whether an affine has no place for three axes: not finite, or an axis of no length."""
    turn = np.asarray(affine, dtype=np.float64)[:3, :3]
    return not np.isfinite(affine).all() or bool((turn == 0).all(axis=0).any())
