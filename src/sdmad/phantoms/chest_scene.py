"""A chest radiograph while it is drawn: attenuation, geometry, and drawing helpers.

Attenuation adds up along the beam, so ribs, vessels, heart and signs overlap as on a real
radiograph, and a film curve turns the sum into grey. Body coordinates: ``u`` to the viewer's
right and ``v`` down, the lungs spanning about -1 (apex) to 1 (base); both are separable, so
most shapes are arrays of one dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.phantoms.base import Image
from sdmad.phantoms.chest_textures import texture

Row = NDArray[np.floating[Any]]
Window = tuple[slice, slice]
Change = tuple[Window, Image]
WHOLE = (slice(None), slice(None))


def unit(values: Image) -> Image:
    """Clip an array to [0, 1]."""
    return values.clip(0, 1)


def unit_in_place(values: Image) -> Image:
    """Clip an array to [0, 1] where it lies and return it."""
    return values.clip(0, 1, out=values)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number between two others; quicker than the generator's own method."""
    return low + (high - low) * rng.random()


@dataclass(frozen=True)
class Heart:
    """Outline of heart and great vessels; lengths in body units.

    Attributes:
        left, right: how far the ventricle and the atrium reach to either side of the spine.
        middle: height ``v`` of the widest point.
        tall: half height.
        knob: how far the aortic arch stands out.
        waist: half width of the upper mediastinum.
        shift: displacement of all of it toward the viewer's right.
        trachea: displacement of the trachea.
        density: attenuation of the heart.
    """

    left: float
    right: float
    middle: float
    tall: float
    knob: float
    waist: float
    shift: float
    trachea: float
    density: float


@dataclass
class Scene:
    """A radiograph while it is drawn.

    Attributes:
        size: side in pixels.
        lean: -1 or 1; fluid gathers on side ``-lean``, volume is lost on side ``lean``.
        ku, kv: pixels a body unit.
        u, v: body coordinates of the columns and of the rows.
        tissue: attenuation without air, ``(size, size)``.
        depth: share of the beam's path in lung, before the diaphragm's cut.
        edge: height ``v`` of the diaphragm in each column.
        low, high: for side -1 and 1, each row's medial and lateral lung border in pixels.
        gain, fog, top: film curve.
        heart: heart outline, ``None`` from the side.
        attenuation: the sum so far.
        hila: pixel position (row, column) of the hilum for side -1 and 1.
        turned: 1 or -1, the side toward which the patient's back points in a lateral view.
        shadow: attenuation of the heart as it stands, kept for signs that change it.
    """

    size: int
    lean: int
    ku: float
    kv: float
    u: Row
    v: Row
    tissue: Image
    depth: Image
    edge: Row
    low: dict[int, Row]
    high: dict[int, Row]
    gain: float
    fog: float
    top: float
    heart: Heart | None
    attenuation: Image
    hila: dict[int, tuple[float, float]]
    turned: int = 1
    shadow: Image | None = None

    def show(self, attenuation: Image) -> Image:
        """Film curve: attenuation to grey in [0, 1]."""
        x = attenuation * self.gain
        x *= x
        x /= x + 1
        x *= self.top - self.fog
        x += self.fog
        return x

    def row(self, v: float) -> float:
        """Pixel row of height ``v``."""
        return float((v - self.v[0]) * self.kv)

    def col(self, u: float) -> float:
        """Pixel column of position ``u``."""
        return float((u - self.u[0]) * self.ku)

    def cut(self, edge: Row, rows: slice = slice(None)) -> Image:
        """Share of lung left above a diaphragm at ``edge``, for some rows."""
        out = (edge[None, :] - self.v[rows, None]) * (self.kv / 2.2)
        out += 0.5
        return unit_in_place(out)

    def air(self) -> Image:
        """Lung air: depth above the diaphragm, ``(size, size)``."""
        return self.depth * self.cut(self.edge)

    def floor(self, u: float) -> float:
        """Height of the diaphragm at ``u``."""
        return float(self.edge[min(max(int(self.col(u)), 0), self.size - 1)])

    def place(
        self,
        rng: np.random.Generator,
        side: int = 0,
        height: tuple[float, float] = (0.12, 0.9),
        across: tuple[float, float] = (0.2, 0.85),
        *,
        dry: bool = True,
    ) -> tuple[float, float, int]:
        """Draw a place in a lung: (row, column, side).

        Args:
            rng: source of the draw.
            side: -1, 1, or 0 for either.
            height: range between apex (0) and diaphragm (1).
            across: range between the medial (0) and the lateral border (1).
            dry: stay in the upper lung on the side where fluid would gather.
        """
        side = side or (1 if rng.random() < 0.5 else -1)
        low, high = height
        if dry and side == -self.lean:
            high = max(min(high, 0.5), low + 0.08)
        f, g = between(rng, low, high), between(rng, *across)
        top = -0.97
        row = self.row(top + f * (self.floor(0.5 * side) - top))
        index = min(max(int(row), 0), self.size - 1)
        a, b = float(self.low[side][index]), float(self.high[side][index])
        col = min(max(a + (b - a) * g, 2.0), self.size - 3.0)
        below = self.row(float(self.edge[int(col)])) - 3
        return min(max(row, 2.0), below, self.size - 3.0), col, side

    def window(self, row: float, col: float, tall: float, wide: float) -> Window:
        """Window of half height ``tall`` and half width ``wide`` pixels, clipped to the picture."""
        n = self.size
        r0, r1 = int(min(max(row - tall, 0), n - 2)), int(min(max(row + tall + 1, 2), n))
        c0, c1 = int(min(max(col - wide, 0), n - 2)), int(min(max(col + wide + 1, 2), n))
        return slice(r0, max(r1, r0 + 2)), slice(c0, max(c1, c0 + 2))

    def offsets(self, window: Window, row: float, col: float) -> tuple[Image, Image]:
        """Distances in pixels from a point: a column of rows and a row of columns."""
        rows = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None] - row
        cols = np.arange(window[1].start, window[1].stop, dtype=np.float32)[None, :] - col
        return rows, cols


