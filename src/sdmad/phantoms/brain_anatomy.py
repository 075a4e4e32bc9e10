"""The normal head of the brain MRI phantom: contrasts, skull layers, folds and drawing tools.

All structures live in head coordinates: the unit is half the height of the cranium, ``u`` runs
to the right of the picture and ``v`` downwards. ``radius`` is 1 on the outer surface of the head.
Structures that come in pairs are drawn once in ``fold``, the distance from the midline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sdmad.phantoms.base import Image, Mask, grid, smooth_noise

Window = tuple[slice, slice]
Field = NDArray[np.floating[Any]]
Points = Sequence[tuple[float, float, float]]

# Mean intensities of each sequence, from the textbook order of the tissues' signals.
SEQUENCES: dict[str, dict[str, float]] = {
    "t1": {"fat": 0.85, "marrow": 0.5, "csf": 0.12, "grey": 0.4, "white": 0.6, "vessel": 0.1},
    "t2": {"fat": 0.5, "marrow": 0.3, "csf": 0.92, "grey": 0.5, "white": 0.35, "vessel": 0.08},
    "flair": {"fat": 0.55, "marrow": 0.3, "csf": 0.08, "grey": 0.52, "white": 0.4, "vessel": 0.1},
    "t1c": {"fat": 0.7, "marrow": 0.42, "csf": 0.12, "grey": 0.4, "white": 0.5, "vessel": 0.95},
}


def draw_tissue(rng: np.random.Generator, sequence: str) -> dict[str, float]:
    """Draw the tissue intensities of one examination.

    Args:
        rng: source of the draw.
        sequence: one of :data:`SEQUENCES`.

    Returns:
        Intensity in [0, 1] by tissue; ``bright`` is what a lesion of high signal shows.
    """
    gain = rng.uniform(0.78, 1.1)
    tissue = {k: m * gain * rng.uniform(0.9, 1.1) for k, m in SEQUENCES[sequence].items()}
    contrast = rng.uniform(0.7, 1.7)
    middle = (tissue["grey"] + tissue["white"]) / 2
    for name in ("grey", "white"):
        tissue[name] = middle + contrast * (tissue[name] - middle)
    tissue["fat"] *= (0.4, 0.75, 1.0, 1.0, 1.15)[int(rng.integers(5))]
    tissue["marrow"] *= rng.uniform(0.35, 1.15)
    tissue["bone"] = rng.uniform(0.02, 0.08)
    tissue["air"] = rng.uniform(0.0, 0.04)
    tissue["muscle"] = middle * rng.uniform(0.5, 0.8)
    tissue["deep"] = tissue["grey"] + rng.uniform(-0.15, 0.35) * (tissue["white"] - tissue["grey"])
    tissue["bright"] = max(tissue["grey"], tissue["white"]) + rng.uniform(0.3, 0.42)
    return {k: min(max(float(m), 0.0), 1.0) for k, m in tissue.items()}


_STEPS = np.linspace(0, 1.5, 768)
_ZERO, _ONE = np.zeros((), np.float32), np.ones((), np.float32)


def unit(values: Field) -> Image:
    """Clip to [0, 1]; on small arrays much quicker than :func:`numpy.clip`."""
    return values.clip(_ZERO, _ONE).astype(np.float32, copy=False)


def ramp(distance: Field, width: float) -> Image:
    """Coverage of the inside of a signed distance, with an edge twice ``width`` across."""
    return unit(np.float32(0.5) - distance * np.float32(0.5 / width))


def _grain(rng: np.random.Generator, side: int, width: float) -> Image:
    """Gaussian noise of unit deviation, smoothed over ``width`` pixels, without a lattice."""
    noise = rng.standard_normal((side, side), np.float32)
    noise = ndimage.gaussian_filter(noise, width, truncate=3, mode="wrap")
    return np.asarray(noise / noise.std(), np.float32)


@lru_cache(maxsize=64)
def _noise_pool(size: int, cells: int) -> Image:
    """A large smooth random field from which patches are cut; ``cells`` bumps a picture."""
    rng = np.random.default_rng([7, size, cells])
    return _grain(rng, 3 * size, 0.42 * size / cells)


def cut(rng: np.random.Generator, size: int, cells: int) -> Image:
    """Smooth noise of unit deviation for a whole picture, cut from a pool."""
    pool = _noise_pool(size, cells)
    top, left = rng.integers(0, 2 * size, 2)
    return pool[top : top + size, left : left + size]


@lru_cache(maxsize=4)
def _fold_pool(size: int) -> Image:
    """Twenty patterns of cortical folds, shape ``(20, R, R)``, over [-1.1, 1.1] of the head.

    A pattern is 1 along a sulcus and falls to -1 on the crown of a gyrus. The sulci are the zero
    lines of a random field that varies quickly along the contour and slowly towards the
    centre, so that most of them run inwards; both hemispheres share it, up to a random warp.
    """
    side = 2 * size
    axis = np.linspace(-1.1, 1.1, side, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    patterns = []
    for index in range(20):
        rng = np.random.default_rng([11, index])
        turn = np.abs(np.arctan2(x + 0.05 * smooth_noise(rng, side, 5), -y)) / np.pi
        turn = turn + 0.035 * smooth_noise(rng, side, 8)
        reach = np.hypot(x, y) + 0.06 * smooth_noise(rng, side, 6)
        lattice = rng.standard_normal((6, 27)).astype(np.float32)
        at = np.stack([np.clip(reach, 0, 1.4) * 3.2, 1 + np.clip(turn, 0, 1) * 24])
        radial = ndimage.map_coordinates(lattice, at, order=2, mode="nearest")
        outer = np.clip((reach - 0.3) / 0.35, 0, 1)
        field_ = outer * radial * 1.3 + (1.15 - 0.7 * outer) * _grain(rng, side, side / 38)
        patterns.append(np.clip(1 - 1.9 * np.abs(field_), -1, 1))
    return np.stack(patterns).astype(np.float32)


@dataclass
class Scene:
    """A picture in the making, with the fields that the sign primitives need.

    Attributes:
        image: the picture so far, shape ``(size, size)``.
        tissue: intensity by tissue.
        u, v: head coordinates, warped so that no structure is a perfect ellipse.
        fold: distance from the midline in the same units.
        radius: 1 on the outer surface of the head.
        folds: cortical fold pattern, 1 along a sulcus.
        depth: distance below the surface of the brain; negative outside.
        white: coverage by white matter.
        brain: coverage by brain, without its fluid spaces.
        opaque: coverage by fluid or lesions that haze must not paint over.
        ventricles: chains of the lateral and third ventricles, in ``(fold, v)``.
        fissures: chains of the Sylvian fissures.
        scalp, inner, surface: radius of the outer table, the inner table and the brain.
        sulcus: threshold on ``folds`` above which there is fluid at the surface.
        narrow: ratio of the cranium's width to its height.
        span: directions (radians from the top, clockwise) between which the skull is drawn.
        site: direction of an operation, within ``span``.
    """

    size: int
    centre: tuple[float, float]
    half: float
    tissue: dict[str, float]
    sequence: str
    level: str
    image: Image
    u: Image
    v: Image
    radius: Image
    folds: Image
    narrow: float
    egg: float
    scalp: float
    inner: float
    surface: float
    sulcus: float
    shift: float
    site: float
    span: tuple[float, float] = (-np.pi, np.pi)
    fold: Image = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    middle: Image = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    depth: Image = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    white: Image = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    brain: Image = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    opaque: Image = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    ventricles: list[Points] = field(default_factory=list)
    fissures: list[Points] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def pixel(self) -> float:
        """Width of a pixel in head coordinates."""
        return 2 / (self.size * self.half)

    def window(self, left: float, right: float, top: float, bottom: float) -> Window:
        """Rows and columns that hold a rectangle of head coordinates, with a margin."""
        scale = self.size / 2
        pad = 0.06

        def index(value: float, centre: float) -> int:
            return min(max(int((value * self.half + centre + 1) * scale), 0), self.size)

        rows = slice(index(top - pad, self.centre[0]), index(bottom + pad, self.centre[0]) + 1)
        columns = slice(index(left - pad, self.centre[1]), index(right + pad, self.centre[1]) + 1)
        return rows, columns

    def at(self, direction: float, radius: float) -> tuple[float, float]:
        """Head coordinates ``(u, v)`` at a radius in a direction from the top, clockwise."""
        v = -radius * np.cos(direction)
        u = radius * self.narrow * np.sin(direction) / (1 + self.egg * v)
        return float(u), float(v)

    def paint(self, window: Window, cover: Field, value: float | Field) -> None:
        """Blend ``value`` into the picture where ``cover`` is above 0."""
        self.image[window] += cover * (value - self.image[window])

    def patch(self, rng: np.random.Generator, window: Window, cells: int) -> Image:
        """Smooth noise of unit deviation for a window, ``cells`` bumps a picture."""
        pool = _noise_pool(self.size, cells)
        height = len(range(*window[0].indices(self.size)))
        width = len(range(*window[1].indices(self.size)))
        top = int(rng.integers(0, pool.shape[0] - height))
        left = int(rng.integers(0, pool.shape[1] - width))
        return pool[top : top + height, left : left + width]


def capsules(x: Image, y: Image, points: Points, grow: float = 0.0) -> Image:
    """Signed distance to the capsules that join neighbouring points, each ``(x, y, radius)``."""
    p = np.asarray(points, np.float32)
    start = p[:-1].T[:, :, None, None]
    step = (p[1:] - p[:-1]).T[:, :, None, None]
    scale = step[:2] / (step[0] * step[0] + step[1] * step[1] + np.float32(1e-9))
    dx, dy = x - start[0], y - start[1]
    t = dx * scale[0]
    t += dy * scale[1]
    t = unit(t)
    dx -= t * step[0]
    dy -= t * step[1]
    dx *= dx
    dy *= dy
    dx += dy
    np.sqrt(dx, out=dx)
    t *= step[2]
    dx -= t
    dx -= start[2] + np.float32(grow)
    return np.asarray(dx.min(axis=0), np.float32)


def curve(points: Points) -> Points:
    """Cut the corners of a chain once, so that it bends more gently."""
    p = np.asarray(points, np.float32)
    cut_corners = np.stack([0.75 * p[:-1] + 0.25 * p[1:], 0.25 * p[:-1] + 0.75 * p[1:]], 1)
    rounded = cut_corners.reshape(-1, 3)[1:-1].tolist()
    return [points[0], *[(a, b, c) for a, b, c in rounded], points[-1]]


def chain(
    scene: Scene, points: Points, grow: float = 0.0, paired: bool = True
) -> tuple[Window, Image]:
    """Signed distance to a tube through ``points``, each ``(u or fold, v, radius)``.

    Args:
        scene: gives the coordinates.
        points: two or more points; the radius runs linearly between them.
        grow: added to every radius.
        paired: draw on both sides of the midline, mirrored.

    Returns:
        The window that holds the tube, and the distance within it.
    """
    p = np.asarray(points, np.float32)
    edge = float(p[:, 2].max()) + max(grow, 0.0)
    left, right = float(p[:, 0].min()) - edge, float(p[:, 0].max()) + edge
    if paired:
        bend = abs(scene.shift) + 0.03
        left, right = -right - bend, right + bend
    window = scene.window(left, right, float(p[:, 1].min()) - edge, float(p[:, 1].max()) + edge)
    x = (scene.fold if paired else scene.u)[window]
    return window, capsules(x, scene.v[window], points, grow)


def tube(scene: Scene, points: Points, grow: float = 0.0) -> tuple[Window, Image]:
    """Signed distance to a chain that is not mirrored, and the window that holds it."""
    return chain(scene, points, grow, paired=False)


def oval(
    scene: Scene, centre: tuple[float, float], radii: tuple[float, float], paired: bool = False
) -> tuple[Window, Image]:
    """Approximate signed distance to an upright ellipse, and the window that holds it."""
    (x0, y0), (rx, ry) = centre, radii
    bend = abs(scene.shift) + 0.03
    left, right = (-x0 - rx - bend, x0 + rx + bend) if paired else (x0 - rx, x0 + rx)
    window = scene.window(left, right, y0 - ry, y0 + ry)
    x = ((scene.fold if paired else scene.u)[window] - x0) / rx
    y = (scene.v[window] - y0) / ry
    return window, (np.sqrt(x * x + y * y) - 1) * min(rx, ry)


def fill(
    scene: Scene,
    shape: tuple[Window, Image],
    value: float | Field,
    blur: float = 0.0,
    fluid: bool = False,
    strength: float = 1.0,
) -> Image:
    """Paint the inside of a distance field; ``fluid`` also takes it out of the brain."""
    window, distance = shape
    cover = ramp(distance, scene.pixel * 0.7 + blur) * np.float32(strength)
    scene.paint(window, cover, value)
    if fluid:
        scene.opaque[window] = np.maximum(scene.opaque[window], cover)
    return cover


def around(scene: Scene, window: Window, direction: float, half: float, width: float) -> Image:
    """Coverage of the directions within ``half`` radians of ``direction``."""
    du, dv = scene.at(direction, 1.0)
    norm = float(np.hypot(du / scene.narrow, dv))
    x, y = scene.u[window] / scene.narrow, scene.v[window]
    cosine = (x * (du / scene.narrow) + y * dv) / (norm * np.sqrt(x * x + y * y) + 1e-6)
    off = np.arccos(np.clip(cosine, -1, 1)) - half
    return ramp(np.asarray(off, np.float32), width)


def layers(scene: Scene, radius: Image, skull: float = 1.0) -> Image:
    """Intensity of scalp, tables and marrow at each radius; fluid inside, air outside.

    ``skull`` below 1 fades bone and marrow into soft tissue, as where bone was taken out.
    """
    t = scene.tissue
    thick = scene.scalp - scene.inner
    w = scene.pixel * 0.45
    soft_tissue = 0.5 * (t["muscle"] + t["fat"])
    bone = skull * t["bone"] + (1 - skull) * soft_tissue
    marrow = skull * t["marrow"] + (1 - skull) * soft_tissue
    mid = 0.5 * (scene.scalp + scene.inner)
    rim = max(0.22 * thick, w)
    knots = [scene.inner - w, scene.inner + w, mid - rim, mid, mid + rim, scene.scalp - w,
             scene.scalp + w, 1 - 3 * w, 1 - w, 1 + w]  # fmt: skip
    values = [t["csf"], bone, bone, marrow, bone, bone, t["fat"], t["fat"],
              0.5 * (t["fat"] + t["muscle"]), t["air"]]  # fmt: skip
    table = np.interp(_STEPS, np.maximum.accumulate(knots), values).astype(np.float32)
    return table.take((radius * np.float32(767 / 1.5)).astype(np.intp), mode="clip")


def cortex(scene: Scene, medial: Field | None) -> None:
    """Paint brain inside the skull: fluid in the sulci, a grey ribbon, white matter.

    Args:
        scene: radius and folds must be set.
        medial: depth below the surfaces that face the midline, where there are such.
    """
    t = scene.tissue
    depth: Field = scene.surface - scene.radius
    if medial is not None:
        depth = np.minimum(depth, medial)
    scene.depth = depth.astype(np.float32, copy=False)
    edge = scene.pixel * 1.1
    white = ramp(0.14 + 0.1 * scene.folds - depth, edge)
    inside = ramp(-depth, 0.5 * edge)
    sulci = unit((scene.folds - scene.sulcus - 2.1 * depth) * np.float32(2.2) + np.float32(0.35))
    scene.brain = inside * (1 - 0.9 * sulci)
    scene.white = white * scene.brain
    tissue = t["grey"] + white * (t["white"] - t["grey"])
    scene.image += scene.brain * (tissue - scene.image)


def _draw_folds(rng: np.random.Generator, across: Field, down: Field) -> Image:
    """One of the fold patterns, mirrored or not, at the given columns and rows of the head."""
    pool = _fold_pool(len(down))
    side = pool.shape[1]
    pattern = pool[int(rng.integers(len(pool)))]
    rows = ((down / 2.2 + 0.5) * side).astype(np.intp)
    columns = ((across / 2.2 + 0.5) * side).astype(np.intp)
    if rng.random() < 0.5:
        columns = columns[::-1]
    return pattern.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")


@dataclass(frozen=True)
class Section:
    """What is settled of a slice before it is drawn.

    Attributes:
        size: side of the picture in pixels.
        tissue: intensity by tissue.
        sequence: name of the sequence.
        level: name of the slice level.
        shift: displacement of the midline in head units; 0 without the sign.
    """

    size: int
    tissue: dict[str, float]
    sequence: str
    level: str
    shift: float


def start(
    rng: np.random.Generator, section: Section, frame: tuple[float, float, float, float, float]
) -> Scene:
    """Lay out the head: coordinates, contour, folds, and the layers outside the brain.

    Args:
        rng: source of the draw.
        section: what is settled of the slice.
        frame: row and column of the centre, half height, ratio of width to height, tilt.
    """
    cy, cx, half, narrow, tilt = frame
    size, shift = section.size, section.shift
    axis = grid(size)[1][:1]
    u0, v0 = (axis - cx) / half, (axis.T - cy) / half
    wobble = np.float32(0.011) * cut(rng, size, 5)
    egg = float(rng.uniform(0.0, 0.12))
    if tilt:
        along = v0 - tilt * u0
        across = (u0 + tilt * v0) * ((1 + egg * along) / narrow)
        radius = across * across + along * along
    else:
        across = u0 * ((1 + egg * v0) / narrow)
        radius = across * across + v0 * v0
    radius = np.sqrt(radius) + wobble
    folds = _draw_folds(rng, u0[0] / narrow, v0[:, 0])
    scalp = 1 - rng.uniform(0.035, 0.1)
    inner = scalp - rng.uniform(0.055, 0.1)
    scene = Scene(
        **vars(section), centre=(cy, cx), half=half,
        image=np.empty((0, 0), np.float32), u=u0 + np.float32(0.02) * cut(rng, size, 4),
        v=v0 + np.float32(0.02) * cut(rng, size, 5), radius=radius, folds=folds, narrow=narrow,
        egg=egg, scalp=scalp, inner=inner, surface=inner - rng.uniform(0.012, 0.035),
        sulcus=float(rng.uniform(0.25, 0.7)), site=0.0,
    )  # fmt: skip
    scene.image = layers(scene, radius + 0.4 * wobble)
    bend = rng.uniform(-0.015, 0.015) * (1 - v0 * v0)
    middle: Field = scene.u - bend
    if shift:
        core = unit(1 - (radius / scene.surface) ** 2)
        middle = middle - shift * core
    ratio = rng.uniform(0.9, 1.1)
    squeeze = 1 + 2.2 * abs(shift)
    right, left = (ratio / squeeze, squeeze) if shift > 0 else (ratio * squeeze, 1 / squeeze)
    if not shift:
        right, left = ratio, 1.0
    scene.middle = middle.astype(np.float32, copy=False)
    fold = np.abs(middle) * (0.5 * (right + left)) + middle * (0.5 * (right - left))
    scene.fold = fold.astype(np.float32, copy=False)
    scene.opaque = np.zeros((size, size), np.float32)
    return scene


def ventricle_shape(scene: Scene, points: Points, grow: float) -> tuple[Window, Image]:
    """A ventricle widened by ``grow``, pushed outwards so that both sides stay apart."""
    wider = [(p[0] + 0.75 * grow * (p[0] > 0.02), p[1] * (1 + 0.6 * grow), p[2]) for p in points]
    return chain(scene, wider, grow)


def changed(before: Image, after: Image) -> Mask:
    """Where a sign changed the picture visibly."""
    return np.abs(after - before) > 0.02
