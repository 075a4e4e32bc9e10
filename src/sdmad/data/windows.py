"""From the grey values of an image to 8 bits: the window.

| setting | meaning |
| --- | --- |
| ``auto`` | the window that the file asks for, else its smallest value black, its largest white |
| ``full`` | the image's smallest value black, its largest white |
| ``percentiles`` | black at 0.5 per cent of the finite values, white at 99.5 per cent |
| center, width | in the file's own units (HU for CT), DICOM PS3.3 C.11.2.1.2.1 |

A window acts on greyscale only; colour is shown as it is. Greyscale that has 8 bits already is left
alone by ``auto``; the other settings take its grey values, 0 to 255, for its units.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sdmad.data.plane import ImageError, Plane, Shade
from sdmad.errors import InputError

Window = str | tuple[float, float]
"""``auto``, ``full``, ``percentiles``, or center and width in the file's own units."""

NAMES = ("auto", "full", "percentiles")

PERCENTILES = (0.5, 99.5)
"""Where ``percentiles`` puts black and white: a few hot pixels do not darken the rest."""

BLOCK = 1 << 20
"""Pixels that are converted at a time, so that memory stays near that of the image."""

LARGEST = 1e12
"""No file's own units come near it."""

_CHOICES = "auto, full, percentiles or center,width such as 40,400"


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
    return shaded(plane, _shade(plane, window))


def shaded(plane: Plane, shade: Shade) -> NDArray[np.uint8]:
    """Apply a window to values of any shape, in blocks of rows."""
    values = plane.values
    shown = np.empty(values.shape, dtype=np.uint8)
    rows = max(1, BLOCK // max(1, values[0].size))
    for start in range(0, len(values), rows):
        part = slice(start, start + rows)
        bright = np.nan_to_num(shade(values[part].astype(np.float64)), nan=0)
        if plane.inverted:
            bright = 1 - bright
        if plane.padding is not None:
            bright[plane.padding[part]] = 0
        shown[part] = np.rint(bright * 255)
    return shown


def full_range(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values of any shape, the smallest finite one black, the largest white."""
    plane = Plane(values)
    return shaded(plane, _full(_counted(plane)))


def _shade(plane: Plane, window: Window) -> Shade:
    if isinstance(window, tuple):
        return linear(*window)
    if window == "auto" and plane.shade is not None:
        return plane.shade
    counted = _counted(plane)
    if window == "percentiles":
        low, high = np.percentile(counted.astype(np.float64), PERCENTILES)
        if high > low and math.isfinite(high - low):
            return between(float(low), float(high))
    return _full(counted)


def _full(counted: NDArray[np.generic]) -> Shade:
    return between(float(counted.astype(np.float64).min()), float(counted.astype(np.float64).max()))


def _counted(plane: Plane) -> NDArray[np.generic]:
    """The values that the range is taken from: finite and inside the picture."""
    values = plane.values
    if plane.padding is not None:
        values = values[~plane.padding]
        if values.size == 0:  # nothing but padding, which is black whatever the range
            return np.zeros(1)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
        if values.size == 0:
            raise ImageError("holds no finite value")
    return values
