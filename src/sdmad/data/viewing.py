"""A picture for a viewer that sets the window itself: 16-bit grey values, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data.plane import Picture, Plane, Shade
from sdmad.data.windows import blocks, extremes, in_units, shade_of

DEPTH = 65535
"""Steps between the smallest and the largest of 16-bit values."""

SAMPLES = 4096
"""Values at which a window is looked at to find where it begins and ends."""


@dataclass(frozen=True)
class View:
    """Grey values, and their window.

    The file's own units are ``slope * value + intercept``. Where the file's smallest value is
    white, units are turned around, so that larger is brighter in any case.

    Attributes:
        values: ``(H, W)`` uint16, or colour ``(H, W, 3)`` uint8, whose window says nothing.
        slope: units a step.
        intercept: units of 0.
        low: units that the file's own window shows as black.
        high: units that it shows as white.
        smallest: units of the darkest value.
        largest: units of the brightest.
    """

    values: NDArray[np.uint16] | NDArray[np.uint8]
    slope: float = 1.0
    intercept: float = 0.0
    low: float = 0.0
    high: float = 255.0
    smallest: float = 0.0
    largest: float = 255.0


def viewed(found: Picture) -> View:
    """A picture as a viewer takes it.

    Raises:
        ImageError: if there is no finite value.
    """
    if isinstance(found, Image.Image):
        pixels = np.asarray(found)
        return View(pixels if pixels.ndim == 3 else pixels.astype(np.uint16))
    if found.values.ndim == 3:
        return View(found.values.astype(np.uint8))
    turned = -1.0 if found.inverted else 1.0
    smallest, largest = sorted(turned * end for end in extremes(found))
    slope = _step(found, smallest, largest)
    values = np.empty(found.values.shape, np.uint16)
    for part, units in _turned(found, turned):
        steps = (np.nan_to_num(units, nan=smallest, posinf=largest) - smallest) / slope
        values[part] = np.rint(np.clip(steps, 0, DEPTH))
        if found.padding is not None:
            values[part][found.padding[part]] = 0
    shade = shade_of(found, "auto")
    bright: Shade = (lambda units: 1 - shade(-units)) if found.inverted else shade
    low, high = ramp(bright, smallest, largest)
    return View(values, slope, smallest, low, high, smallest, largest)


def ramp(bright: Shade, smallest: float, largest: float) -> tuple[float, float]:
    """Where a window is black and where white, as a straight line between both.

    >>> ramp(lambda values: np.clip((values + 160) / 400, 0, 1), -1000, 1000)
    (-160.0, 240.0)

    Args:
        bright: from units to brightness, 0 to 1.
        smallest: units of the darkest value.
        largest: units of the brightest.

    Returns:
        Units of black and of white: of a window that is no straight line those of the line through
        its first and its last grey; of a single step, both sides of it.
    """
    units = np.linspace(smallest, largest, SAMPLES + 1)
    shown = bright(units)
    grey = np.flatnonzero((shown > 0) & (shown < 1))
    first, last = (grey[0], grey[-1]) if grey.size else (0, 0)
    rise = shown[last] - shown[first]
    if rise > 0:
        width = (units[last] - units[first]) / rise
        low = units[first] - shown[first] * width
        return round(float(low), 6), round(float(low + width), 6)
    place = int(np.argmax(shown >= 1)) if (shown >= 1).any() else SAMPLES
    low, high = float(units[max(0, place - 1)]), float(units[place])
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _turned(plane: Plane, sign: float) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    for part in blocks(plane.values):
        yield part, sign * in_units(plane, plane.values[part])


def _step(plane: Plane, smallest: float, largest: float) -> float:
    """Units a step: one where all values are whole numbers that 16 bits hold."""
    span = largest - smallest
    if span <= DEPTH and all(_whole(units) for _, units in _turned(plane, 1.0)):
        return 1.0
    return span / DEPTH or 1.0


def _whole(units: NDArray[np.float64]) -> bool:
    finite = units[np.isfinite(units)]
    return bool((finite == np.rint(finite)).all())


def about(view: View) -> dict[str, Any]:
    """Everything but the values."""
    return {name: value for name, value in vars(view).items() if name != "values"}
