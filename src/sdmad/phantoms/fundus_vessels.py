"""Vessels of the fundus phantom: how arteries and veins branch from the disc, and their picture.

Places are rows and columns in [-1, 1], lengths are halves of the picture's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

from sdmad.phantoms.base import Image

Points = NDArray[np.floating[Any]]
Ink = tuple[int, int, int]
VEIN, ARTERY, REFLEX = (255, 0, 0), (0, 255, 0), (0, 255, 255)
_STEP = 0.035
_PIECE = 4  # points drawn with one width


@dataclass(frozen=True)
class Vessel:
    """One unbranched stretch of a vessel.

    Attributes:
        points: row and column along it, shape ``(n, 2)``.
        width: full width along it, shape ``(n,)``.
        vein: whether it is a vein.
    """

    points: Points
    width: Points
    vein: bool


def path(rng: np.random.Generator, start: Points, heading: float, length: float) -> Points:
    """A gently winding path, shape ``(n, 2)``.

    Args:
        rng: source of the draw.
        start: row and column.
        heading: first direction in radians; 0 runs along the columns.
        length: of the path.
    """
    count = max(int(length / _STEP), 3)
    drift = np.cumsum(rng.normal(0, 0.12, count)) + rng.normal(0, 0.04) * np.arange(count)
    angle = heading + drift
    steps = _STEP * np.stack([np.sin(angle), np.cos(angle)], 1)
    return np.asarray(start + np.cumsum(np.concatenate([np.zeros((1, 2)), steps]), 0))


def draw_lines(size: int, lines: Sequence[tuple[Points, float, Ink]]) -> Image:
    """Lines with soft edges, drawn finer than the picture and averaged.

    Args:
        size: side of the picture in pixels.
        lines: points ``(n, 2)``, width and ink of each; later ones cover earlier ones.

    Returns:
        Share of each ink channel in each pixel, shape ``(size, size, 3)``.
    """
    fine = int(np.clip(768 // size, 1, 4))
    side = size * fine
    sheet = PILImage.new("RGB", (side, side))
    pen = ImageDraw.Draw(sheet)
    for points, width, ink in lines:
        places = ((points[:, ::-1] + 1) * (side / 2)).ravel().tolist()
        pen.line(places, fill=ink, width=max(round(width * side / 2), 1))
    if fine > 1:
        sheet = sheet.reduce(fine)
    return np.asarray(sheet, np.float32) / np.float32(255)


def draw_vessels(size: int, vessels: Sequence[Vessel]) -> Image:
    """Share of vein, artery and arterial reflex in each pixel, shape ``(size, size, 3)``."""
    lines: list[tuple[Points, float, Ink]] = []
    for vessel in sorted(vessels, key=lambda v: not v.vein):
        for first in range(0, len(vessel.points) - 1, _PIECE):
            points = vessel.points[first : first + _PIECE + 1]
            width = float(vessel.width[first])
            lines.append((points, width, VEIN if vessel.vein else ARTERY))
            if not vessel.vein and width > 0.014:
                lines.append((points, 0.3 * width, REFLEX))
    return draw_lines(size, lines)


def _temporal(rng: np.random.Generator, disc: Points, side: int, up: int, scale: float) -> Points:
    """A trunk that runs in a bow round the macula, shape ``(n, 2)``."""
    along = np.linspace(0, 1.28, 44) ** 2
    height = rng.uniform(0.66, 0.8) * np.sqrt(scale * along) * (1 - rng.uniform(0.18, 0.28) * along)
    waves = 0.012 * np.sin(along * rng.uniform(10, 18) + rng.uniform(0, 6))
    bow = np.stack([up * (height + waves), -side * (along + 0.5 * waves)], 1)
    return np.asarray(disc + bow)


def _trunks(
    rng: np.random.Generator, disc: Points, side: int, scale: float
) -> list[tuple[Points, bool]]:
    """Four trunks of arteries and of veins, and whether each is a vein."""
    found = []
    for vein in (True, False):
        for up in (-1, 1):
            start = disc + rng.normal(0, 0.015, 2)
            found.append((_temporal(rng, start, side, up, scale), vein))
            heading = up * rng.uniform(0.7, 1.15)
            heading = heading if side > 0 else np.pi - heading
            found.append((path(rng, start, heading, rng.uniform(0.8, 1.2)), vein))
    return found


def _clear_of(points: Points, fovea: Points, reach: float) -> Points:
    """The part of a path before it comes within ``reach`` of the fovea."""
    near = np.hypot(*(points - fovea).T) < reach
    return points[: int(near.argmax())] if near.any() else points


def _branches(
    rng: np.random.Generator, parent: Vessel, count: int, fovea: Points, scale: float
) -> list[Vessel]:
    """Side branches of a vessel, to either side in turn."""
    total = len(parent.points)
    found, turn = [], 1 if rng.random() < 0.5 else -1
    for place in np.sort(rng.uniform(0.15, 0.85, count)):
        at = int(place * (total - 1))
        along = parent.points[min(at + 1, total - 1)] - parent.points[max(at - 1, 0)]
        turn = -turn
        heading = float(np.arctan2(along[0], along[1])) + turn * rng.uniform(0.4, 0.8)
        length = rng.uniform(0.4, 0.75) * total * _STEP * (1 - 0.4 * place)
        points = path(rng, parent.points[at], heading, min(length, 0.65))
        points = _clear_of(points, fovea, 0.14 * scale)
        if len(points) > 3:
            first = parent.width[at] * rng.uniform(0.45, 0.65)
            width = np.linspace(first, 0.3 * first, len(points))
            found.append(Vessel(points, width, parent.vein))
    return found


def grow(
    rng: np.random.Generator, disc: Points, fovea: Points, side: int, scale: float
) -> list[Vessel]:
    """All vessels of a fundus.

    Args:
        rng: source of the draw.
        disc: row and column of the disc's centre.
        fovea: row and column of the fovea.
        side: 1 where the disc lies right of the fovea, -1 where it lies left.
        scale: factor on lengths.
    """
    calibre = rng.uniform(0.9, 1.15) * scale
    vessels: list[Vessel] = []
    for points, vein in _trunks(rng, disc, side, scale):
        first = calibre * (0.034 if vein else 0.025) * rng.uniform(0.85, 1.1)
        trunk = Vessel(points, np.linspace(first, 0.45 * first, len(points)), vein)
        vessels.append(trunk)
        for branch in _branches(rng, trunk, int(rng.integers(3, 7)), fovea, scale):
            vessels += [branch, *_branches(rng, branch, 1, fovea, scale)]
    for index in range(int(rng.integers(2, 5))):
        heading = rng.uniform(-0.6, 0.6) + (np.pi if side > 0 else 0.0)
        points = _clear_of(path(rng, disc, heading, 0.65 * scale), fovea, 0.16 * scale)
        width = calibre * np.linspace(0.012, 0.007, len(points))
        vessels.append(Vessel(points, width, index % 2 == 0))
    return vessels