def splat(target: Image, rows: Row, cols: Row, value: float) -> None:
    """Add thin curves, given as points about a pixel apart, to ``target`` with soft edges."""
    n, m = target.shape
    r, c = rows.astype(np.int64), cols.astype(np.int64)
    good = (rows >= 0) & (cols >= 0) & (r < n - 1) & (c < m - 1)
    r, c, fr, fc = r[good], c[good], (rows - r)[good], (cols - c)[good]
    flat = target.reshape(-1)
    at = r * m + c
    for step, weight in (
        (0, (1 - fr) * (1 - fc)), (1, (1 - fr) * fc), (m, fr * (1 - fc)), (m + 1, fr * fc),
    ):  # fmt: skip
        flat[at + step] += (weight * value).astype(np.float32)


def add_ellipse(scene: Scene, centre: tuple[float, float], radii: tuple[float, float], edge: float,
             add: float) -> None:  # fmt: skip
    """Add a soft ellipse at body position (v, u), radii in body units, edge 0 (sharp) to 1."""
    row, col = scene.row(centre[0]), scene.col(centre[1])
    tall, wide = radii[0] * scene.kv, radii[1] * scene.ku
    if not (-tall < row < scene.size + tall and -wide < col < scene.size + wide):
        return
    window = scene.window(row, col, tall, wide)
    dr, dc = scene.offsets(window, row, col)
    near = 1 - (dr / tall) ** 2 - (dc / wide) ** 2
    near *= 1 / max(edge, 0.05)
    scene.attenuation[window] += unit_in_place(near) * add


def heart_field(scene: Scene, heart: Heart) -> Image:
    """Attenuation of heart, great vessels and (negative) trachea, shape ``(size, size)``."""
    u, v = scene.u[None, :], scene.v
    fall = np.sqrt(unit(1 - ((v - heart.middle) / heart.tall) ** 2))
    arch = heart.knob * unit(1 - ((v + 0.45) / 0.16) ** 2) ** 0.6
    trunk = 0.5 * heart.left * np.exp(-(((v + 0.12) / 0.25) ** 2))
    rest = heart.waist * (1 + 0.35 * unit(-v - 0.8))
    left = np.maximum(np.maximum(heart.left * fall, rest + arch), trunk)
    right = np.maximum(heart.right * fall**0.8, rest * 0.95)
    centre = (left - right) / 2 + heart.shift
    half = (left + right) / 2
    apart = np.abs(u - centre[:, None])
    apart /= half[:, None]
    sharp = (half * scene.ku / 3.0)[:, None].astype(np.float32)
    cover = unit((1 - apart) * sharp + 0.3)
    apart *= apart
    np.subtract(1.25, apart, out=apart)
    np.maximum(apart, 0.3, out=apart)
    apart *= cover
    strength = heart.density * np.clip(0.62 + 0.38 * (v + 0.3) / 0.6, 0.5, 1)
    apart *= strength[:, None].astype(np.float32)
    pipe = unit(1 - ((scene.u - heart.trachea) / 0.085) ** 2)
    dark = 0.45 * unit((-0.12 - v) / 0.15)
    apart -= dark[:, None].astype(np.float32) * pipe[None, :]
    return apart


def moved_heart(scene: Scene, **changes: float) -> Image:
    """Change the heart's outline in the scene; returns the change in attenuation."""
    assert scene.heart is not None
    assert scene.shadow is not None
    scene.heart, before = replace(scene.heart, **changes), scene.shadow
    scene.shadow = heart_field(scene, scene.heart)
    return scene.shadow - before


def either(rng: np.random.Generator) -> int:
    """Draw a side, -1 or 1."""
    return 1 if rng.random() < 0.5 else -1


def reach(scene: Scene, side: int) -> Row:
    """Distance of each column from the midline toward ``side``, or toward the back."""
    if scene.heart is None:
        return scene.u * scene.turned + np.float32(0.15)
    return scene.u * side


def half_of(scene: Scene, side: int) -> slice:
    """Columns of the lung on ``side``."""
    if scene.heart is None:
        return slice(None)
    middle = min(max(int(scene.col(0)), 2), scene.size - 2)
    return slice(middle, None) if side > 0 else slice(0, middle)


def spot(scene: Scene, window: Window, row: float, col: float, tall: float, wide: float) -> Image:
    """Squared distance from a place, 1 on an ellipse of the given half axes in pixels."""
    dr, dc = scene.offsets(window, row, col)
    return np.asarray((dr / tall) ** 2 + (dc / wide) ** 2, dtype=np.float32)


def rough(scene: Scene, rng: np.random.Generator, name: str, window: Window) -> Image:
    """Crop of a ready-made texture of a window's shape."""
    rows, cols = (len(range(*part.indices(scene.size))) for part in window)
    return texture(rng, name, scene.size, rows, cols)


def local_air(scene: Scene, window: Window) -> Image:
    """Lung air in a part of the picture."""
    air = scene.cut(scene.edge[window[1]], window[0])
    air *= scene.depth[window]
    return air
