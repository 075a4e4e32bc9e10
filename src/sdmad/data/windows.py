"""From the grey values of an image to 8 bits: the window.

| setting | meaning |
| --- | --- |
| ``auto`` | the window that the file asks for, else its smallest value black, its largest white |
| ``full`` | the image's smallest value black, its largest white |
| ``lut`` | as ``auto``, but a DICOM lookup table's own smallest entry black, its largest white |
| ``percentiles`` | black at 0.5 per cent of the finite values, white at 99.5 per cent |
| center, width | in the file's own units (HU for CT), DICOM PS3.3 C.11.2.1.2.1 |

A window acts on greyscale only; colour is shown as it is. Greyscale that has 8 bits already is left
alone by ``auto``; the other settings take its grey values, 0 to 255, for its units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.data.plane import ImageError, Plane, Shade
from sdmad.data.plane import Window as Window
from sdmad.errors import InputError

NAMES = ("auto", "lut", "full", "percentiles")

PERCENTILES = (0.5, 99.5)
"""Where ``percentiles`` puts black and white: a few hot pixels do not darken the rest."""

BLOCK = 1 << 20
"""Pixels that are converted at a time, so that memory stays near that of the image."""

LARGEST = 1e12
"""No file's own units come near it."""

_CHOICES = "auto, lut, full, percentiles or center,width such as 40,400"


def check_window(value: object) -> Window:
    """Check a window setting.

    >>> check_window([40, 400])
    (40.0, 400.0)

    Raises:
        InputError: if it is no name, or no pair of finite numbers with a width of at least 1
            (PS3.3 C.11.2.1.2.1).
    """
    if isinstance(value, str) and value in NAMES:
        return value
    if isinstance(value, tuple | list) and len(value) == 2:
        usable = (v for v in value if isinstance(v, int | float) and v is not True)
        numbers = [float(v) for v in usable if abs(v) <= LARGEST]
        if len(numbers) == 2 and all(map(math.isfinite, numbers)):
            center, width = numbers
            if width < 1:
                raise InputError(
                    f"window: the width must be at least 1, got {width:g}; "
                    "for images of small values take full or percentiles"
                )
            return center, width
    raise InputError(f"window: expected {_CHOICES}, got {value!r}")


def parse_window(text: str) -> Window:
    """Read a window setting from a command line.

    >>> parse_window("percentiles"), parse_window("40,400")
    ('percentiles', (40.0, 400.0))

    Raises:
        InputError: if it is neither a name nor two numbers.
    """
    name = text.strip().lower()
    if name in NAMES:
        return name
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 2 and all(map(math.isfinite, numbers)):
        return check_window(numbers)
    raise InputError(f"window: expected {_CHOICES}, got {text!r}")


def linear(center: float, width: float) -> Shade:
    """DICOM's default window function, PS3.3 C.11.2.1.2.1; the width is at least 1.

    >>> linear(40, 400)(np.array([-160.0, 39.5, 239.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    if width <= 1:
        return lambda values: (values > center - 0.5).astype(np.float64)
    return lambda values: np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def linear_exact(center: float, width: float) -> Shade:
    """DICOM's LINEAR_EXACT function, PS3.3 C.11.2.1.3.2.

    >>> linear_exact(0, 10)(np.array([-5.0, 0, 5])).tolist()
    [0.0, 0.5, 1.0]
    """
    return lambda values: np.clip((values - center) / width + 0.5, 0, 1)


def sigmoid(center: float, width: float) -> Shade:
    """DICOM's SIGMOID function, PS3.3 C.11.2.1.3.1.

    >>> sigmoid(10, 5)(np.array([10.0])).tolist()
    [0.5]
    """

    def shade(values: NDArray[np.float64]) -> NDArray[np.float64]:
        exponent = np.clip(-4 * (values - center) / width, -700, 700)  # exp(710) overflows
        return np.asarray(1 / (1 + np.exp(exponent)), dtype=np.float64)

    return shade


def eight_bits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grey values from 0 to 255 as they are."""
    return values / 255


def between(low: float, high: float) -> Shade:
    """Black at ``low``, white at ``high``; where they are equal, white above them."""
    with np.errstate(over="ignore"):
        too_wide = not np.isfinite(high - low)
    if too_wide:
        inner = between(low / 4, high / 4)
        return lambda values: inner(values / 4)
    if high == low:
        return lambda values: (values > high).astype(np.float64)
    return lambda values: np.clip((values - low) / (high - low), 0, 1)


def eight_bit(plane: Plane, window: Window = "auto") -> NDArray[np.uint8]:
    """Show one picture in 8 bits.

    NaN and minus infinity become 0, plus infinity 255; padding becomes 0. Where the percentiles
    fall together, ``percentiles`` is ``full``.

    Args:
        plane: greyscale ``(H, W)``, or colour, which is returned as it is.
        window: the setting, checked.

    Returns:
        ``(H, W)`` or ``(H, W, 3)``.

    Raises:
        ImageError: if there is no finite value.
    """
    if plane.values.ndim == 3:
        return plane.values.astype(np.uint8)
    return shaded(plane, shade_of(plane, window))


def shaded(plane: Plane, shade: Shade) -> NDArray[np.uint8]:
    """Apply a window to values of any shape, in blocks of rows.

    Integers of up to 16 bits are looked up in a table of all brightnesses.
    """
    values = plane.values
    shown = np.empty(values.shape, dtype=np.uint8)
    table = _table(plane, shade)
    for part in blocks(values):
        if table is None:
            shown[part] = _bright(plane, values[part], shade)
        else:
            shown[part] = np.take(table[1], _words(values[part]) - table[0])
        if plane.padding is not None:
            shown[part][plane.padding[part]] = 0
    return shown


