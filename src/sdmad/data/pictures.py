"""Pictures that Pillow reads: PNG, JPEG, BMP, WebP, GIF, PNM, JPEG 2000, most TIFF, and HEIF.

- The first page or frame, unless another is asked for. The orientation in the EXIF data is applied.
- 8-bit greyscale and colour are finished here; deep greyscale is left to the window.
- Transparent pixels are laid on black; palettes and CMYK become RGB; 16-bit colour keeps the upper
  8 bits. RGB with three equal channels becomes greyscale.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sdmad.data.intensity import check_shown, tell
from sdmad.data.plane import (
    MAX_PIXELS,
    Header,
    ImageError,
    Picture,
    Plane,
    Window,
    check_size,
    choose_slice,
    one_of,
)
from sdmad.data.windows import eight_bit

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")
"""Pillow formats that are tried; formats that start other programs (EPS, PDF) are not."""

OTHERS = ("HEIC", "DICOM", "NIfTI", "fastMRI HDF5")
"""Formats of this package's other readers."""

MAX_FRAMES = 1 << 16
"""Frames of a GIF that are counted; what lies beyond is not looked at."""

STRIP = 1 << 22
"""Pixels that are converted at a time, so that memory stays near that of the picture."""

_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


class UnknownError(ImageError):
    """A file that is no picture that Pillow knows."""


@dataclass(frozen=True)
class Opened:
    """An opened picture.

    Attributes:
        path: of the file.
        image: Pillow's, not decoded yet.
    """

    path: Path
    image: Image.Image

    @property
    def pages(self) -> int:
        """Pages or frames."""
        if self.image.format == "GIF":
            return _gif_frames(self.path)
        return int(getattr(self.image, "n_frames", 1))

    @property
    def header(self) -> Header:
        """Format, mode, size as shown, and pages."""
        width, height = self.image.size
        turned = self.image.format != "TIFF"  # whose size Pillow gives as shown
        if turned and Image.Image.getexif(self.image).get(_ORIENTATION) in _ON_ITS_SIDE:
            width, height = height, width
        return Header(str(self.image.format), self.image.mode, (height, width), self.pages)

    def part(self, index: int | None) -> str:
        """Whether only the first page is read."""
        return one_of(self.pages, "pages", index, "the first")

    def plane(self, index: int | None, max_pixels: int, window: Window) -> Picture:
        """Read a page or frame, the first where none is named."""
        first = self.image.tell()  # of a HEIC the primary one
        page = first if index is None else choose_slice(self.path, index, self.pages)
        return self.page(page, max_pixels, window)

    def page(self, place: int, max_pixels: int, window: Window) -> Picture:
        """Read a page that is known to be there."""
        check_size(self.path, *self.image.size, max_pixels)
        if place != self.image.tell():
            self.image.seek(place)
        return finish(self.image, self.path, max_pixels, window)


@contextmanager
def opened(path: Path, formats: Sequence[str] = FORMATS) -> Iterator[Opened]:
    """Open a picture; nothing of it is decoded.

    Pillow gets a stream, not a name: files of which it maps the bytes it turns wrongly, and one
    that shrinks meanwhile would end the process.

    Raises:
        UnknownError: if it is of none of these formats.
        ImageError: if it has too many pixels.
    """
    with warnings.catch_warnings(), path.open("rb") as stream:
        # Pillow warns of large or oddly tagged files; size is judged later, the rest is readable.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(stream, formats=tuple(formats))
        except UnidentifiedImageError:
            raise UnknownError(
                f"{path}: not an image that can be read (known: {', '.join(FORMATS + OTHERS)}); "
                "convert it to PNG",
                path,
            ) from None
        except Image.DecompressionBombError:
            raise ImageError(
                f"{path}: more than {MAX_PIXELS:,} pixels, refused before decoding; "
                "reduce or crop it",
                path,
            ) from None
        with image:
            yield Opened(path, image)


def finish(image: Image.Image, path: Path | None, max_pixels: int, window: Window) -> Picture:
    """Check the size from the header, decode, and convert what has 8 bits to "L" or "RGB".

    Args:
        image: not decoded yet, or from memory.
        path: its file, for the error.
        max_pixels: width times height above which nothing is decoded.
        window: the setting; 8-bit greyscale is left to it unless it is ``auto`` or ``lut``.
    """
    check_size(path, *image.size, max_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd tags
        image.load()
        image = upright(image)
        if image.mode not in _DEEP_MODES:
            image = _eight_bit(image)
    if image.mode in _DEEP_MODES or (image.mode == "L" and window not in ("auto", "lut")):
        return Plane(np.asarray(image))
    return image


def as_image(found: Picture, window: Window, path: Path | None) -> Image.Image:
    """Put a picture through its window, and warn of what looks wrong.

    Raises:
        ImageError: if there is no finite value.
    """
    if isinstance(found, Image.Image):
        check_shown(found, False, path)
        return found
    try:
        pixels = eight_bit(found, window)
    except ImageError as error:
        raise ImageError(f"{path}: {error}" if path else str(error), path) from None
    for kind, message in found.notes:
        tell(kind, path, message)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    check_shown(image, found.values.dtype != np.uint8 or found.units is not None, path)
    return grey_if_equal(image) if image.mode == "RGB" else image


def grey_if_equal(image: Image.Image) -> Image.Image:
    """Greyscale of an RGB image whose channels are equal, else the image."""
    for strip in _strips(image):
        red, green, blue = (strip.getchannel(place).tobytes() for place in range(3))
        if not red == green == blue:
            return image
    return image.getchannel(0)


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    rows = max(1, STRIP // width)
    if rows >= height:
        yield image
        return
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(height, top + rows)))


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; EXIF data that cannot be parsed says nothing about it."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except (SyntaxError, ValueError, LookupError, TypeError, EOFError, struct.error):
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    transparent = "transparency" in image.info
    if image.mode in ("L", "1") and not transparent:
        return image if image.mode == "L" else image.convert("L")
    if transparent or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return grey_if_equal(_on_black(image))
    return grey_if_equal(image if image.mode == "RGB" else image.convert("RGB"))


def _on_black(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    laid = Image.new("RGB", image.size)
    top = 0
    for strip in _strips(image):
        colour = strip.convert("RGBA")
        black = Image.new("RGBA", colour.size, (0, 0, 0, 255))
        laid.paste(Image.alpha_composite(black, colour).convert("RGB"), (0, top))
        top += strip.height
    return laid


def _gif_frames(path: Path) -> int:
    """Frames of a GIF, counted without unpacking one."""
    frames = 0
    with path.open("rb") as file:
        head = file.read(13)
        _skip_colours(file, head[10])
        while frames < MAX_FRAMES:
            kind = file.read(1)
            if kind == b"\x2c":
                frames += 1
                _skip_colours(file, file.read(9)[8:9] or b"\0")
                file.seek(1, os.SEEK_CUR)
            elif kind == b"\x21":
                file.seek(1, os.SEEK_CUR)
            else:  # the end, or no GIF any more
                break
            while length := file.read(1):
                if length == b"\0":
                    break
                file.seek(length[0], os.SEEK_CUR)
    return max(1, frames)


def _skip_colours(file: BinaryIO, flags: int | bytes) -> None:
    packed = flags if isinstance(flags, int) else flags[0]
    if packed & 0x80:
        file.seek(3 << (packed & 7) + 1, os.SEEK_CUR)
