"""One picture as its file holds it, before a window makes 8 bits of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.errors import InputError

MAX_PIXELS = 178_956_970
"""Largest number of pixels that is decoded: 512 MiB of 24-bit RGB, Pillow's own hard limit."""

MIN_SIDE = 2
"""Shortest side, in pixels, of an image that can be resampled to anything meaningful."""

Shade = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From values in the file's own units to brightness: 0 is black, 1 is white."""


Window = str | tuple[float, float]
"""``auto``, ``lut``, ``full``, ``percentiles``, or center and width in the file's own units."""


class ImageError(InputError):
    """One image that cannot be read or used.

    Attributes:
        path: the file, or None if the image did not come from a file.
    """

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Plane:
    """One slice, frame or page.

    Attributes:
        values: grey values as stored, ``(H, W)``, or finished colour, ``(H, W, 3)`` uint8.
        shade: the window that the file itself asks for; None for its own full range.
        padding: pixels outside the picture, ``(H, W)``; they become black and do not count.
        inverted: whether the smallest value is white.
        units: from stored values to the file's own units, which windows are in; None where they
            are the same.
        notes: what is worth telling of the file: a kind, told once a process, and a sentence.
    """

    values: NDArray[np.generic]
    shade: Shade | None = None
    padding: NDArray[np.bool_] | None = None
    inverted: bool = False
    units: Shade | None = None
    notes: tuple[tuple[str, str], ...] = ()


Picture = Plane | Image.Image
"""A slice, frame or page: with a window to come, or finished, of mode "L" or "RGB"."""


@dataclass(frozen=True)
class Header:
    """What the header of an image says.

    Attributes:
        kind: file format, such as PNG, DICOM or HDF5.
        mode: how a pixel is stored, such as L, RGB or float32.
        shape: ``(H, W)`` in pixels, as the picture is shown.
        slices: slices, frames or pages: 1 for a plain picture.
    """

    kind: str
    mode: str
    shape: tuple[int, int]
    slices: int = 1


class Opened(Protocol):
    """An opened file of any format: what each reader gives."""

    @property
    def header(self) -> Header:
        """Format, depth, size and slices, without a pixel decoded."""

    def part(self, index: int | None) -> str:
        """What is read of a file that holds more; "" where that was asked for."""

    def plane(self, index: int | None, max_pixels: int, window: Window) -> Picture:
        """Read one slice, frame or page.

        Args:
            index: from 0; None for the one that stands for the file, the first of pages, the
                middle one of slices and frames.
            max_pixels: width times height above which nothing is decoded.
            window: the setting; the file's own is looked at where it asks for that.

        Raises:
            ImageError: if it cannot be read or is not there.
        """


def check_size(path: Path | None, width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture by the size in its header.

    Raises:
        ImageError: if it has more than ``max_pixels`` pixels or a side below 2.
    """
    name = f"{path}: " if path else ""
    if width * height > max_pixels:
        raise ImageError(
            f"{name}{width} x {height} is more than {max_pixels:,} pixels, "
            "refused before decoding; reduce or crop it",
            path,
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name}{width} x {height} pixels is too small; "
            f"each side must have at least {MIN_SIDE}",
            path,
        )


def one_of(count: int, what: str, index: int | None, which: str) -> str:
    """Say which of several slices is read where none was named.

    >>> one_of(3, "pages", None, "the first")
    'of its 3 pages the first is read; name another as FILE#INDEX'
    >>> one_of(3, "pages", 2, "the first") + one_of(1, "pages", None, "the first")
    ''
    """
    if index is not None or count == 1:
        return ""
    return f"of its {count} {what} {which} is read; name another as FILE#INDEX"


def choose_slice(path: Path, index: int | None, count: int) -> int:
    """The slice that is meant: the one asked for, else the middle one, ``count // 2``.

    Args:
        path: the file, for the error.
        index: the slice asked for, from 0.
        count: how many slices there are.

    Raises:
        ImageError: if there is no such slice.
    """
    if index is None:
        return count // 2
    if index >= count:
        kept = "holds one picture" if count == 1 else f"holds {count} slices, 0 to {count - 1}"
        raise ImageError(f"{path}: {kept}; there is no slice {index}", path)
    return index


def damaged(path: Path | None, what: str = "damaged or cut short") -> ImageError:
    """The error for content that cannot be decoded.

    It does not repeat what the decoder says: that may quote values of the file, a patient's name
    among them.
    """
    name = "" if path is None else f"{path}: "
    return ImageError(f"{name}{what}; copy or export it again", path)
