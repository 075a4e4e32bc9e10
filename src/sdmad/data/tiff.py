"""TIFF: one page, by what its own tags say.

Greyscale of more than 8 bits, signed or not, is put together here. Pillow shows its smallest value
black even where it is white, takes signed bytes for unsigned ones and unsigned words of 32 bits for
signed ones, and swaps the bytes of compressed big-endian samples. It unpacks such pages as plain
bytes; their order, sign and polarity are taken from the tags. All other pages are Pillow's.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from sdmad.data import pictures
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

MAX_PAGES = 1 << 16
"""Pages that are counted; what lies beyond is not looked at."""

BAND = 1 << 22
"""Bytes that are unpacked at a time, or one strip or row of tiles where that has more."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PREDICTOR = 266, 273, 277, 278, 279, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _FORMAT = 322, 323, 324, 325, 339
_ORIENTATION, _PLANES = 274, 284
_WANTED = frozenset(
    (
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _OFFSETS, _ORIENTATION),
        *(_SAMPLES, _ROWS, _COUNTS, _PLANES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT),
        *(_TILE_OFFSETS, _TILE_COUNTS, _FORMAT),
    )
)
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_MOST_NUMBERS = 1 << 20
_PREDICTED = (5, 8, 32946, 34925, 50000)
_BYTEWISE = (1, 32773, *_PREDICTED)
"""Compressions of bytes, not of samples: none, PackBits; LZW, Deflate twice, LZMA, Zstandard."""

_MODES = {"<u2": "I;16", ">u2": "I;16B", "<i4": "I", ">i4": "I", "<f4": "F", ">f4": "F"}

Tags = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class _Stream:
    """An opened file.

    Attributes:
        data: its bytes.
        order: ``<`` or ``>``.
        big: whether it is a BigTIFF.
        first: where the first page's directory lies.
    """

    data: BinaryIO
    order: str
    big: bool
    first: int

    @classmethod
    def of(cls, data: BinaryIO) -> _Stream:
        head = data.read(16)
        order = "<" if head[:2] == b"II" else ">"
        (version,) = struct.unpack(f"{order}H", head[2:4])
        if version == 43:
            return cls(data, order, True, *struct.unpack(f"{order}Q", head[8:16]))
        return cls(data, order, False, *struct.unpack(f"{order}I", head[4:8]))

    def _unpack(self, kinds: str, at: int) -> tuple[int, ...]:
        self.data.seek(at)
        form = f"{self.order}{kinds}"
        return struct.unpack(form, self.data.read(struct.calcsize(form)))

    def directories(self) -> Iterator[int]:
        """Where the directories lie, no more than `MAX_PAGES`."""
        at, seen = self.first, set[int]()
        while at and at not in seen and len(seen) < MAX_PAGES:
            seen.add(at)
            yield at
            try:
                (count,) = self._unpack("Q" if self.big else "H", at)
                entries = (8 + 20 * count) if self.big else (2 + 12 * count)
                (at,) = self._unpack("Q" if self.big else "I", at + entries)
            except struct.error:  # cut short behind this page
                return

    def tags(self, at: int) -> Tags:
        """The numbers of the tags that are used here."""
        count_kind, entry, word = ("Q", "HHQ", 8) if self.big else ("H", "HHI", 4)
        (count,) = self._unpack(count_kind, at)
        at += struct.calcsize(f"={count_kind}")
        size = struct.calcsize(f"={entry}") + word
        found: dict[int, tuple[int, ...]] = {}
        for place in range(at, at + min(count, 0xFFFF) * size, size):
            tag, kind, length = self._unpack(entry, place)
            if tag in _WANTED and kind in _NUMBERS and 0 < length <= _MOST_NUMBERS:
                form = f"{length}{_NUMBERS[kind]}"
                value = place + size - word
                if struct.calcsize(f"={form}") > word:
                    (value,) = self._unpack("Q" if self.big else "I", value)
                found[tag] = self._unpack(form, value)
        return found


