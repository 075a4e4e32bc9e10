"""What scanners, detectors, viewers and archives do to a picture's intensities.

Each effect takes a float32 picture, shape ``(size, size)``, about 0 to 1, and a generator, and
returns a new picture. Lengths are shares of the picture and frequencies are waves across it, so
that an effect looks alike at every size. Apart from :func:`invert` every effect keeps bright
above dark, for the wordings of signs speak of bright and dark.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image as PILImage
from scipy import ndimage

from sdmad.phantoms.base import Image, grid, smooth_noise

Effect = Callable[[Image, np.random.Generator], Image]
LEVELS = 2048
GRAINS = (24, 40, 64, 96, 128)
LEAST_SPREAD = 0.3


def _look_up(image: Image, table: Image) -> Image:
    """Send intensities through a table of ``LEVELS`` values for 0 to 1."""
    index = (np.clip(image, 0, 1) * (LEVELS - 1)).astype(np.intp)
    return np.asarray(table.astype(np.float32).take(index))


def curve(image: Image, rng: np.random.Generator) -> Image:
    """A smooth rising intensity curve: other sequences, films, displays.

    Its slope is drawn at 4 to 7 intensities, each 0.4 to 2.5 times a middle one, so that what
    differs before differs afterwards.
    """
    knots = int(rng.integers(4, 8))
    slopes = np.exp(np.clip(0.6 * rng.standard_normal(knots), -0.9, 0.9))
    slope = np.interp(np.linspace(0, 1, LEVELS), np.linspace(0, 1, knots), slopes)
    table = np.cumsum(slope)
    return _look_up(image, table / table[-1])


def equalise(image: Image, rng: np.random.Generator) -> Image:
    """Histogram equalisation, mixed with the picture as it was."""
    counts, _ = np.histogram(image, bins=64, range=(0.02, 1))
    share = np.concatenate([[0, 0], np.cumsum(counts) / max(counts.sum(), 1)])
    levels = np.concatenate([[0], np.linspace(0.02, 1, 65)])
    axis = np.linspace(0, 1, LEVELS)
    mixed = axis + rng.uniform(0.2, 0.5) * (np.interp(axis, levels, share) - axis)
    return _look_up(image, mixed)


def fade(image: Image, rng: np.random.Generator) -> Image:
    """A washed-out display: black is grey, or white is."""
    low = rng.uniform(0, 0.3)
    return np.asarray(low + image * (rng.uniform(max(low + 0.45, 0.6), 1) - low), np.float32)


def invert(image: Image, _rng: np.random.Generator) -> Image:
    """White on black shown black on white."""
    return 1 - np.clip(image, 0, 1)


def shading(image: Image, rng: np.random.Generator) -> Image:
    """Uneven sensitivity: a slope across, a bright place near a coil, or a blotchy field."""
    size = image.shape[0]
    y, x = grid(size)
    kind = rng.integers(3)
    if kind == 0:
        angle = rng.uniform(0, 2 * np.pi)
        field = np.cos(angle) * x + np.sin(angle) * y
    elif kind == 1:
        row, column = rng.uniform(-1.2, 1.2, 2)
        field = 2 / (1 + ((y - row) ** 2 + (x - column) ** 2) * rng.uniform(0.5, 2)) - 1
    else:
        field = smooth_noise(rng, size, int(rng.integers(1, 6))) / 2
    return np.asarray(image * np.exp(rng.uniform(0.15, 0.45) * np.clip(field, -1, 1)), np.float32)


def grain(image: Image, rng: np.random.Generator) -> Image:
    """One or two fields of grain, fine to middling, round or drawn out, that add or multiply."""
    for _ in range(int(rng.integers(1, 3))):
        down = int(rng.choice(GRAINS))
        across = int(rng.choice(GRAINS)) if rng.random() < 0.5 else down
        field = smooth_noise(rng, image.shape[0], down, across)
        if rng.random() < 0.6:
            image = image * (1 + rng.uniform(0.03, 0.14) * field)
        else:
            image = image + rng.uniform(0.01, 0.045) * field
    return image


def magnitude(image: Image, rng: np.random.Generator) -> Image:
    """Noise of a complex signal whose magnitude is shown: it lifts the dark background."""
    deviation = np.float32(rng.uniform(0.01, 0.06))
    real, imaginary = deviation * rng.standard_normal((2, *image.shape), np.float32)
    return np.hypot(image + real, imaginary)


def bands(image: Image, rng: np.random.Generator) -> Image:
    """Stripes of any direction and width, or lines that each have an offset of their own."""
    size = image.shape[0]
    if rng.random() < 0.4:
        lines = np.float32(rng.uniform(0.006, 0.03)) * rng.standard_normal((size,), np.float32)
        return image + (lines[:, None] if rng.random() < 0.6 else lines)
    y, x = grid(size)
    angle, waves = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(90)))
    phase = (np.cos(angle) * x + np.sin(angle) * y) * (np.pi * waves) + rng.uniform(0, 6)
    return np.asarray(image + rng.uniform(0.008, 0.035) * np.sin(phase), np.float32)


def ringing(image: Image, rng: np.random.Generator) -> Image:
    """Waves beside sharp edges: frequencies above a bound were never measured."""
    bound = int(rng.uniform(34, 75))
    for axis in (0, 1) if rng.random() < 0.5 else (int(rng.integers(2)),):
        spectrum = np.fft.rfft(image, axis=axis)
        where: list[slice] = [slice(None), slice(None)]
        where[axis] = slice(bound, None)
        spectrum[tuple(where)] = 0
        image = np.fft.irfft(spectrum, image.shape[axis], axis=axis).astype(np.float32)
    return image


def ghost(image: Image, rng: np.random.Generator) -> Image:
    """One or two faint copies, displaced along one axis and wrapped around."""
    size, axis = image.shape[0], int(rng.integers(2))
    shift = int(rng.uniform(0.03, 0.5) * size)
    strength = rng.uniform(0.03, 0.13)
    copy = np.roll(image, shift, axis)
    if rng.random() < 0.5:
        copy = (copy + np.roll(image, -shift, axis)) / 2
    return np.asarray((image + strength * copy) / (1 + strength / 2), np.float32)


def smear(image: Image, rng: np.random.Generator) -> Image:
    """Blur along rows or columns: thick slices, slow detectors, movement."""
    sigma = rng.uniform(0.004, 0.012) * image.shape[0]
    return np.asarray(ndimage.gaussian_filter1d(image, sigma, int(rng.integers(2)), truncate=2.5))


def sharpen(image: Image, rng: np.random.Generator) -> Image:
    """Unsharp masking by a viewer, fine or coarse, often too much of it."""
    sigma = np.exp(rng.uniform(np.log(0.004), np.log(0.03))) * image.shape[0]
    smooth = ndimage.gaussian_filter(image, sigma, truncate=2)
    return np.asarray(image + rng.uniform(0.3, 1.3) * (image - smooth), np.float32)


def flatten(image: Image, rng: np.random.Generator) -> Image:
    """Local contrast kept while wide differences shrink, as adaptive equalisation does."""
    size = image.shape[0]
    cells = int(rng.integers(4, 12))
    small = PILImage.fromarray(image).resize((cells, cells), PILImage.Resampling.BOX)
    wide = np.asarray(small.resize((size, size), PILImage.Resampling.BICUBIC))
    return np.asarray(image - rng.uniform(0.2, 0.6) * (wide - wide.mean()), np.float32)


def few_levels(image: Image, rng: np.random.Generator) -> Image:
    """Only 12 to 64 different greys."""
    levels = int(rng.integers(12, 65))
    return np.rint(image * levels) / np.float32(levels)


def resample(image: Image, rng: np.random.Generator) -> Image:
    """Storage at a lower resolution, at times not the same in rows and columns, and back."""
    size = image.shape[0]
    least = max(0.35, min(56 / size, 0.9))
    across = max(2, round(size * rng.uniform(least, 0.95)))
    down = max(2, round(size * rng.uniform(least, 0.95))) if rng.random() < 0.3 else across
    ways = PILImage.Resampling
    first = (ways.BOX, ways.BILINEAR, ways.NEAREST)[rng.integers(3)]
    back = (ways.NEAREST, ways.BILINEAR, ways.BICUBIC)[rng.integers(3)]
    small = PILImage.fromarray(np.asarray(image, np.float32)).resize((across, down), first)
    return np.asarray(small.resize((size, size), back))


def keep_visible(image: Image) -> Image:
    """Stretch a picture whose darkest and brightest parts have come too close to each other."""
    low, high = np.percentile(np.clip(image[::3, ::3], 0, 1), (1, 99.5))
    if high - low >= LEAST_SPREAD:
        return image
    stretched = (image - low) * (LEAST_SPREAD / max(high - low, 0.02))
    return np.asarray(stretched + min(low, 1 - LEAST_SPREAD), np.float32)


IN_SCANNER: dict[str, Effect] = {
    "curve": curve, "shading": shading, "ghost": ghost, "smear": smear, "ringing": ringing,
    "grain": grain, "magnitude": magnitude,
}  # fmt: skip
"""Effects that come before the noise, in this order."""

IN_EXPORT: dict[str, Effect] = {
    "bands": bands, "sharpen": sharpen, "flatten": flatten, "resample": resample,
    "equalise": equalise, "fade": fade, "few_levels": few_levels, "invert": invert,
}  # fmt: skip
"""Effects that come after the noise, in this order."""
