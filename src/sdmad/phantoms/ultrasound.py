"""What ultrasound phantoms are made of: fields of view, gain, speckle and tissue textures.

A picture is drawn as *levels*: log-compressed echo strength, 0 black and 1 white, some 60 dB
apart. Speckle is multiplicative and therefore added to levels; so are attenuation, shadows and
enhancement. Lengths are in half picture sides (the picture spans 2), depth runs along the beams
from the probe's face, and ``beam`` counts from -1 to 1 across them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from sdmad.phantoms.base import Image, Mask, grid, smooth_noise, wave

Curve = NDArray[np.float32]
Indices = NDArray[np.intp]
RANGE = 60.0  # decibels between black and white


@dataclass(frozen=True)
class View:
    """The field of view.

    Attributes:
        depth: distance from the probe's face along the beam, shape ``(size, size)``.
        beam: place across the beams, -1 to 1, same shape.
        column: index of the beam among ``size``, same shape.
        inside: whether a pixel shows tissue, same shape.
        radius: of the probe's face; 0 for a flat one.
        spread: half the width of a flat field, or half the opening angle of a curved one.
        top: row coordinate of the flat face, or of the centre of curvature.
        middle: column coordinate of the central beam.
    """

    depth: Image
    beam: Image
    column: Indices
    inside: Mask
    radius: float
    spread: float
    top: float
    middle: float

    def at(self, beam: float, depth: float) -> tuple[float, float]:
        """Row and column coordinates of a place in the field."""
        if self.radius == 0:
            return self.top + depth, self.middle + beam * self.spread
        reach, angle = self.radius + depth, beam * self.spread
        return self.top + reach * np.cos(angle), self.middle + reach * np.sin(angle)

    def place(self, row: float, col: float) -> tuple[float, float]:
        """Beam and depth of row and column coordinates: the inverse of :meth:`at`."""
        if self.radius == 0:
            return (col - self.middle) / self.spread, row - self.top
        angle = np.arctan2(col - self.middle, row - self.top)
        return float(angle / self.spread), float(np.hypot(row - self.top, col - self.middle)) - (
            self.radius
        )

    def width(self, depth: float) -> float:
        """Length across that one unit of ``beam`` spans at a depth."""
        return self.spread * (self.radius + depth if self.radius else 1.0)


def _indices(beam: Image, size: int) -> Indices:
    return np.clip((beam + 1) * (size / 2), 0, size - 1).astype(np.intp)


def linear_view(rng: np.random.Generator, size: int) -> View:
    """Flat probe: a rectangle, in three pictures of ten with black margins."""
    y, x = grid(size)
    top, bottom, spread, middle = -1.0, 1.0, 1.0, 0.0
    if rng.random() < 0.3:
        top += rng.uniform(0, 0.12)
        bottom -= rng.uniform(0, 0.15)
        spread -= rng.uniform(0, 0.16)
        middle = rng.uniform(-1, 1) * (1 - spread)
    beam = np.asarray((x - middle) / spread, np.float32)
    inside = (np.abs(beam) <= 1) & (y >= top) & (y <= bottom)
    depth = np.asarray(y - np.float32(top))
    return View(depth, beam, _indices(beam, size), inside, 0.0, spread, top, middle)


def curved_view(rng: np.random.Generator, size: int) -> View:
    """Convex probe: a part of a ring, black outside."""
    y, x = grid(size)
    radius, margin = rng.uniform(0.8, 1.9), rng.uniform(0.0, 0.12)
    angle = np.arcsin(min(rng.uniform(0.95, 1.12) / (radius + 1.7), 0.8))
    top, middle = -1 + margin - radius * np.cos(angle), rng.uniform(-0.05, 0.05)
    reach = 1 - rng.uniform(0.0, 0.1) - top
    far = np.hypot(y - np.float32(top), x - np.float32(middle))
    beam = np.arctan2(x - np.float32(middle), y - np.float32(top)) / np.float32(angle)
    inside = (np.abs(beam) <= 1) & (far >= radius) & (far <= reach)
    depth = np.asarray(far - np.float32(radius))
    return View(depth, beam, _indices(beam, size), inside, radius, float(angle), top, middle)


def _speckle_plate(rng: np.random.Generator, rows: int, cols: int, pixel: float) -> Image:
    """Log magnitude of a complex Gaussian field behind a point-spread function.

    The function is narrow across the beams at the focus and widens away from it. One to three
    independent looks are averaged, as compounding does.
    """
    axial, focus = rng.uniform(0.4, 0.7) * pixel, rng.uniform(0.25, 0.75)
    narrow, wide = rng.uniform(0.75, 1.2) * pixel, rng.uniform(1.7, 2.8) * pixel
    far = np.abs(np.linspace(0, 1, rows, dtype=np.float32) - focus)[:, None]
    share = np.clip(far * 1.6, 0, 1)
    power = np.zeros((rows, cols), np.float32)
    looks = int(rng.integers(1, 4))
    for _ in range(2 * looks):  # real and imaginary part of each look
        white = rng.standard_normal((rows, cols), dtype=np.float32)
        sharp, broad = (
            ndimage.gaussian_filter(white, (axial, across), mode="wrap", truncate=3)
            for across in (narrow, wide)
        )
        part = (1 - share) * sharp / sharp.std() + share * broad / broad.std()
        power += (part / part.std(axis=1, keepdims=True)) ** 2
    log = 10 * np.log10(np.maximum(power, 1e-4)) / RANGE
    return np.asarray(np.maximum(log - log.mean(), -0.6), np.float32)


@lru_cache(maxsize=4)
def speckle_pool(size: int) -> Image:
    """Ready-made speckle of zero mean by depth and beam, ``(plates, size, 2 * size)``."""
    rng = np.random.default_rng(31)
    plates = 12 if size <= 256 else 2
    return np.stack([_speckle_plate(rng, size, 2 * size, size / 128) for _ in range(plates)])


def _cells(rng: np.random.Generator, side: int, count: tuple[int, int], broken: float) -> Image:
    """Curved walls between flat rounded cells, 0 to 1; ``broken`` lets them fade here and there."""
    pixel = side / 192
    pitch, tall = side / int(rng.integers(*count)), float(rng.uniform(1.7, 2.4))
    y, x = np.meshgrid(
        np.arange(0, tall * side - 1, pitch), np.arange(0, side - 1, pitch), indexing="ij"
    )
    seeds = np.stack([y, x], -1).reshape(-1, 2) + rng.uniform(-0.45, 0.45, (y.size, 2)) * pitch
    rows, cols = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    bend, period = rng.uniform(3.0, 6.0) * pixel, np.array([tall * side, side])
    rows = tall * rows + bend * smooth_noise(rng, side, 12)
    cols = cols + bend * smooth_noise(rng, side, 12)
    points = np.stack([rows.ravel(), cols.ravel()], 1) % period
    near, _ = spatial.cKDTree(seeds % period, boxsize=period).query(points, k=2)
    gap = (near[:, 1] - near[:, 0]).reshape(side, side)
    thick = pixel * rng.uniform(2.0, 3.2) * np.clip(1 + 0.4 * smooth_noise(rng, side, 7), 0.5, 1.7)
    wall = np.exp(-((gap / thick) ** 2))
    whole = np.clip(1 - broken * (0.7 - smooth_noise(rng, side, 9)), 0.05, 1)
    return np.asarray(wall * whole, np.float32)


def _streaks(rng: np.random.Generator, side: int, tall: float, long: float) -> Image:
    """Smooth noise drawn out along the surface, zero mean and unit deviation."""
    white = rng.standard_normal((side, side), dtype=np.float32)
    pixel = side / 192
    found = ndimage.gaussian_filter(white, (tall * pixel, long * pixel), mode="wrap")
    return np.asarray((found - found.mean()) / found.std(), np.float32)


@lru_cache(maxsize=4)
def texture_pool(size: int) -> dict[str, Image]:
    """Ready-made tissue textures, each of shape ``(plates, 1.5 * size, 1.5 * size)``.

    ``cells``: walls between fat lobules and ``net``: a closer and whole net of them, 0 to 1; of
    zero mean and unit deviation are ``gland`` (stroma with flat dark islands), ``fibres`` (long
    thin lines) and ``cloud`` (round blobs).
    """
    rng = np.random.default_rng(37)
    side = 3 * size // 2
    drawn = min(side, 384)
    pool: dict[str, list[Image]] = {
        name: [] for name in ("cells", "net", "gland", "fibres", "cloud")
    }
    for _ in range(8 if size <= 256 else 2):
        pool["cells"].append(_cells(rng, drawn, (6, 10), 0.55))
        pool["net"].append(_cells(rng, drawn, (9, 14), 0.3))
        gland = _streaks(rng, drawn, 3.0, 6.5) + 0.7 * _streaks(rng, drawn, 1.2, 3.2)
        pool["gland"].append(gland / 1.22)
        pool["fibres"].append(_streaks(rng, drawn, 0.8, 14.0))
        pool["cloud"].append(_streaks(rng, drawn, 2.6, 2.6))
    scale = side / drawn
    return {
        name: np.stack(
            [p if scale == 1 else ndimage.zoom(p, scale, order=1, mode="wrap") for p in plates]
        )
        for name, plates in pool.items()
    }


def beam_gain(rng: np.random.Generator, view: View, size: int) -> Image:
    """Gain along and across the beams: time gain, focus, contact and streaks."""
    depth, across = view.depth, np.linspace(-1, 1, size, dtype=np.float32)
    columns = 0.012 * wave(rng, size, 50) + 0.025 * wave(rng, size, 8)
    if rng.random() < 0.35:  # poor contact at one side
        side = 1 if rng.random() < 0.5 else -1
        columns = columns - rng.uniform(0.1, 0.3) * np.clip((side * across - 0.7) / 0.25, 0, 1)
    lines = rng.uniform(-0.85, 0.85, int(rng.integers(0, 4)))
    for place in lines:  # refraction at a ligament leaves a faint shadow
        width = rng.uniform(0.02, 0.06)
        shade = rng.uniform(0.03, 0.1) * np.exp(-(((across - place) / width) ** 2))
        columns = columns - shade
    slope, focus = rng.uniform(-0.16, 0.04), rng.uniform(0.4, 1.2)
    along = slope * depth + 0.05 * np.exp(-(((depth - focus) / 0.35) ** 2))
    reverberation = rng.uniform(0.0, 0.12) * np.exp(-depth / 0.05)
    reach = np.clip((depth - 0.15) / 0.4, 0, 1)
    gain = along + reverberation + rng.uniform(-0.07, 0.07)
    return np.asarray(gain + columns.astype(np.float32)[view.column] * reach, np.float32)


def speckle(rng: np.random.Generator, view: View, size: int) -> Image:
    """Speckle of a picture, to be added to its levels, shape ``(size, size)``."""
    pool = speckle_pool(size)
    plate, right = (int(n) for n in rng.integers(0, (len(pool), size)))
    strength = rng.uniform(0.75, 1.1)
    if view.radius == 0:
        return pool[plate, :, right : right + size] * np.float32(strength)
    row = np.clip(view.depth * (size / 2), 0, size - 1).astype(np.intp)
    return pool[plate].ravel()[row * 2 * size + view.column + right] * np.float32(strength)
