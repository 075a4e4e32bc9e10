"""The state of a picture of the skin: colours, textures, strokes, and where lesions lie.

Coordinates run from -1 to 1 over the picture, rows down. Colours are red, green and blue shares
of the light that comes back. A pigment takes light away, each colour its own share; what is
painted covers what lies below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from sdmad.phantoms.base import Image
from sdmad.phantoms.ultrasound_scan import Box, Lesion, cut_box

Colour = NDArray[np.float32]
Place = tuple[float, float, float]
Point = Sequence[float] | NDArray[np.floating[Any]]
MELANIN: Colour = np.array((0.5, 0.88, 1.2), np.float32)
BLOOD: Colour = np.array((0.12, 1.0, 0.85), np.float32)
_PLATES = 6
_LARGEST = 512  # side from which textures are enlarged instead of drawn


@dataclass
class Skin:
    """State of a picture while anatomy and signs are drawn.

    Attributes:
        colour: of the skin in even white light, shape ``(size, size, 3)``.
        light: how much of the light falls there, about 1, shape ``(size, size)``.
        over: light from what lies over the skin, shape ``(size, size, 3)``.
        cover: share of each pixel that it hides, shape ``(size, size)``.
        seed: of the lesions' bodies.
        places: row, column and reach for each kind of lesion.
        bodies: the lesions drawn, by kind.
    """

    colour: Image
    light: Image
    over: Image
    cover: Image
    seed: int = 0
    places: dict[str, Place] = field(default_factory=dict)
    bodies: dict[str, Lesion] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        return len(self.colour)

    @property
    def pixel(self) -> float:
        """Length of a pixel of the 128 px picture."""
        return 2 / 128

    @property
    def everywhere(self) -> Box:
        """Slices of the whole picture."""
        return slice(0, self.size), slice(0, self.size)

    def box(self, row: float, col: float, reach: float) -> Box:
        """Slices of the pixels within ``reach`` of a place."""
        return cut_box(self.size, row, col, reach)

    def stain(self, box: Box, amount: Image, pigment: Colour) -> None:
        """Let a pigment take light away: ``amount`` has the box's shape."""
        self.colour[box] *= np.exp(-amount[..., None] * pigment)

    def paint(self, box: Box, cover: Image, colour: Colour | Sequence[float]) -> None:
        """Cover what lies below by a colour: ``cover`` has the box's shape, 0 to 1."""
        value = np.asarray(colour, np.float32)
        self.colour[box] += cover[..., None] * (value - self.colour[box])

    def lay_over(self, cover: Image, colour: Colour | Sequence[float]) -> None:
        """Lay a colour over skin and signs: ``cover`` has shape ``(size, size)``."""
        self.over += cover[..., None] * (np.asarray(colour, np.float32) - self.over)
        self.cover += cover * (1 - self.cover)

    def finish(self) -> Image:
        """The picture, float32 in [0, 1], shape ``(size, size, 3)``."""
        shown = self.colour * (1 - self.cover[..., None]) + self.over
        return np.clip(shown * self.light[..., None], 0, 1).astype(np.float32, copy=False)

    def texture(self, rng: np.random.Generator, name: str) -> Image:
        """A ready-made texture of :func:`texture_pool`, shape ``(size, size)``."""
        side = min(self.size, _LARGEST)
        pool = texture_pool(side)[name]
        plate, down, right, turn = (int(n) for n in rng.integers(0, (len(pool), side, side, 4)))
        one = np.rot90(np.roll(pool[plate], (down, right), (0, 1)), turn)
        if side < self.size:
            one = ndimage.zoom(one, self.size / side, order=1)
        return np.asarray(one, np.float32)

    def stroke(self, points: Image, radii: Image, soft: float = 1.0) -> Image:
        """Share of each pixel within discs, shape ``(size, size)``.

        Args:
            points: rows and columns of the discs' centres, shape ``(n, 2)``.
            radii: of the discs, shape ``(n,)``.
            soft: width of the edge in pixels of the 128 px picture.
        """
        scale, size = self.size / 2, self.size
        cover = np.zeros(size * size, np.float32)
        edge = soft * size / 128
        centre, radius = (np.asarray(points) + 1) * scale - 0.5, np.asarray(radii) * scale
        reach = int(np.ceil(radius.max() + edge / 2)) + 1
        steps = np.arange(-reach, reach + 1)
        rows = np.round(centre[:, 0]).astype(int)[:, None] + steps
        cols = np.round(centre[:, 1]).astype(int)[:, None] + steps
        far = np.hypot((rows - centre[:, :1])[:, :, None], (cols - centre[:, 1:])[:, None, :])
        share = np.clip((radius[:, None, None] - far) / edge + 0.5, 0, 1)
        inside = ((rows >= 0) & (rows < size))[:, :, None] & ((cols >= 0) & (cols < size))[:, None]
        hit = inside & (share > 0)
        index = (rows[:, :, None] * size + cols[:, None, :])[hit]
        np.maximum.at(cover, index, share[hit].astype(np.float32))
        return cover.reshape(size, size)

    def trace(self, start: Point, end: Point, bend: float, wiggle: float = 0.0) -> Image:
        """Points along a bent line, closer than a pixel, shape ``(n, 2)``.

        Args:
            start: row and column of its first end.
            end: row and column of its other end.
            bend: how far its middle lies to the side, as a share of its length.
            wiggle: sideways swing of a wave along it, as a share of its length.
        """
        first, last = np.asarray(start, np.float32), np.asarray(end, np.float32)
        length = float(np.hypot(*(last - first)))
        t = np.linspace(0, 1, max(int(length * self.size / 2 * 1.4), 3), dtype=np.float32)
        side = 4 * bend * t * (1 - t) + wiggle * np.sin(14 * t)
        across = np.array((first[1] - last[1], last[0] - first[0]), np.float32)
        return np.asarray(first + t[:, None] * (last - first) + side[:, None] * across, np.float32)