@dataclass(frozen=True)
class _Page:
    """One page, from its tags."""

    path: Path
    order: str
    tags: Tags

    def number(self, tag: int, default: int = 0) -> int:
        return self.tags.get(tag, (default,))[0]

    @cached_property
    def size(self) -> tuple[int, int]:
        return self.number(_WIDTH), self.number(_HEIGHT)

    @cached_property
    def kind(self) -> np.dtype[Any] | None:
        """Type of the samples of a page that is put together here; None for all others."""
        bits, form = self.tags.get(_BITS, (1,)), self.number(_FORMAT, 1)
        grey = self.number(_SAMPLES, 1) == 1 and self.number(_PHOTOMETRIC) in (0, 1)
        deep = bits in ((16,), (32,), (64,)) and form in (1, 2, 3)
        if not grey or not (deep or (bits == (8,) and form == 2)):
            return None
        return np.dtype(f"{self.order}{'_uif'[form]}{bits[0] // 8}")

    @contextmanager
    def by_pillow(self) -> Iterator[pictures.Opened]:
        """The file opened by Pillow.

        Raises:
            ImageError: if its samples are of a kind that is not read; says which.
        """
        try:
            with pictures.opened(self.path) as file:
                yield file
        except pictures.UnknownError:
            bits = ", ".join(map(str, self.tags.get(_BITS, (1,))[:4]))
            raise ImageError(
                f"{self.path}: TIFF of a kind that is not read ({bits} bits, sample format "
                f"{self.number(_FORMAT, 1)}, photometric interpretation "
                f"{self.tags.get(_PHOTOMETRIC, ('none',))[0]}, compression "
                f"{self.number(_COMPRESSION, 1)}); save it as PNG",
                self.path,
            ) from None

    def check(self) -> None:
        """Refuse what is not said, or said in a way that is not read.

        Raises:
            ImageError: if it is unknown which end of the range is black, or how to unpack it.
        """
        if _PHOTOMETRIC not in self.tags:
            raise ImageError(
                f"{self.path}: TIFF that does not say whether its smallest value is black or white "
                "(no PhotometricInterpretation); save it as PNG",
                self.path,
            )
        order, scheme = self.number(_FILL_ORDER, 1), self.number(_COMPRESSION, 1)
        deep = self.number(_BITS, 1) > 8 and self.number(_SAMPLES, 1) > 1
        if deep and self.number(_PLANES, 1) == 2 and scheme == 1:  # Pillow confuses their bytes
            raise ImageError(
                f"{self.path}: TIFF of deep colour in separate planes; save it as PNG", self.path
            )
        if self.kind is not None and (order != 1 or scheme not in _BYTEWISE):
            raise ImageError(
                f"{self.path}: TIFF of {self.kind.name} samples packed in a rare way (compression "
                f"{scheme}, fill order {order}); save it with LZW, Deflate or none",
                self.path,
            )


@dataclass(frozen=True)
class Tiff:
    """An opened file.

    Attributes:
        path: of the file.
        stream: its bytes and their order.
        at: where the directory of each page lies.
    """

    path: Path
    stream: _Stream
    at: tuple[int, ...]

    def page(self, index: int) -> _Page:
        """A page's tags."""
        return _Page(self.path, self.stream.order, self.stream.tags(self.at[index]))

    @property
    def header(self) -> Header:
        """Format, depth, size and pages; size and depth of the first page."""
        page = self.page(0)
        if page.kind is None:
            with page.by_pillow() as file:
                return Header("TIFF", file.header.mode, file.header.shape, len(self.at))
        mode = _MODES.get(page.kind.str, page.kind.name)
        shown = _upright(np.broadcast_to(np.uint8(0), page.size[::-1]), page)
        return Header("TIFF", mode, shown.shape, len(self.at))

    def part(self, index: int | None) -> str:
        """Whether only the first page is read."""
        return one_of(len(self.at), "pages", index, "the first")

    def plane(self, index: int | None, max_pixels: int, window: Window) -> Picture:
        """Read a page, the first where none is named."""
        place = 0 if index is None else choose_slice(self.path, index, len(self.at))
        page = self.page(place)
        page.check()
        if page.kind is None:
            with page.by_pillow() as file:
                return file.page(place, max_pixels, window)
        check_size(self.path, *page.size, max_pixels)
        values = _samples(self.stream.data, page, page.kind)
        return Plane(_upright(values, page), inverted=page.number(_PHOTOMETRIC) == 0)


