"""Shapes in a plane of echoes: the state of an ultrasound picture, lesions, and how to paint them.

Lengths and levels are those of ``ultrasound``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sdmad.phantoms.base import Image, Mask, grid
from sdmad.phantoms.ultrasound import Curve, Indices, View, speckle, texture_pool

Box = tuple[slice, slice]
ANGLES = 360
ANGLE = np.arange(ANGLES, dtype=np.float32) * np.float32(2 * np.pi / ANGLES)
_CHANGE = 0.02  # of the level, from where a sign counts as visible


class Plane(Protocol):
    """What a shape can lie in: a picture that knows its size in pixels and cuts boxes."""

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""

    @property
    def pixel(self) -> float:
        """Length of a pixel of the 128 px picture."""

    def box(self, row: float, col: float, reach: float) -> Box:
        """Slices of the pixels within ``reach`` of a place."""


@dataclass
class Scan:
    """State of a picture while anatomy and signs are drawn.

    Attributes:
        view: the field of view.
        level: log-compressed echo strength, shape ``(size, size)``.
        edges: depth of each layer's lower edge by beam, name to shape ``(size,)``.
        taken: row, column and reach of what has been placed.
        organs: normal structures that signs refer to, by name.
        solid: solid lesions drawn, to which a shadow, a rind or calcifications attach.
    """

    view: View
    level: Image
    edges: dict[str, Curve] = field(default_factory=dict)
    taken: list[tuple[float, float, float]] = field(default_factory=list)
    organs: dict[str, list[Lesion]] = field(default_factory=dict)
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
        self, reach: float, propose: Callable[[float], tuple[float, float]]
    ) -> tuple[float, float, float]:
        """A free place, for something smaller where there is no room.

        Args:
            reach: radius of what will stand there.
            propose: draws row and column coordinates for something of a radius.

        Returns:
            Row and column coordinates, and the factor on the reach, 0.5 to 1.
        """
        best, found = -np.inf, (0.0, 0.0, 1.0)
        for attempt in range(24):
            scale = max(1 - 0.15 * (attempt // 6), 0.5)
            row, col = propose(scale * reach)
            gaps = (np.hypot(row - r, col - c) - scale * reach - o for r, c, o in self.taken)
            free = min([*gaps, 0.0])
            if free > best:
                best, found = free, (row, col, scale)
            if best == 0:
                break
        row, col, scale = found
        self.taken.append((row, col, scale * reach))
        return found

    def find_layer_place(
        self, rng: np.random.Generator, reach: float, upper: str, lower: str
    ) -> tuple[float, float, float]:
        """A free place between the lower edges of two layers; see :meth:`find_place`."""

        def propose(wanted: float) -> tuple[float, float]:
            beam = rng.uniform(-0.72, 0.72)
            high, low = self.edge_at(upper, beam), self.edge_at(lower, beam)
            slack = max((low - high) / 2 - 0.75 * wanted, 0.0)
            depth = (high + low) / 2 + rng.uniform(-1, 1) * slack
            return self.view.at(beam, float(np.clip(depth, wanted + 0.12, 1.75 - wanted)))

        return self.find_place(reach, propose)

    def box(self, row: float, col: float, reach: float) -> Box:
        """Slices of the pixels within ``reach`` of a place."""
        return cut_box(self.size, row, col, reach)


def cut_box(size: int, row: float, col: float, reach: float) -> Box:
    """Slices of the pixels of a picture within ``reach`` of a place."""

    def cut(centre: float) -> slice:
        low, high = ((centre + s * reach + 1) / 2 * size for s in (-1, 1))
        return slice(int(np.clip(low, 0, size)), int(np.clip(high + 1, 0, size)))

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

    def measure(self, scan: Plane, spare: float = 0.06) -> tuple[Box, Image, Indices, Image]:
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

    def cover(self, scan: Plane, inside: Image, soft: float = 1.0) -> Image:
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


def lay_skin(rng: np.random.Generator, scan: Scan, level: Image) -> Image:
    """Lay the skin over the levels: a grey band between two bright lines."""
    under, bright = scan.under("skin"), rng.uniform(0.68, 0.82)
    share = np.clip(0.5 - under / np.float32(0.02), 0, 1)
    level = level + share * (bright - rng.uniform(0.08, 0.2) - level)
    for distance in (under + 0.5 * scan.pixel, scan.view.depth - 1.2 * scan.pixel):
        level = level + rng.uniform(0.1, 0.22) * np.exp(-((distance / (0.9 * scan.pixel)) ** 2))
    return np.asarray(level, np.float32)


def wavy(rng: np.random.Generator, amount: float, low: int, high: int) -> Curve:
    """Outline with smooth bumps of ``low`` to ``high`` turns around it."""
    outline = np.zeros(ANGLES, np.float32)
    for turns in range(low, high + 1):
        outline += rng.normal(0, 1 / np.sqrt(turns)) * np.cos(
            turns * ANGLE + rng.uniform(0, 2 * np.pi)
        )
    return np.asarray(1 + amount * outline / max(float(np.abs(outline).max()), 1e-3), np.float32)


def lobules(rng: np.random.Generator, count: int, amount: float, even: float) -> Curve:
    """Outline of ``count`` round lobules with notches between them.

    Args:
        rng: source of the draw.
        count: how many lobules.
        amount: depth of the notches.
        even: share of a lobule's width by which the notches are moved.
    """
    notches = (np.arange(count) + rng.uniform(-even, even, count)) * 2 * np.pi / count
    notches = np.sort((notches + rng.uniform(0, 2 * np.pi)) % (2 * np.pi))
    after = np.searchsorted(notches, ANGLE) % count
    start, end = notches[after - 1], notches[after]
    width = (end - start) % (2 * np.pi)
    width[width == 0] = 2 * np.pi
    place = ((ANGLE - start) % (2 * np.pi)) / width
    tall = np.minimum(width * count / (2 * np.pi), 1.4) * rng.uniform(0.6, 1.2, count)[after]
    arcs = np.sqrt(np.clip(1 - (2 * place - 1) ** 2, 0, 1)) * tall
    return np.asarray(1 - 0.5 * amount + amount * arcs, np.float32)


def fill(
    scan: Scan,
    rng: np.random.Generator,
    lesion: Lesion,
    level: float,
    soft: float = 1.0,
    mottle: float = 0.02,
) -> None:
    """Give a shape's inside an echo level with a mottled pattern."""
    box, inside, _, _ = lesion.measure(scan)
    pattern = scan.texture(rng, "cloud", scan.view.depth)[box]
    share = lesion.cover(scan, inside, soft)
    scan.level[box] += share * (level + mottle * pattern - scan.level[box])


