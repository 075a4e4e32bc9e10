"""DICOM's lookup tables: modality, VOI (the window) and palette, PS3.3 C.7.9, C.11.1, C.11.2."""

from __future__ import annotations

import math
import re
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdmad.data.plane import Shade
from sdmad.data.windows import between, linear, linear_exact, sigmoid

if TYPE_CHECKING:
    from pydicom import Dataset

ENTRIES = 1 << 16
"""The most entries that a table can have."""

_BINARY = ("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV")

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class LookupTable(NamedTuple):
    """A lookup table: values up to ``first`` get the first entry, beyond the last the last."""

    first: int
    bits: int
    entries: NDArray[np.int64]

    def look_up(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        """The entry of each value."""
        places = np.clip(np.rint(np.nan_to_num(values)) - self.first, 0, len(self.entries) - 1)
        found: NDArray[np.int64] = self.entries[places.astype(np.int64)]
        return found


class Units(NamedTuple):
    """What a modality LUT makes of stored values: the scanner's units, PS3.3 C.11.1.

    Attributes:
        convert: from stored values; None where they are in these units already.
        lowest: the smallest that can come out.
        known: whether the units are; not, where the rescale is no number, or gives none.
    """

    convert: Shade | None
    lowest: float
    known: bool = True


def modality(header: Dataset, index: int, stored: range) -> Units:
    """The units of a frame (Hounsfield units for CT), PS3.3 C.11.1.

    Args:
        header: the data set; a frame's own functional group goes before the shared one and that
            before the top level.
        index: the frame.
        stored: the values that its bits can hold.

    Raises:
        ValueError: if a table cannot be used.
    """
    sequence = header.get("ModalityLUTSequence")
    if sequence:
        table = _table(sequence[0], header, stored.start < 0)
        return Units(lambda v: table.look_up(v).astype(np.float64), float(table.entries.min()))
    group = _group(header, index, "PixelValueTransformationSequence")
    slope, intercept = (_decimals(group, f"Rescale{part}") for part in ("Slope", "Intercept"))
    if None in slope[:1] + intercept[:1]:
        return Units(None, stored.start, known=False)
    by, plus = (slope or [1.0])[0] or 0.0, (intercept or [0.0])[0] or 0.0
    if (by, plus) == (1, 0):
        return Units(None, stored.start)
    ends = (stored.start * by + plus, (stored.stop - 1) * by + plus)
    if not all(map(math.isfinite, ends)):
        return Units(None, stored.start, known=False)
    return Units(lambda values: values * by + plus, min(ends))


class Asked(NamedTuple):
    """What a file asks for as its window.

    Attributes:
        shade: the first that can be used; None where there is none.
        passed_over: whether one before it, or all, cannot be used.
        dark: the bits that a table says and those that it uses, where these are fewer.
    """

    shade: Shade | None
    passed_over: bool = False
    dark: tuple[int, int] | None = None


def voi(header: Dataset, index: int, lowest: float, own_range: bool) -> Asked:
    """The window that the file asks for, the first of several that can be used.

    A lookup table goes before a window (PS3.3 C.11.2.1.1 leaves the choice). A window that the
    standard forbids, such as one of width 0 or of no number, is passed over; an unknown function
    is taken for LINEAR.

    Args:
        header: as in `modality`.
        index: the frame.
        lowest: the smallest that the modality LUT gives: a table's first value has its sign.
        own_range: whether a table goes from its smallest to its largest entry, not over its bits.
    """
    group, over = _group(header, index, "FrameVOILUTSequence"), False
    for place in (group, header):
        for item in _items(place, "VOILUTSequence"):
            try:
                return _by_table(_table(item, header, lowest < 0), own_range, over)
            except (ValueError, TypeError, AttributeError):
                over = True
    function = str(_text(group, "VOILUTFunction") or "LINEAR").upper()
    centers, widths = (_decimals(group, f"Window{part}") for part in ("Center", "Width"))
    for center, width in zip(centers, widths, strict=False):
        shade = None if center is None or width is None else _window(function, center, width)
        if shade is not None:
            return Asked(shade, over)
        over = True
    return Asked(None, over or len(centers) != len(widths))


def _by_table(table: LookupTable, own_range: bool, passed_over: bool) -> Asked:
    low, high = float(table.entries.min()), float(table.entries.max())
    if own_range:
        stretched = between(low, high)
        return Asked(lambda values: stretched(table.look_up(values).astype(np.float64)))
    white = float(2**table.bits - 1)
    used = max(1, int(high).bit_length())
    return Asked(
        lambda values: np.clip(table.look_up(values) / white, 0, 1),
        passed_over,
        (table.bits, used) if used < table.bits else None,
    )


def _window(function: str, center: float, width: float) -> Shade | None:
    if function in ("LINEAR_EXACT", "SIGMOID"):
        make = linear_exact if function == "LINEAR_EXACT" else sigmoid
        return make(center, width) if width > 0 else None
    return linear(center, width) if width >= 1 else None


def palette(values: NDArray[np.integer], header: Dataset, signed: bool) -> NDArray[np.uint8]:
    """Colours ``(H, W, 3)`` of a PALETTE COLOR frame, PS3.3 C.7.6.3.1.5 and C.7.9.

    Raises:
        ValueError: if a table is missing or cannot be used.
    """
    channels = []
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        count, first, bits = _descriptor(header.get(f"{name}Descriptor"), signed)
        if header.get(f"{name}Data") is not None:
            entries = _numbers(header[f"{name}Data"].value, count, header)
        else:
            packed = header.get(f"Segmented{name}Data")
            if packed is None:
                raise ValueError("no palette")
            words = _numbers(packed, len(packed) if bits == 8 else len(packed) // 2, header)
            entries = expand_segments(words.tolist(), bits == 8, _little(header))
        if len(entries) < count:
            raise ValueError("palette too short")
        if entries.max() > 255:
            entries = entries >> 8
        channels.append(LookupTable(first, bits, entries[:count]))
    low, high = int(values.min()), int(values.max())
    if high - low >= ENTRIES:
        raise ValueError("palette of more values than one can have")
    every = np.arange(low, high + 1)
    table = np.stack([channel.look_up(every) for channel in channels], axis=-1).astype(np.uint8)
    colours = np.empty((*values.shape, 3), np.uint8)
    rows = max(1, ENTRIES // values.shape[1])
    for top in range(0, len(values), rows):  # no copy of the whole in 64 bits
        part = slice(top, top + rows)
        colours[part] = table[values[part].astype(np.int64) - low]
    return colours


def expand_segments(words: list[int], bytewise: bool, little: bool) -> NDArray[np.int64]:
    """Expand a segmented palette, PS3.3 C.7.9.2, to at most 65,536 entries.

    >>> expand_segments([0, 2, 10, 20, 1, 2, 40, 2, 1, 0, 0], False, True).tolist()
    [10, 20, 30, 40, 10, 20]

    Args:
        words: the segments; discrete (0, count, values), linear (1, count, last value), indirect
            (2, segments, offset of the first: two words, or four where words are bytes).
        bytewise: whether words are bytes.
        little: whether bytes of an offset are little-endian.

    Raises:
        ValueError: if a segment is unknown, runs beyond the end, comes first where it cannot, or
            an indirect segment names another.
    """
    entries: list[int] = []
    place = 0
    while place + 2 < len(words) and len(entries) <= ENTRIES:
        if words[place] == 2:
            width = 4 if bytewise else 2
            source = _offset(words[place + 2 : place + 2 + width], bytewise, little)
            for _ in range(words[place + 1]):
                source = _expand_one(words, source, entries)
            place += 2 + width
        else:
            place = _expand_one(words, place, entries)
    return np.array(entries[:ENTRIES], dtype=np.int64)


def _expand_one(words: list[int], place: int, entries: list[int]) -> int:
    """Append one discrete or linear segment; returns where the next starts."""
    if len(entries) > ENTRIES or place + 2 >= len(words):
        raise ValueError("palette segments too long")
    kind, count = words[place], words[place + 1]
    if kind == 0 and place + 2 + count <= len(words):
        entries.extend(words[place + 2 : place + 2 + count])
        return place + 2 + count
    if kind == 1 and entries and count:
        steps = np.linspace(entries[-1], words[place + 2], count + 1)[1:]
        entries.extend(np.rint(steps).astype(int).tolist())
        return place + 3
    raise ValueError("palette segment of no use")


def _offset(words: list[int], bytewise: bool, little: bool) -> int:
    if not bytewise:
        low, high = words
        return low | high << 16
    return int.from_bytes(bytes(words), "little" if little else "big")


def _group(header: Dataset, index: int, macro: str) -> Dataset:
    """What holds a frame's attributes: its own group, else the shared one, else the top level."""
    for name, item in (
        ("PerFrameFunctionalGroupsSequence", index),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        groups = header.get(name) or []
        if item < len(groups) and groups[item].get(macro):
            return groups[item].get(macro)[0]
    return header


def _items(header: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it lacks or is no sequence."""
    try:
        return list(header.get(keyword) or [])
    except (ValueError, TypeError, AttributeError):
        return []


def _table(item: Dataset, header: Dataset, signed: bool) -> LookupTable:
    count, first, bits = _descriptor(item.get("LUTDescriptor"), signed)
    entries = _numbers(item.get("LUTData"), count, header)
    if len(entries) < count:
        raise ValueError("lookup table too short")
    return LookupTable(first, bits, entries[:count])


def _descriptor(value: object, signed: bool) -> tuple[int, int, int]:
    """Number of entries (0 means 65,536), first value mapped, bits an entry."""
    count, first, bits = (int(v) for v in np.asarray(value).reshape(3))
    count = count % ENTRIES or ENTRIES
    if signed and first >= ENTRIES // 2:
        first -= ENTRIES
    if not signed and first < 0:
        first += ENTRIES
    if not 1 <= bits <= 16:
        raise ValueError("bits of a lookup table")
    return count, first, bits


def _numbers(value: object, count: int, header: Dataset) -> NDArray[np.int64]:
    """Entries of a table: a list of numbers, or bytes of 8 or 16 bits each."""
    if isinstance(value, bytes):
        wide = len(value) >= 2 * count
        order = "<" if _little(header) else ">"
        kind = f"{order}u2" if wide else "u1"
        return np.frombuffer(value[: len(value) // 2 * 2], kind).astype(np.int64)
    return np.asarray(value, dtype=np.int64).reshape(-1)


def _little(header: Dataset) -> bool:
    return header.original_encoding[1] is not False


def _decimals(header: Dataset, keyword: str) -> list[float | None]:
    """The numbers of an attribute, None for each that is none; empty where it lacks or is empty.

    They are parsed here, one by one: the library refuses all for one that is no number.
    """
    texts = _text(header, keyword).split("\\")
    if texts == [""]:
        return []
    found = (float(text) if _DECIMAL.fullmatch(text.strip()) else math.nan for text in texts)
    return [number if math.isfinite(number) else None for number in found]


def _text(header: Dataset, keyword: str) -> str:
    """The text of an attribute, as it stands in the file; "" where it lacks."""
    if keyword not in header:
        return ""
    element = header.get_item(keyword)
    if isinstance(element.value, bytes) and element.VR not in _BINARY:
        return element.value.decode("latin-1").strip(" \0")
    try:
        value = header[keyword].value
    except (ValueError, TypeError, AttributeError, NotImplementedError):
        return "no number"
    values = value if isinstance(value, list | tuple | MutableSequence) else [value]
    return "\\".join("" if one is None else str(one) for one in values)
