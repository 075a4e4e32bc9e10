"""What ultrasound phantoms share: fields of view, speckle, and shapes in a plane of echoes.

A picture is drawn as *levels*: log-compressed echo strength, 0 black and 1 white, some 60 dB
apart. Speckle is multiplicative and therefore added to levels; so are attenuation, shadows and
enhancement. Lengths are in half picture sides (the picture spans 2), depth runs along the beams
from the probe's face, and ``beam`` counts from -1 to 1 across them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from sdmad.phantoms.base import Image, Mask, grid, smooth_noise

Curve = NDArray[np.float32]
Box = tuple[slice, slice]
Indices = NDArray[np.intp]
RANGE = 60.0  # decibels between black and white
ANGLES = 360


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


@dataclass
class Scan:
    """State of a picture while anatomy and signs are drawn.

    Attributes:
        view: the field of view.
        level: log-compressed echo strength, shape ``(size, size)``.
        edges: depth of each layer's lower edge by beam, name to shape ``(size,)``.
        taken: row, column and reach of what has been placed.
        solid: solid lesions drawn, to which a shadow, a rind or calcifications attach.
    """

    view: View
    level: Image
    edges: dict[str, Curve] = field(default_factory=dict)
    taken: list[tuple[float, float, float]] = field(default_factory=list)
    solid: list[Lesion] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        return len(self.level)

    @property
    def pixel(self) -> float:
        """Length of a pixel of the 128 px picture."""
        return 2 / 128

    def under(self, edge: str) -> Image:
        """Depth below a layer's lower edge, shape ``(size, size)``."""
        return np.asarray(self.view.depth - self.edges[edge][self.view.column])

    def texture(self, rng: np.random.Generator, name: str, depth: Image) -> Image:
        """A ready-made texture whose rows follow ``depth``, shape ``(size, size)``."""
        pool = texture_pool(self.size)[name]
        side = pool.shape[1]
        plate, down, right = (int(n) for n in rng.integers(0, (len(pool), side, side)))
        row = (depth * np.float32(self.size / 2)).astype(np.intp) + down + 2 * side
        col = self.view.column if rng.random() < 0.5 else self.size - 1 - self.view.column
        return np.asarray(pool[plate].ravel()[row % side * side + (col + right) % side])

    def edge_at(self, edge: str, beam: float) -> float:
        """Depth of a layer's lower edge at one beam."""
        index = int(np.clip((beam + 1) / 2 * self.size, 0, self.size - 1))
        return float(self.edges[edge][index])

    def find_place(
        self, rng: np.random.Generator, reach: float, upper: str, lower: str
    ) -> tuple[float, float, float]:
        """A free place between two layer edges, for something smaller where there is no room.

        Args:
            rng: source of the draw.
            reach: radius of what will stand there.
            upper: name of the edge above.
            lower: name of the edge below.

        Returns:
            Row and column coordinates, and the factor on the reach, 0.5 to 1.
        """
        best, found = -np.inf, (0.0, 0.0, 1.0)
        for attempt in range(24):
            scale = max(1 - 0.15 * (attempt // 6), 0.5)
            row, col = self._somewhere(rng, scale * reach, upper, lower)
            gaps = (np.hypot(row - r, col - c) - scale * reach - o for r, c, o in self.taken)
            free = min([*gaps, 0.0])
            if free > best:
                best, found = free, (row, col, scale)
            if best == 0:
                break
        row, col, scale = found
        self.taken.append((row, col, scale * reach))
        return found

    def _somewhere(
        self, rng: np.random.Generator, reach: float, upper: str, lower: str
    ) -> tuple[float, float]:
        """Row and column coordinates of any place between two layer edges."""
        beam = rng.uniform(-0.72, 0.72)
        high, low = self.edge_at(upper, beam), self.edge_at(lower, beam)
        slack = max((low - high) / 2 - 0.75 * reach, 0.0)
        depth = (high + low) / 2 + rng.uniform(-1, 1) * slack
        return self.view.at(beam, float(np.clip(depth, reach + 0.12, 1.75 - reach)))

    def box(self, row: float, col: float, reach: float) -> Box:
        """Slices of the pixels within ``reach`` of a place."""

        def cut(centre: float) -> slice:
            low, high = ((centre + s * reach + 1) / 2 * self.size for s in (-1, 1))
            return slice(int(np.clip(low, 0, self.size)), int(np.clip(high + 1, 0, self.size)))

        return cut(row), cut(col)


@dataclass(frozen=True)
class Lesion:
    """A closed shape.

    Attributes:
        row, col: centre.
        across, down: half axes.
        turn: rotation in radians.
        outline: factor on the radius by angle, shape ``(360,)``.
    """

    row: float
    col: float
    across: float
    down: float
    turn: float = 0.0
    outline: Curve = field(default_factory=lambda: np.ones(ANGLES, np.float32))

    @property
    def reach(self) -> float:
        """Radius of a circle that holds the shape."""
        return float(max(self.across, self.down) * self.outline.max())

    def measure(self, scan: Scan, spare: float = 0.06) -> tuple[Box, Image, Indices, Image]:
        """Box around the shape, and in it depth under the outline, angle, and height.

        Args:
            scan: where it lies.
            spare: how far the box reaches beyond the outline.

        Returns:
            The box; distance to the outline, positive inside; index of the angle, 0 to 359;
            and the place from the shape's lower (1) to its upper end (-1).
        """
        box = scan.box(self.row, self.col, self.reach + spare)
        y, x = grid(scan.size)
        v, h = y[box] - np.float32(self.row), x[box] - np.float32(self.col)
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        a, b = (h * cos + v * sin) / self.across, (v * cos - h * sin) / self.down
        far = np.hypot(a, b)
        angle = (np.arctan2(b, a) * np.float32(ANGLES / 2 / np.pi)).astype(np.intp) % ANGLES
        edge = self.outline[angle]
        length = np.hypot(h, v) / np.maximum(far, 1e-3)
        return box, np.asarray((edge - far) * length, np.float32), angle, v / self.down

    def cover(self, scan: Scan, inside: Image, soft: float = 1.0) -> Image:
        """Share of each pixel within the outline; ``soft`` is the edge's width in 128 px pixels."""
        return np.clip(inside / np.float32(soft * scan.pixel) + np.float32(0.5), 0, 1)


def beneath(scan: Scan, lesion: Lesion, amount: float, length: float, soft: float = 0.3) -> Image:
    """Change of level along the beams behind a shape, shape ``(size, size)``.

    Args:
        scan: where the shape lies.
        lesion: the shape.
        amount: change of level right behind it; below 0 is a shadow.
        length: depth over which the change falls to a third.
        soft: share of the half width over which the sides fade.
    """
    beam, depth = scan.view.place(lesion.row, lesion.col)
    half = lesion.across / scan.view.width(depth)
    side = np.abs(scan.view.beam - np.float32(beam)) / np.float32(half)
    bottom = np.float32(depth) + lesion.down * np.sqrt(np.clip(1 - side * side, 0, 1))
    behind = np.asarray(scan.view.depth - bottom)
    fade = np.clip((1.08 - side) / soft, 0, 1) * np.clip(behind / 0.12 + 1, 0, 1)
    change = np.asarray(amount * fade * np.exp(-np.maximum(behind, 0) / length), np.float32)
    box, inside, _, _ = lesion.measure(scan)
    change[box] *= 1 - lesion.cover(scan, inside, 2.0)
    return change
