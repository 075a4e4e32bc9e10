"""DICOM's lookup tables: modality, VOI (the window) and palette, PS3.3 C.7.9, C.11.1, C.11.2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdmad.data.plane import Shade
from sdmad.data.windows import linear, linear_exact, sigmoid

if TYPE_CHECKING:
    from pydicom import Dataset

ENTRIES = 1 << 16
"""The most entries that a table can have."""


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


def modality(
    values: NDArray[np.generic], header: Dataset, index: int, signed: bool
) -> tuple[NDArray[np.generic], bool]:
    """Stored values to the scanner's units (Hounsfield units for CT), PS3.3 C.11.1.

    Args:
        values: of one frame.
        header: the data set; a frame's own functional group goes before the shared one and that
            before the top level.
        index: the frame.
        signed: whether stored values are signed.

    Returns:
        The values, and whether anything was changed.

    Raises:
        ValueError: if a table or a number cannot be used.
    """
    sequence = header.get("ModalityLUTSequence")
    if sequence:
        return _table(sequence[0], header, signed).look_up(values), True
    group = _group(header, index, "PixelValueTransformationSequence")
    slope, intercept = _first(group.get("RescaleSlope")), _first(group.get("RescaleIntercept"))
    slope, intercept = 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ValueError("rescale slope or intercept is not finite")
    if (slope, intercept) == (1, 0):
        return values, False
    return values.astype(np.float64) * slope + intercept, True


def voi(header: Dataset, index: int, signed: bool) -> Shade | None:
    """The window that the file asks for, the first of several; None without a usable one.

    A lookup table goes before a window (PS3.3 C.11.2.1.1 leaves the choice). A window that the
    standard forbids, such as one of width 0, counts for none; an unknown function for LINEAR.
    """
    group = _group(header, index, "FrameVOILUTSequence")
    for place in (group, header):
        if place.get("VOILUTSequence"):
            table = _table(place["VOILUTSequence"].value[0], header, signed)
            white = float(2**table.bits - 1)
            return lambda values: np.clip(table.look_up(values) / white, 0, 1)
    center, width = _first(group.get("WindowCenter")), _first(group.get("WindowWidth"))
    if center is None or width is None or not (math.isfinite(center) and math.isfinite(width)):
        return None
    function = str(group.get("VOILUTFunction") or "LINEAR").upper()
    if function in ("LINEAR_EXACT", "SIGMOID"):
        make = linear_exact if function == "LINEAR_EXACT" else sigmoid
        return make(center, width) if width > 0 else None
    return linear(center, width) if width >= 1 else None


def palette(values: NDArray[np.generic], header: Dataset, signed: bool) -> NDArray[np.uint8]:
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
        channels.append(LookupTable(first, bits, entries[:count]).look_up(values))
    return np.stack(channels, axis=-1).astype(np.uint8)


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


def _first(value: object) -> float | None:
    """A number, or the first of several; None if there is none."""
    if value is None or value == "":
        return None
    values = np.asarray(value, dtype=np.float64).reshape(-1)
    return float(values[0]) if values.size else None
