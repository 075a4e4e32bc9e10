"""Mask images: which pixels are set.

- Every value but 0 is: 0 and 255, 0 and 1, or the labels of several regions.
- White on black with noise or soft edges, as JPEG leaves it and some save it again, is told by its
  many values, nearly all of them near black or white; or by some such and no 0. There what is
  above half of the largest value is set. Other masks of some values without a 0 are refused.
- Of a palette the index counts, not the brightness of its colour. Where index 0 is not black and
  another one is, either could be the background, and the mask is refused.
- Where the picture is transparent it is not set. A mask that is black wherever it is not
  transparent is refused: which of both marks the region is not to be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data import pictures, tiff
from sdmad.data.formats import Format
from sdmad.data.plane import MAX_PIXELS, ImageError, Plane, check_size

LABELS = 16
"""So many values or fewer are labels."""

NEAR = 32
"""So far from black or white can be what noise leaves of it."""

MOST = 0.98
"""The share of the pixels that is near black or white in a mask with soft edges."""


def read(path: Path, kind: Format) -> NDArray[np.bool_]:
    """Read a mask, ``(H, W)``, upright as its image is read.

    Args:
        path: of the file.
        kind: its format.

    Raises:
        ImageError: if it is no plain picture, cannot be read, or can be understood in two ways.
    """
    if kind not in ("picture", "tiff"):
        raise ImageError(f"{path}: a mask must be a plain picture; save it as PNG", path)
    if kind == "tiff":
        with tiff.opened(path) as pages:
            found = pages.plane(None, MAX_PIXELS, "auto")
        if isinstance(found, Plane):
            return _of_samples(path, found)
    with pictures.opened(path) as file:
        check_size(path, *file.image.size, MAX_PIXELS)
        file.image.load()
        return _of_picture(path, pictures.upright(file.image), file.image.format in ("JPEG", "MPO"))


def _of_samples(path: Path, plane: Plane) -> NDArray[np.bool_]:
    if plane.inverted:
        raise ImageError(
            f"{path}: a mask whose smallest value is white; save it in greyscale of 8 bits", path
        )
    return np.asarray(np.nan_to_num(plane.values, nan=0) != 0, dtype=np.bool_)


def _of_picture(path: Path, image: Image.Image, lossy: bool) -> NDArray[np.bool_]:
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "P":
        _check_palette(path, image)
        shown = np.asarray(image) != 0
    else:
        if image.mode == "RGB":
            image = pictures.grey_if_equal(image)
        soft = image.mode == "L" and _is_soft(path, image.histogram())
        shown = _above_half(image) if lossy or soft else _coloured(image)
    opaque = _opaque(image)
    if opaque is None:
        return np.asarray(shown, dtype=np.bool_)
    if not (shown & opaque).any() and opaque.any() and not opaque.all():
        raise ImageError(
            f"{path}: a mask that is black where it is not transparent, so that either could mark "
            "the region; save it without transparency",
            path,
        )
    return np.asarray(shown & opaque, dtype=np.bool_)


def _above_half(image: Image.Image) -> NDArray[np.bool_]:
    grey = np.asarray(image.convert("L"))
    return np.asarray(grey > grey.max() / 2)


def _is_soft(path: Path, histogram: Sequence[int]) -> bool:
    """Whether a grey mask is white on black with noise or soft edges."""
    counts = np.array(histogram)
    used = np.flatnonzero(counts)
    most = int(used[-1])
    ends = counts[:NEAR].sum() + counts[max(0, most - NEAR) : most + 1].sum()
    bright = most >= 4 * NEAR
    if 0 in used:
        return bool(bright and len(used) > LABELS and ends >= MOST * counts.sum())
    if len(used) == 1 or (bright and ends == counts.sum()):
        return len(used) > 1
    raise ImageError(
        f"{path}: a mask of {len(used)} values without a 0, so that it is unknown which is the "
        "background; save it with 0 for that",
        path,
    )


def _opaque(image: Image.Image) -> NDArray[np.bool_] | None:
    """Where an image is not transparent; None where it has no transparency."""
    if image.mode not in ("LA", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return None
    return np.asarray(image.convert("RGBA").getchannel("A")) != 0


def _coloured(image: Image.Image) -> NDArray[np.bool_]:
    """Where a value, or one of a colour's channels, is not 0; NaN is 0."""
    if image.mode in ("LA", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA").convert("RGB")
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    values = np.nan_to_num(np.asarray(image), nan=0)
    return np.asarray(values != 0 if values.ndim == 2 else (values != 0).any(axis=2))


def _check_palette(path: Path, image: Image.Image) -> None:
    colours = np.array(image.getpalette("RGB") or [0] * 3).reshape(-1, 3)
    used = [index for index, count in enumerate(image.histogram()) if count]
    black = [index for index in used if index < len(colours) and not colours[index].any()]
    if black and 0 not in black and colours[0].any():
        raise ImageError(
            f"{path}: a mask with a palette whose index 0 is not black and whose index {black[0]} "
            "is, so that either could be the background; save it in greyscale, 0 and 255",
            path,
        )
