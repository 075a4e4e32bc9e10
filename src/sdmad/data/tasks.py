"""What can be asked of an image file: each task opens it once, by its format's reader.

Arguments and answers are plain values or arrays, so that a process of its own can do the work
(`sdmad.data.decoders`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data.borders import normalise_border
from sdmad.data.intensity import tell_part
from sdmad.data.pictures import as_image
from sdmad.data.plane import ImageError, Window, choose_slice
from sdmad.data.reading import boundary, kind_of, opened
from sdmad.data.windows import check_window


@dataclass(frozen=True)
class Described:
    """An array, and what is to be said of it in plain values."""

    array: NDArray[Any]
    about: dict[str, Any]


Answer = NDArray[Any] | Described | dict[str, Any] | str


def image(path: Path, index: int | None, window: Window, max_pixels: int) -> NDArray[np.uint8]:
    """A picture in 8 bits, ``(H, W)`` or ``(H, W, 3)``."""
    return np.asarray(_read(path, index, window, max_pixels))


def square(
    path: Path, index: int | None, window: Window, max_pixels: int, size: int, border: bool
) -> NDArray[np.uint8]:
    """A picture squashed to a square, ``(size, size)`` or ``(size, size, 3)``."""
    return squashed(_read(path, index, window, max_pixels), size, border)


def thumbnail(path: Path, index: int | None, max_pixels: int, side: int) -> NDArray[np.uint8]:
    """A picture whose longer side is ``side``, ``(h, w)`` or ``(h, w, 3)``."""
    picture = _read(path, index, "auto", max_pixels)
    shrink = side / max(picture.size)
    size = [max(1, round(length * shrink)) for length in picture.size]
    return np.asarray(picture.resize((size[0], size[1]), Image.Resampling.BICUBIC))


def view(path: Path, index: int | None, max_pixels: int) -> Described:
    """The values of a `sdmad.data.viewing.View`, and its other fields with ``slice``, ``slices``.

    Grey values come as the two bytes of each, the lower first, ``(H, W, 2)``; colour ``(H, W, 3)``.
    """
    from sdmad.data.viewing import about, viewed

    kind = kind_of(path)
    with opened(path) as file:
        slices = file.header.slices
        first = 0 if kind in ("picture", "tiff", "heif") else choose_slice(path, None, slices)
        try:
            found = viewed(file.plane(index, max_pixels, "auto"))
        except ImageError as error:
            raise error if error.path else ImageError(f"{path}: {error}", path) from None
    values = found.values
    if values.ndim == 2:
        values = values.astype("<u2").view(np.uint8).reshape(*values.shape, 2)
    place = {"slice": first if index is None else index, "slices": slices}
    return Described(values, {**about(found), **place})


def squashed(picture: Image.Image, size: int, border: bool) -> NDArray[np.uint8]:
    """Squash an image to a square, bicubic with antialiasing.

    Args:
        picture: of mode "L" or "RGB".
        size: side of the square.
        border: whether white padding is made black first.
    """
    if border:
        picture = normalise_border(picture)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def header(path: Path) -> dict[str, Any]:
    """The fields of a `sdmad.data.plane.Header`."""
    with opened(path) as file:
        return {**vars(file.header)}


def mask(path: Path) -> NDArray[np.bool_]:
    """Where a mask is set, ``(H, W)``."""
    from sdmad.data.masks import read

    kind = kind_of(path)
    with boundary(path, "mask"):
        return read(path, kind)


def placement(path: Path, index: int | None) -> dict[str, Any]:
    """The fields of a `sdmad.data.nifti.Placement`."""
    from sdmad.data import nifti

    with boundary(path, "NIfTI"), nifti.opened(path) as file:
        return {**vars(file.placement(index))}


def dicom_source(path: Path, index: int | None) -> dict[str, Any]:
    """The fields of a `sdmad.data.dicom_source.DicomSource`."""
    from sdmad.data import dicom_source

    kind_of(path)
    with boundary(path, "DICOM"):
        return vars(dicom_source.read(path, index))


def patient(path: Path) -> str:
    """The patient's pseudonym in a fastMRI volume; "" where there is none."""
    from sdmad.data import hdf5

    kind_of(path)
    with boundary(path, "HDF5"):
        return hdf5.patient(path)


TASKS: dict[str, Callable[..., Answer]] = {
    task.__name__: task
    for task in (image, square, thumbnail, view, header, mask, placement, dicom_source, patient)
}
"""By the names that a decoder process knows."""


def _read(path: Path, index: int | None, window: Window, max_pixels: int) -> Image.Image:
    window = check_window(window)  # a pair comes as a list from another process
    with opened(path) as file:
        found, part = file.plane(index, max_pixels, window), file.part(index)
    if part:
        tell_part(path, part)
    with boundary(path):
        return as_image(found, window, path)