def full_range(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values of any shape, the smallest finite one black, the largest white."""
    plane = Plane(values)
    return shaded(plane, between(*extremes(plane)))


def blocks(values: NDArray[np.generic]) -> Iterator[slice]:
    """Rows of an array, so many at a time that few pixels are converted at once."""
    rows = max(1, BLOCK // max(1, values[0].size))
    for start in range(0, len(values), rows):
        yield slice(start, start + rows)


def in_units(plane: Plane, values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Values of a picture in its file's own units."""
    exact = values.astype(np.float64)
    return exact if plane.units is None else plane.units(exact)


def _bright(plane: Plane, values: NDArray[np.generic], shade: Shade) -> NDArray[np.uint8]:
    bright = np.nan_to_num(shade(in_units(plane, values)), nan=0)
    return np.rint((1 - bright if plane.inverted else bright) * 255).astype(np.uint8)


def _few_values(plane: Plane) -> bool:
    """Whether a table of all values between the smallest and the largest is worth its making."""
    kind = plane.values.dtype
    return kind.kind in "iu" and kind.itemsize <= 2 and plane.values.size > 1 << 8 * kind.itemsize


def _words(values: NDArray[np.generic]) -> NDArray[np.unsignedinteger[Any]]:
    """Integers as unsigned ones of their size, differences between which are right."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    words: NDArray[np.unsignedinteger[Any]] = native.view(f"u{native.dtype.itemsize}")
    return words


def _range_of(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """All values from the smallest to the largest, of the same type."""
    every = np.arange(int(values.min()), int(values.max()) + 1)
    return every.astype(values.dtype.newbyteorder("="))


def _table(plane: Plane, shade: Shade) -> tuple[np.unsignedinteger[Any], NDArray[np.uint8]] | None:
    """The smallest value, as an unsigned word, and the brightness of each from there on."""
    if not _few_values(plane):
        return None
    every = _range_of(plane.values)
    return _words(every)[0], _bright(plane, every, shade)


def shade_of(plane: Plane, window: Window) -> Shade:
    """The window that a setting means for a picture.

    Raises:
        ImageError: if the picture's own range is needed and no value is finite.
    """
    if isinstance(window, tuple):
        return linear(*window)
    if window in ("auto", "lut") and plane.shade is not None:
        return plane.shade
    if window == "percentiles":
        low, high = _percentiles(plane)
        if high > low and math.isfinite(high - low):
            return between(low, high)
    return between(*extremes(plane))


def _counted(plane: Plane) -> Iterator[NDArray[np.generic]]:
    """The values that the range is taken from, inside the picture and finite, in blocks."""
    for part in blocks(plane.values):
        values = plane.values[part].ravel()
        if plane.padding is not None:
            values = values[~plane.padding[part].ravel()]
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size:
            yield values


def _only_padding(plane: Plane) -> bool:
    """Whether all is padding, which is black whatever the range.

    Raises:
        ImageError: if there is a picture, and no value of it is finite.
    """
    if next(_counted(plane), None) is not None:
        return False
    if plane.padding is None or not plane.padding.all():
        raise ImageError("holds no finite value")
    return True


def extremes(plane: Plane) -> tuple[float, float]:
    """The smallest and the largest value in the picture's units.

    Raises:
        ImageError: if no value is finite.
    """
    if _only_padding(plane):
        return 0.0, 0.0
    ends = [(v.min(), v.max()) for v in (_known(plane, values) for values in _counted(plane))]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _known(plane: Plane, values: NDArray[np.generic]) -> NDArray[Any]:
    return values if plane.units is None else plane.units(values.astype(np.float64))


def _percentiles(plane: Plane) -> tuple[float, float]:
    """`PERCENTILES` of the values in the picture's units, to the bit as NumPy's."""
    if _only_padding(plane):
        return 0.0, 0.0
    at = _tallied(plane) if _few_values(plane) else _gathered(plane)
    low, high = (_between_ranks(*at, percent) for percent in PERCENTILES)
    return low, high


AtRank = Callable[[int], float]
"""The value at a place of a sorted list."""


def _tallied(plane: Plane) -> tuple[AtRank, int]:
    """Of a picture of few different values: they are counted, not sorted."""
    every = _range_of(plane.values)
    counts = np.zeros(len(every), dtype=np.int64)
    for values in _counted(plane):
        counts += np.bincount(_words(values) - _words(every)[0], minlength=len(every))
    units = in_units(plane, every)
    order = np.argsort(units, kind="stable")
    units, ranks = units[order], counts[order].cumsum()
    return lambda place: float(units[np.searchsorted(ranks, place, "right")]), int(ranks[-1])


def _gathered(plane: Plane) -> tuple[AtRank, int]:
    values = np.concatenate([_known(plane, values) for values in _counted(plane)])

    def at(place: int) -> float:
        values.partition(place)
        return float(values[place])

    return at, values.size


def _between_ranks(at: AtRank, total: int, percent: float) -> float:
    """A percentile by linear interpolation between two values of a sorted list."""
    place = percent / 100 * (total - 1)
    first = math.floor(place)
    share, low, high = place - first, at(first), at(min(first + 1, total - 1))
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
