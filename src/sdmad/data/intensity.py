"""Warnings of intensities that point at a mistake: told once a process and kind."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HANDFUL = 4
"""So many grey values or fewer are a handful."""

MOST = 0.99
"""The share of the pixels that lie in a handful of grey values in no ordinary image."""

MIN_COUNTED = 1024
"""Fewer pixels than 32 x 32 say nothing about the spread of grey values."""

NARROW = 128
"""A window that leaves fewer grey levels has thrown away more than half of the 8 bits."""

Extremes = tuple[tuple[int, int], ...]

_told: set[str] = set()
_lock = threading.Lock()


class IntensityWarning(UserWarning):
    """An image whose values suggest a wrong scale, a wrong window or a wrong file.

    Attributes:
        kind: of what is wrong.
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


class PartWarning(UserWarning):
    """A file that holds several pages, frames, slices or volumes, of which one is read."""


def tell_part(path: Path, part: str) -> None:
    """Warn, for every file, that only a part of it is read."""
    warnings.warn(f"{path}: {part}", PartWarning, stacklevel=3)


def check_shown(image: Image.Image, deep: bool, path: Path | None = None) -> None:
    """Warn of an image that shows little once it has 8 bits.

    - constant: one value everywhere; nothing can be found in it;
    - a handful: 99 per cent of a greyscale image's pixels have one of four grey values: a mask,
      a label map, or a few outliers that darken all the rest;
    - narrow: values of more than 8 bits span fewer than 128 grey levels after windowing: the
      window does not fit the file's units.

    Args:
        image: of mode "L" or "RGB".
        deep: whether the file had more than 8 bits.
        path: the file, if there is one.
    """
    if image.mode == "RGB":
        if all(ends[0] == ends[1] for ends in cast(Extremes, image.getextrema())):
            tell("constant", path, "every pixel has the same colour")
        return
    counts = np.array(image.histogram())  # several times as quick as NumPy's
    low, high = np.flatnonzero(counts)[[0, -1]].tolist()
    if low == high:
        tell("constant", path, "every pixel is the same; the picture or its window is wrong")
        return
    pixels = image.width * image.height
    if pixels < MIN_COUNTED:
        return
    if np.sort(counts)[-HANDFUL:].sum() >= MOST * pixels:
        tell(
            "handful",
            path,
            f"99 % of the pixels have one of {HANDFUL} grey values: a mask, or a few outliers "
            "that darken the rest (then the window percentiles helps)",
        )
    elif deep and high - low < NARROW:
        tell(
            "narrow",
            path,
            f"only {high - low + 1} of 256 grey levels are left after windowing; check that the "
            "window's center and width are in the file's own units",
        )


def check_floats(values: NDArray[np.generic]) -> None:
    """Warn of a float array that holds 8-bit grey values.

    Floats are taken as brightness within [0, 1], or else scaled from their own range, which would
    stretch 8-bit values differently in each image. Values that are whole numbers up to 255, or
    that reach 250 to 255, are taken for such.

    Args:
        values: an image array that is not within [0, 1].
    """
    low, high = float(np.min(values)), float(np.max(values))
    if not 0 <= low < high <= 255 or high <= 1:
        return
    if high >= 250 or bool((values == np.rint(values.astype(np.float64))).all()):
        tell(
            "float",
            None,
            f"a float array with values from {low:g} to {high:g} looks like 8-bit grey values; it "
            "is scaled from its own range; give it as uint8, or divided by 255, to keep them",
        )


def tell(kind: str, path: Path | None, message: str) -> None:
    """Warn of an image, once a process and kind.

    Args:
        kind: of what is wrong.
        path: the file, if there is one.
        message: what is wrong.
    """
    name = f"{path}: " if path else "image: "
    pass_on(kind, f"{name}{message} (told once; other images may be alike)")


def pass_on(kind: str, text: str) -> None:
    """Warn of an image as `tell` does, of which a decoder process warned in these words."""
    with _lock:
        if kind in _told:
            return
        _told.add(kind)
    warnings.warn(IntensityWarning(text, kind), stacklevel=5)


def forget() -> None:
    """Take nothing for told."""
    _told.clear()
