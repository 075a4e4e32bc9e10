"""One picture as its file holds it, before a window makes 8 bits of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad.errors import InputError

MAX_PIXELS = 178_956_970
"""Largest number of pixels that is decoded: 512 MiB of 24-bit RGB, Pillow's own hard limit."""

MIN_SIDE = 2
"""Shortest side, in pixels, of an image that can be resampled to anything meaningful."""

Shade = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From values in the file's own units to brightness: 0 is black, 1 is white."""


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


def damaged(path: Path, what: str = "damaged or cut short") -> ImageError:
    """The error for content that cannot be decoded.

    It does not repeat what the decoder says: that may quote values of the file, a patient's name
    among them.
    """
    return ImageError(f"{path}: {what}; copy or export it again", path)


@contextmanager
def reading(path: Path, kind: str, errors: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Turn whatever goes wrong with a file into an ImageError without values of the file.

    Args:
        path: the file.
        kind: of file, for the error.
        errors: what its reader raises on damaged content.

    Raises:
        ImageError: as raised inside, or that the file is damaged or may not be read.
    """
    try:
        yield
    except PermissionError:
        raise ImageError(f"{path}: cannot be read (permission denied)", path) from None
    except ImageError:
        raise
    except errors:
        raise damaged(path, f"a damaged {kind} file, or one cut short") from None