@contextmanager
def opened(path: Path) -> Iterator[Tiff]:
    """Open a file and find its pages."""
    with path.open("rb") as data:
        stream = _Stream.of(data)
        yield Tiff(path, stream, tuple(stream.directories()))


def _upright(values: NDArray[Any], page: _Page) -> NDArray[Any]:
    """Turn a page as its orientation says: where its first row and first column are to lie."""
    orientation = page.number(_ORIENTATION, 1)
    if orientation in (5, 6, 7, 8):
        values = values.T
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def _samples(data: BinaryIO, page: _Page, kind: np.dtype[Any]) -> NDArray[Any]:
    """The page's samples, ``(H, W)``."""
    width, height = page.size
    values = np.empty((height, width), kind.newbyteorder("="))
    layout = _Layout.of(page, kind)
    least = layout.across * layout.width * layout.height * kind.itemsize
    if least > MAX_PIXELS:  # which Pillow takes for as many pixels
        raise ImageError(
            f"{page.path}: stored in strips or rows of tiles of more than {MAX_PIXELS:,} bytes, "
            "refused; save it in smaller ones",
            page.path,
        )
    many = max(1, BAND // least)
    for first in range(0, layout.down, many):
        band = _band(data, page, layout, first, min(many, layout.down - first), kind)
        top = first * layout.height
        rows = min(len(band), height - top)
        values[top : top + rows] = band[:rows, :width]
    return values


@dataclass(frozen=True)
class _Layout:
    """How a page is cut in parts, strips or tiles, all of one size in samples."""

    tiled: bool
    width: int
    height: int
    across: int
    down: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, page: _Page, kind: np.dtype[Any]) -> _Layout:
        (width, height), tiled = page.size, _TILE_WIDTH in page.tags
        if tiled:
            part = page.number(_TILE_WIDTH), page.number(_TILE_HEIGHT)
            offsets, counts = _TILE_OFFSETS, _TILE_COUNTS
        else:
            part = width, min(height, page.number(_ROWS, height))
            offsets, counts = _OFFSETS, _COUNTS
        if min(part) < 1 or max(part) > 1 << 20:
            raise ValueError("parts of no size")
        across, down = math.ceil(width / part[0]), math.ceil(height / part[1])
        at = page.tags[offsets]
        sizes = page.tags.get(counts)
        if sizes is None and page.number(_COMPRESSION, 1) == 1:
            sizes = (part[0] * part[1] * kind.itemsize,) * len(at)
        if sizes is None or min(len(at), len(sizes)) < across * down:
            raise ValueError("too few parts")
        whole = cls(tiled, *part, across, down, at, sizes)
        plain = page.number(_COMPRESSION, 1) == 1 and not tiled and down == 1
        return whole.cut(kind.itemsize) if plain else whole

    def cut(self, size: int) -> _Layout:
        """A single strip that is not compressed as several, so that few rows are read at once."""
        row = self.width * size
        if self.counts[0] < row * self.height:
            raise ValueError("too short a strip")
        rows = min(self.height, max(1, BAND // row))
        tops = range(0, self.height, rows)
        counts = tuple(row * min(rows, self.height - top) for top in tops)
        offsets = tuple(self.offsets[0] + row * top for top in tops)
        return _Layout(False, self.width, rows, 1, len(tops), offsets, counts)


def _band(
    data: BinaryIO, page: _Page, layout: _Layout, first: int, many: int, kind: np.dtype[Any]
) -> NDArray[Any]:
    """Some strips or rows of tiles, whole ones, unpacked by Pillow as bytes."""
    parts = range(first * layout.across, (first + many) * layout.across)
    packed = []
    for part in parts:
        data.seek(layout.offsets[part])
        packed.append(data.read(layout.counts[part]))
    rows = many * layout.height
    if not layout.tiled:
        rows = min(rows, page.size[1] - first * layout.height)
    scheme = page.number(_COMPRESSION, 1)
    small = _tiff_of_bytes(layout, packed, rows, scheme, kind.itemsize)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with TiffImagePlugin.TiffImageFile(io.BytesIO(small)) as image:
            unpacked = np.asarray(image)
    cut = unpacked.reshape(rows, layout.across, -1)  # no difference reaches beyond a part
    predictor = page.number(_PREDICTOR, 1) if scheme in _PREDICTED else 1
    return _unpredicted(cut, predictor, kind).reshape(rows, -1)


def _tiff_of_bytes(
    layout: _Layout, packed: list[bytes], rows: int, scheme: int, size: int
) -> bytes:
    """A TIFF of 8-bit samples that holds some parts of another."""
    width = layout.width * size
    shape = {_ROWS: layout.height}
    offsets, counts = _OFFSETS, _COUNTS
    if layout.tiled:
        shape = {_TILE_WIDTH: width, _TILE_HEIGHT: layout.height}
        offsets, counts = _TILE_OFFSETS, _TILE_COUNTS
    numbers: dict[int, list[int]] = {
        **{_WIDTH: [width * layout.across], _HEIGHT: [rows], _BITS: [8], _COMPRESSION: [scheme]},
        **{_PHOTOMETRIC: [1], _SAMPLES: [1], **{tag: [side] for tag, side in shape.items()}},
        **{offsets: [0] * len(packed), counts: [len(part) for part in packed]},
    }
    behind = 8 + 2 + 12 * len(numbers) + 4
    lists = behind, behind + 4 * len(packed)
    start = lists[1] + 4 * len(packed)
    ends = np.cumsum([start, *numbers[counts]]).tolist()
    numbers[offsets] = ends[:-1]
    place = dict(zip((offsets, counts), lists, strict=True))
    head = b"II*\0" + struct.pack("<IH", 8, len(numbers))
    for tag in sorted(numbers):
        value = place[tag] if len(numbers[tag]) > 1 else numbers[tag][0]
        head += struct.pack("<HHII", tag, 4, len(numbers[tag]), value)
    tables = [struct.pack(f"<{len(packed)}I", *numbers[tag]) for tag in (offsets, counts)]
    return b"".join([head, bytes(4), *tables, *packed])


def _unpredicted(parts: NDArray[np.uint8], predictor: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Samples of parts ``(rows, across, bytes)``, differences to the left summed up.

    Predictor 2 takes differences of samples, 3 of bytes, the highest of all samples first.
    """
    if predictor == 3:
        summed = np.add.accumulate(parts, axis=2, dtype=np.uint8)
        planes = summed.reshape(*parts.shape[:2], kind.itemsize, -1).swapaxes(2, 3)
        found: NDArray[Any] = np.ascontiguousarray(planes).view(kind.newbyteorder(">"))[..., 0]
        return found
    if predictor not in (1, 2):
        raise ValueError("unknown predictor")
    samples = np.ascontiguousarray(parts).view(kind)
    if predictor == 1:
        return samples
    words = samples.view(f"{kind.byteorder}u{kind.itemsize}").astype(f"u{kind.itemsize}")
    return np.add.accumulate(words, axis=2, dtype=words.dtype).view(kind.newbyteorder("="))