def _walls(rng: np.random.Generator, side: int, pitch: float, jitter: float, width: float) -> Image:
    """Walls between cells about ``side / pitch`` pixels wide that repeat at the edges, 0 to 1."""
    down = 2 * round(pitch * 0.577)
    across = round(pitch)
    rows, cols = np.meshgrid(np.arange(down), np.arange(across), indexing="ij")
    seeds = np.stack([(rows + 0.5) / down, (cols + 0.25 + 0.5 * (rows % 2)) / across], -1)
    seeds = seeds + rng.uniform(-jitter, jitter, seeds.shape) / pitch
    y, x = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    points = np.stack([y.ravel(), x.ravel()], 1) / side
    tree = spatial.cKDTree(seeds.reshape(-1, 2) % 1, boxsize=1)
    near, _ = tree.query(points, k=2)
    walls = np.exp(-(((near[:, 1] - near[:, 0]) * pitch / width) ** 2)).reshape(side, side)
    return np.asarray(walls, np.float32)


def _smooth(rng: np.random.Generator, side: int, width: float) -> Image:
    """Smooth noise that repeats at the edges, zero mean and unit deviation."""
    white = rng.standard_normal((side, side), dtype=np.float32)
    noise = ndimage.gaussian_filter(white, width * side, mode="wrap", truncate=3)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def _grooves(rng: np.random.Generator, side: int) -> Image:
    """Winding grooves between ridges of one width that repeat at the edges, 0 to 1."""
    white = rng.standard_normal((side, side), dtype=np.float32)
    inner, outer = (
        ndimage.gaussian_filter(white, width * side, mode="wrap", truncate=3)
        for width in (0.018, 0.021)
    )
    winding = inner - outer
    return np.asarray(np.exp(-((2.6 * winding / winding.std()) ** 2)), np.float32)


@lru_cache(maxsize=4)
def texture_pool(side: int) -> dict[str, Image]:
    """Ready-made textures that repeat at their edges, each of shape ``(6, side, side)``.

    ``cloud``, ``mottle`` and ``grain``: coarse, middling and fine noise of zero mean and unit
    deviation; ``net``: thin even walls of small cells, ``fine``: still finer ones, ``wild``:
    walls of cells of all sizes, ``furrows``: those of the skin, all 0 to 1; ``ridges``: winding
    grooves, 0 to 1.
    """
    rng = np.random.default_rng(41)
    pool: dict[str, list[Image]] = {}
    for _ in range(_PLATES):
        plates = {
            "cloud": _smooth(rng, side, 0.07),
            "mottle": _smooth(rng, side, 0.022),
            "grain": _smooth(rng, side, 0.006),
            "net": _walls(rng, side, rng.uniform(20, 25), 0.16, 0.3),
            "fine": _walls(rng, side, rng.uniform(26, 30), 0.18, 0.25),
            "wild": _walls(rng, side, rng.uniform(14, 17), 0.6, 0.34),
            "furrows": _walls(rng, side, rng.uniform(15, 20), 0.45, 0.16),
            "ridges": _grooves(rng, side),
        }
        for name, plate in plates.items():
            pool.setdefault(name, []).append(plate)
    return {name: np.stack(plates) for name, plates in pool.items()}
