"""The state of a fundus picture, shapes on it, and how to paint and compose them.

Places are rows and columns in [-1, 1], lengths are halves of the picture's side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.phantoms.base import Image, Mask, grid
from sdmad.phantoms.fundus_vessels import Vessel
from sdmad.phantoms.ultrasound_scan import ANGLES

Box = tuple[slice, slice]
Colour = NDArray[np.float32]
Outline = NDArray[np.floating[Any]]
_CHANGE = 0.02  # of a colour channel, from where a sign counts as visible
# What a vein, an artery and an artery's reflex take from red, green and blue.
_ABSORBED = np.array([[0.42, 0.64, 0.64], [0.22, 0.5, 0.54], [-0.12, -0.16, -0.14]], np.float32)


def rgb(red: float, green: float, blue: float) -> Colour:
    """A colour, channels in [0, 1]."""
    return np.array([red, green, blue], np.float32)


@dataclass(frozen=True)
class Disc:
    """The optic disc.

    Attributes:
        row, col: centre.
        radius: half of its height.
        aspect: its width as a share of its height.
        turn: rotation in radians.
        cup: the cup's radius as a share of the disc's.
        shift: the cup's centre as a share of the radius, to the temporal side.
        notch: factor on the cup's radius by angle, shape ``(360,)``.
        rim, pallor: colour of the rim and of the cup.
    """

    row: float
    col: float
    radius: float
    aspect: float
    turn: float
    cup: float
    shift: float
    notch: Outline
    rim: Colour
    pallor: Colour


@dataclass
class Scene:
    """State of a picture while anatomy and signs are drawn.

    Attributes:
        ground: colour of all that lies under the vessels, shape ``(size, size, 3)``.
        vessels: arteries and veins.
        shares: vein, artery and arterial reflex in each pixel, shape ``(size, size, 3)``.
        disc: the optic disc.
        fovea: row and column.
        side: 1 where the disc lies right of the fovea, -1 where it lies left.
        scale: factor on lengths.
        reach: radius of the field of view.
        half: half of the field's height where it is cut.
        gain: brightness of the light on each pixel, 0 outside the field, ``(size, size)``.
        veil: stray light, shape ``(size, size, 3)``.
        taken: row, column and radius of what has been placed.
    """

    ground: Image
    vessels: list[Vessel]
    shares: Image
    disc: Disc
    fovea: tuple[float, float]
    side: int
    scale: float
    reach: float
    half: float
    gain: Image
    veil: Image
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        return len(self.ground)

    def picture(self) -> Image:
        """Ground and vessels before light and haze, in [0, 1], shape ``(size, size, 3)``."""
        return np.clip(self.ground * (1 - self.shares @ _ABSORBED), 0, 1)

    def box(self, row: float, col: float, reach: float) -> Box:
        """Slices of the pixels within ``reach`` of a place."""

        def cut(centre: float) -> slice:
            low, high = ((centre + s * reach + 1) / 2 * self.size for s in (-1, 1))
            return slice(int(np.clip(low, 0, self.size)), int(np.clip(high + 1, 0, self.size)))

        return cut(row), cut(col)

    def paint(self, box: Box, cover: Image, colour: Image, over: float = 0.0) -> None:
        """Lay a colour over the ground and, by the share ``over``, over the vessels too."""
        share = cover[..., None]
        self.ground[box] += share * (colour - self.ground[box])
        if over:
            self.shares[box] *= 1 - np.float32(over) * share

    def stain(self, box: Box, cover: Image, tint: Colour, over: float = 0.0) -> None:
        """Multiply the ground by a colour; blood and pigment take light away."""
        self.paint(box, cover, self.ground[box] * tint, over)

    def within(self, row: float, col: float, reach: float) -> bool:
        """Whether a circle lies in the field of view."""
        return bool(np.hypot(row, col) + reach < self.reach and abs(row) + reach < self.half)

    def find_place(
        self, rng: np.random.Generator, reach: float, near: float, far: float
    ) -> tuple[float, float]:
        """A free place off the disc, ``near`` to ``far`` from the fovea; the best of many tries."""
        best, found = -np.inf, self.fovea
        disc = (self.disc.row, self.disc.col, self.disc.radius)
        for _ in range(40):
            angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(near, far)
            row, col = self.fovea[0] + away * np.sin(angle), self.fovea[1] + away * np.cos(angle)
            gaps = [np.hypot(row - r, col - c) - reach - o for r, c, o in (disc, *self.taken)]
            free = min([*gaps, 0.0]) - (0 if self.within(row, col, reach) else 2)
            if free > best:
                best, found = free, (float(row), float(col))
            if best == 0:
                break
        self.taken.append((*found, reach))
        return found


def blob(
    scene: Scene,
    place: tuple[float, float],
    half: tuple[float, float],
    turn: float = 0.0,
    soft: float = 0.0,
    outline: Outline | None = None,
) -> tuple[Box, Image]:
    """Share of each pixel within an oval, in a box around it.

    Args:
        scene: where it lies.
        place: row and column of its centre.
        half: half axes down and across.
        turn: rotation in radians.
        soft: width of the edge; a pixel at least.
        outline: factor on the radius by angle, shape ``(360,)``.
    """
    edge = max(soft, 2 / scene.size)
    widest = 1.0 if outline is None else float(outline.max())
    box = scene.box(*place, max(half) * widest + edge)
    y, x = grid(scene.size)
    v, h = y[box] - np.float32(place[0]), x[box] - np.float32(place[1])
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    down, across = (v * cos - h * sin) / half[0], (h * cos + v * sin) / half[1]
    far = np.hypot(down, across)
    if outline is not None:
        angle = (np.arctan2(down, across) * np.float32(ANGLES / 2 / np.pi)).astype(np.intp)
        far = far / outline[angle % ANGLES].astype(np.float32)
    cover = np.clip((1 - far) * np.float32(min(half) / edge) + np.float32(0.5), 0, 1)
    return box, np.asarray(cover, np.float32)


def paint_disc(scene: Scene) -> None:
    """Paint the optic disc as ``scene.disc`` describes it over whatever lies there."""
    disc = scene.disc
    place, half = (disc.row, disc.col), (disc.radius, disc.radius * disc.aspect)
    box, cover = blob(scene, place, half, disc.turn, 0.16 * disc.radius)
    _, x = grid(scene.size)
    outer = -scene.side * (x[box] - np.float32(disc.col)) / disc.radius
    hue = disc.rim * (1 + np.float32(0.05) * np.clip(outer, -1, 1))[..., None]
    scene.paint(box, cover, hue)
    centre = disc.row, disc.col - scene.side * disc.shift * disc.radius * disc.aspect
    cup = disc.cup * half[0], disc.cup * half[1]
    box, cover = blob(scene, centre, cup, disc.turn, 0.16 * disc.radius, disc.notch)
    scene.paint(box, cover, disc.pallor)


Sign = Callable[[Scene, np.random.Generator], None]
Anatomy = Callable[[np.random.Generator, int, str], Scene]


def render_scene(
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
        anatomy: draws the normal scene of a size and view.
        known: the modality's signs in the order in which they are applied.

    Returns:
        The picture, float32 in [0, 1], shape ``(size, size, 3)``, and for each sign a boolean
        mask of shape ``(size, size)``, true where the sign changed the picture.
    """
    seed = int(rng.integers(2**32))
    scene = anatomy(np.random.default_rng([seed, 0]), size, view)
    picture = scene.picture()
    masks: dict[str, Mask] = {}
    for index, (name, sign) in enumerate(known.items()):
        if name in signs:
            ground, shares = scene.ground.copy(), scene.shares.copy()
            sign(scene, np.random.default_rng([seed, index + 1]))
            change = np.abs(scene.picture() - picture).max(2) * scene.gain
            masks[name] = np.asarray(change > _CHANGE)
            shown = masks[name][..., None]
            scene.ground = np.where(shown, scene.ground, ground)
            scene.shares = np.where(shown, scene.shares, shares)
            picture = scene.picture()
    lit = picture * scene.gain[..., None] + scene.veil
    return np.clip(lit, 0, 1).astype(np.float32, copy=False), masks