def rim(
    scan: Scan,
    lesion: Lesion,
    bright: float,
    width: float,
    offset: float = 0.0,
    facing: float = 0.0,
) -> None:
    """Add a line along the outline, ``width`` pixels of the 128 px picture wide.

    Args:
        scan: where the shape lies.
        lesion: the shape.
        bright: added level.
        width: of the line.
        offset: how far outside the outline, in the same pixels.
        facing: how much the line fades where it runs along the beams, 0 to 1.
    """
    box, inside, angle, _ = lesion.measure(scan)
    far = (inside / scan.pixel + offset) / width
    strength = 1 - facing + facing * np.abs(np.sin(ANGLE + lesion.turn)) ** 1.5
    scan.level[box] += bright * strength.astype(np.float32)[angle] * np.exp(-far * far)


def dot(s: Scan, row: float, col: float, radius: float, bright: float) -> None:
    """Add a small bright spot."""
    one = Lesion(row, col, 1.25 * radius, radius)
    box, inside, _, _ = one.measure(s, 0.02)
    s.level[box] += bright * one.cover(s, inside, 1.2)


def behind(
    scan: Scan, lesion: Lesion, amount: float, length: float = 0.6, soft: float = 0.3
) -> None:
    """Shade or enhance what lies :func:`beneath` a shape."""
    scan.level += beneath(scan, lesion, amount, length, soft)


def fluid(rng: np.random.Generator) -> float:
    """A level of clear fluid: black whatever the speckle."""
    return float(rng.uniform(-0.22, -0.05))


Sign = Callable[[Scan, np.random.Generator], None]
Anatomy = Callable[[np.random.Generator, int, str], Scan]


def render_scan(
    rng: np.random.Generator,
    signs: Sequence[str],
    size: int,
    view: str,
    anatomy: Anatomy,
    known: Mapping[str, Sign],
) -> tuple[Image, dict[str, Mask]]:
    """Draw one picture with the requested signs.

    The anatomy and each sign draw from their own generators, so that the same state of ``rng``
    gives the same anatomy whichever signs are asked for.

    Args:
        rng: source of the draw; one integer is taken from it.
        signs: names of signs that ``view`` can show.
        size: height and width in pixels, at least 96.
        view: one of the modality's views.
        anatomy: draws the normal scan of a size and view.
        known: the modality's signs in the order in which they are applied.

    Returns:
        The picture, float32 in [0, 1], shape ``(size, size)``, and for each sign a boolean
        mask of that shape, true where the sign changed the picture.
    """
    seed = int(rng.integers(2**32))
    normal = np.random.default_rng([seed, 0])
    scan = anatomy(normal, size, view)
    grain = speckle(normal, scan.view, size)
    masks: dict[str, Mask] = {}
    for index, (name, sign) in enumerate(known.items()):
        if name in signs:
            before, scan.level = scan.level, scan.level.copy()
            sign(scan, np.random.default_rng([seed, index + 1]))
            # below black all levels look alike
            shown = np.clip(scan.level, -0.05, 1) - np.clip(before, -0.05, 1)
            masks[name] = np.asarray(np.abs(shown) > _CHANGE) & scan.view.inside
            scan.level = np.where(masks[name], scan.level, before)
    picture = np.where(scan.view.inside, scan.level + grain, 0)
    return np.clip(picture, 0, 1).astype(np.float32, copy=False), masks
