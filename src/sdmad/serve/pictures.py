"""Pictures for pages: read by the decoder processes, a few at a time; kept in bounded memory."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sdmad.data import decoders
from sdmad.data.address import parse_address
from sdmad.errors import SDMADError

SIDE = 128
"""Longer side of a thumbnail, in pixels."""

MAX_PIXELS = 1 << 26
"""Of a picture that a browser is sent, 128 MiB of grey values."""

VIEWS = 128 << 20
"""Bytes of views that are kept, so that a page's questions about an image read it once."""

PATIENCE = 30.0
"""Seconds that a picture may wait for its turn to be read."""


class TooBusyError(SDMADError):
    """More is asked for than can be read; it may be asked for again."""


@dataclass(frozen=True)
class Viewed:
    """A slice, frame or page for a viewer.

    Attributes:
        pixels: rows of little-endian uint16 grey values, or of uint8 red, green and blue.
        height: in pixels.
        width: in pixels.
        channels: 1 or 3.
        slope: units a grey value.
        intercept: units of the grey value 0.
        low: units that are black by the file's own window.
        high: units that are white.
        slice: which it is, from 0.
        slices: how many the file has.
    """

    pixels: bytes
    height: int
    width: int
    channels: int
    slope: float
    intercept: float
    low: float
    high: float
    slice: int
    slices: int

    @property
    def center(self) -> float:
        """Of the file's own window, in its units."""
        return (self.low + self.high) / 2

    @property
    def window(self) -> float:
        """Width of that window."""
        return self.high - self.low


class Kept:
    """What was made, by its key, within a bound of bytes; what was used longest ago goes first."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._lock = threading.Lock()
        self._found: OrderedDict[Any, tuple[Any, int]] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """What is kept by a key, made where it is not."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key][0]
        made = make()
        with self._lock:
            if key not in self._found and size(made) <= self.most:
                self._found[key] = made, size(made)
                self.held += size(made)
            while self.held > self.most:
                _, (_, gone) = self._found.popitem(last=False)
                self.held -= gone
        return made


class Pictures:
    """Reads images for pages.

    Args:
        thumbnails: bytes of thumbnails that are kept.
    """

    def __init__(self, thumbnails: int) -> None:
        self._thumbnails, self._views = Kept(thumbnails), Kept(VIEWS)
        self._places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))

    def thumbnail(self, address: str) -> bytes:
        """A PNG whose longer side is `SIDE`.

        Raises:
            ImageError: if the image cannot be read.
            TooBusyError: if too many are being read.
        """
        return bytes(self._thumbnails.get(_key(address), lambda: self._shrink(address), len))

    def view(self, address: str, index: int | None = None) -> Viewed:
        """A slice, frame or page.

        Args:
            address: of the image.
            index: from 0; None for the one that the address means.

        Raises:
            ImageError: if it cannot be read or there is none such.
            TooBusyError: if too many are being read.
        """
        found = self._views.get(
            (*_key(address), index),
            lambda: self._view(address, index),
            lambda view: len(view.pixels),
        )
        assert isinstance(found, Viewed)
        return found

    def _shrink(self, address: str) -> bytes:
        file, index = parse_address(address)
        pixels = self._in_turn(
            lambda: decoders.ask_for_pixels(
                "thumbnail", file, index=index, max_pixels=MAX_PIXELS, side=SIDE
            )
        )
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    def _view(self, address: str, index: int | None) -> Viewed:
        file, own = parse_address(address)
        asked = own if index is None else index
        found = self._in_turn(
            lambda: decoders.ask_for_described("view", file, index=asked, max_pixels=MAX_PIXELS)
        )
        height, width, depth = found.array.shape
        told = {name: found.about[name] for name in ("slope", "intercept", "low", "high")}
        place = {name: found.about[name] for name in ("slice", "slices")}
        channels = 3 if depth == 3 else 1
        return Viewed(found.array.tobytes(), height, width, channels, **told, **place)

    def _in_turn(self, read: Callable[[], Any]) -> Any:
        if not self._places.acquire(timeout=PATIENCE):
            raise TooBusyError("too many images are being read; ask again in a moment")
        try:
            return read()
        finally:
            self._places.release()


def _key(address: str) -> tuple[str, int]:
    """Of an image that is read again where its file has changed."""
    try:
        return address, Path(parse_address(address)[0]).stat().st_mtime_ns
    except OSError:  # told as it is read
        return address, 0
