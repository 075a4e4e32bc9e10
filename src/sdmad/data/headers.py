"""Size, format and depth of an image file, read from its header alone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdmad.data.address import parse_address
from sdmad.data.formats import recognise
from sdmad.data.hdf5 import KEYS
from sdmad.data.images import FORMATS
from sdmad.data.plane import ImageError
from sdmad.errors import InputError

_TAIL = 1024
_LONGEST_ID = 256
_PICTURES = (b"\x89PNG", b"\xff\xd8")
_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}


@dataclass(frozen=True)
class Header:
    """What the header of an image says.

    Attributes:
        kind: file format, such as PNG, DICOM or HDF5.
        mode: how a pixel is stored, such as L, RGB or float32.
        shape: ``(H, W)`` in pixels.
        slices: 1 for a picture, more for a volume.
    """

    kind: str
    mode: str
    shape: tuple[int, int]
    slices: int = 1


def read_header(address: str | os.PathLike[str]) -> Header:
    """Read what an image's header says, without its pixels.

    A PNG or JPEG file that lacks its end mark is refused: it was cut short.

    Args:
        address: a path or ``volume#slice``.

    Raises:
        ImageError: if the file is missing, empty, cut short or none of the formats that
            `read_image` reads.
        InputError: if the package that reads the format is not installed.
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
        ImageError: if the file is missing, cannot be read or is empty.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            ends = Ends(start, file.read(), size)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file", path) from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})", path) from None
    if size == 0:
        raise ImageError(f"{path}: empty file (0 bytes); copy or export it again", path)
    return ends


def header_of(path: Path, ends: Ends) -> Header:
    """Read the header of a file whose ends are known, as `read_header` does."""
    if not ends.start.startswith(_PICTURES) and (read := _VOLUMES.get(recognise(path))):
        return read(path)
    header = _picture(path)
    if _ENDS.get(header.kind, b"") not in ends.tail:
        raise ImageError(f"{path}: cut short (no end mark); copy or export it again", path)
    return header


def volume_patient(path: Path) -> str:
    """The patient's pseudonym in a fastMRI volume.

    Returns:
        The attribute ``patient_id``; "" where the file or the attribute lacks.

    Raises:
        InputError: if h5py is not installed.
    """
    if not path.is_file():
        return ""
    h5py = import_h5py()
    try:
        with h5py.File(path, "r") as file:
            value = file.attrs.get("patient_id", "")
    except OSError:  # damaged: the check and the reader say so
        return ""
    name = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return name[:_LONGEST_ID]


def _picture(path: Path) -> Header:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as image:
                return Header(str(image.format), image.mode, (image.height, image.width))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise ImageError(
                f"{path}: not an image that can be read (known: {', '.join(FORMATS)}, DICOM, "
                "NIfTI, HDF5); copy or export it again",
                path,
            ) from None


def _hdf5(path: Path) -> Header:
    h5py = import_h5py()
    try:
        with h5py.File(path, "r") as file:
            here = [k for k in KEYS if isinstance(file.get(k, getlink=True), h5py.HardLink)]
            volume = file.get(here[0]) if here else None
            if not isinstance(volume, h5py.Dataset) or volume.ndim != 3:
                raise ImageError(
                    f"{path}: no volume {' or '.join(KEYS)} (slice, y, x) in this HDF5 file; "
                    "fastMRI's training and validation files have it, test files do not",
                    path,
                )
            slices, height, width = volume.shape
            return Header("HDF5", str(volume.dtype), (height, width), slices)
    except (OSError, KeyError, RuntimeError):
        raise ImageError(f"{path}: damaged or cut short; copy it again", path) from None


def import_h5py() -> Any:
    """The module h5py.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise InputError('HDF5 volumes need h5py: pip install "sdmad[hdf5]"') from None
    return h5py


def _dicom(path: Path) -> Header:
    import pydicom

    tags = ["Rows", "Columns", "NumberOfFrames", "BitsStored", "PhotometricInterpretation"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            mode = f"{data.PhotometricInterpretation} {data.BitsStored} bits"
            frames = int(data.get("NumberOfFrames") or 1)
            return Header("DICOM", mode, (int(data.Rows), int(data.Columns)), frames)
    except (OSError, AttributeError, LookupError, ValueError, TypeError):
        raise ImageError(
            f"{path}: DICOM without rows, columns or bits; export it again", path
        ) from None


def _nifti(path: Path) -> Header:
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ImportError:
        raise InputError('NIfTI volumes need nibabel: pip install "sdmad[nifti]"') from None
    try:
        image: Any = nibabel.load(path)
        shape = (*image.shape, 1, 1)
        return Header("NIfTI", str(image.get_data_dtype()), (shape[1], shape[0]), shape[2])
    except (OSError, ValueError, EOFError, ImageFileError):
        raise ImageError(
            f"{path}: not a NIfTI volume that can be read; copy it again", path
        ) from None


_VOLUMES: dict[str, Callable[[Path], Header]] = {"hdf5": _hdf5, "dicom": _dicom, "nifti": _nifti}
