"""Normal skin: tone, furrows, pores, freckles, hairs, gel bubbles and light."""

from __future__ import annotations

import numpy as np

from sdmad.phantoms.base import grid
from sdmad.phantoms.skin_scene import BLOOD, MELANIN, Colour, Skin
from sdmad.phantoms.ultrasound_scan import Lesion, wavy

_BARE: Colour = np.array((0.96, 0.88, 0.82), np.float32)
_DARK_HAIR: Colour = np.array((0.12, 0.08, 0.06), np.float32)
_FAIR_HAIR: Colour = np.array((0.85, 0.74, 0.55), np.float32)


def anatomy(rng: np.random.Generator, size: int, view: str) -> Skin:
    """Draw normal skin, close under the dermatoscope or from afar."""
    close = view == "dermoscopic"
    skin = Skin(
        colour=np.tile(_BARE, (size, size, 1)),
        light=np.ones((size, size), np.float32),
        over=np.zeros((size, size, 3), np.float32),
        cover=np.zeros((size, size), np.float32),
    )
    tone = rng.uniform(0.05, 0.4) if rng.random() < 0.65 else rng.uniform(0.4, 1.35)
    _colour(rng, skin, tone)
    _furrows(rng, skin, close)
    _pores(rng, skin)
    if rng.random() < 0.3:
        _freckles(rng, skin, close)
    if rng.random() < 0.6:
        _hairs(rng, skin, close, tone)
    if close and rng.random() < 0.25:
        _bubbles(rng, skin)
    _light(rng, skin)
    if close and rng.random() < 0.25:
        _round_border(rng, skin)
    return skin


def _colour(rng: np.random.Generator, skin: Skin, tone: float) -> None:
    """Melanin and blood, both a little uneven."""
    cloud, mottle = skin.texture(rng, "cloud"), skin.texture(rng, "mottle")
    melanin = tone * (1 + 0.06 * cloud + 0.05 * mottle) + 0.008 * skin.texture(rng, "grain")
    blood = rng.uniform(0.08, 0.26) * (1 + 0.12 * skin.texture(rng, "cloud"))
    skin.stain(skin.everywhere, np.asarray(melanin), MELANIN)
    skin.stain(skin.everywhere, np.asarray(blood), BLOOD)


def _furrows(rng: np.random.Generator, skin: Skin, close: bool) -> None:
    """Faint lines that part the surface into small polygons."""
    strength = rng.uniform(0.015, 0.06) if close else rng.uniform(0.05, 0.12)
    lines = skin.texture(rng, "furrows") * (0.6 + 0.4 * skin.texture(rng, "mottle"))
    skin.stain(skin.everywhere, strength * np.clip(lines, 0, 1.5), MELANIN)


def _pores(rng: np.random.Generator, skin: Skin) -> None:
    """Small openings of hair follicles, a little darker or paler than the skin."""
    count = int(rng.integers(15, 70))
    points = rng.uniform(-1, 1, (count, 2))
    cover = skin.stroke(points, rng.uniform(0.006, 0.014, count), 1.6)
    if rng.random() < 0.6:
        skin.stain(skin.everywhere, rng.uniform(0.1, 0.3) * cover, MELANIN)
    else:
        skin.paint(skin.everywhere, rng.uniform(0.1, 0.2) * cover, (1.0, 0.95, 0.88))


def _freckles(rng: np.random.Generator, skin: Skin, close: bool) -> None:
    """Small pale brown spots with a vague border."""
    low, high = (0.04, 0.11) if close else (0.02, 0.05)
    for _ in range(int(rng.integers(3, 12))):
        row, col = rng.uniform(-1, 1, 2)
        reach = rng.uniform(low, high)
        spot = Lesion(row, col, reach, reach * rng.uniform(0.7, 1), 0.0, wavy(rng, 0.15, 2, 5))
        box, inside, _, _ = spot.measure(skin)
        skin.stain(box, rng.uniform(0.08, 0.22) * spot.cover(skin, inside, 3.0), MELANIN)


def _hairs(rng: np.random.Generator, skin: Skin, close: bool, tone: float) -> None:
    """Bent hairs that lie about one way, dark or fair; dark ones throw a soft shadow."""
    dark = tone > 0.5 or rng.random() < 0.65
    count = int(rng.integers(1, 12 if close else 18))
    way, lines, radii = rng.uniform(0, np.pi), [], []
    for _ in range(count):
        middle, length = rng.uniform(-1, 1, 2), rng.uniform(0.25, 1.0) * (1 if close else 0.5)
        turn = way + rng.normal(0, 0.4)
        half = length * np.array((np.sin(turn), np.cos(turn)))
        line = skin.trace(middle - half, middle + half, rng.uniform(-0.12, 0.12))
        lines.append(line)
        thick = rng.uniform(0.006, 0.011) * (1 if close else 0.7)
        radii.append(thick * np.linspace(1, 0.5, len(line)))
    cover = skin.stroke(np.concatenate(lines), np.concatenate(radii))
    skin.lay_over((0.85 if dark else 0.55) * cover, _DARK_HAIR if dark else _FAIR_HAIR)


def _bubbles(rng: np.random.Generator, skin: Skin) -> None:
    """Round bubbles in the gel: a thin dark rim, a bright one inside it, and a glint."""
    for _ in range(int(rng.integers(1, 6))):
        row, col = rng.uniform(-0.95, 0.95, 2)
        radius = rng.uniform(0.03, 0.1)
        bubble = Lesion(row, col, radius, radius)
        box, inside, _, height = bubble.measure(skin)
        cover, colour = np.zeros_like(skin.cover), np.zeros(3, np.float32)
        for depth, strength, grey in ((0.0, 0.3, 0.15), (1.2, 0.4, 0.97)):
            ring = np.exp(-((inside / skin.pixel - depth) ** 2)) * (0.6 - 0.4 * height)
            cover[box] = strength * np.clip(ring, 0, 1)
            skin.lay_over(cover, colour + np.float32(grey))


def _light(rng: np.random.Generator, skin: Skin) -> None:
    """Light that falls off to one side and towards the corners."""
    y, x = grid(skin.size)
    way = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.1) * (np.cos(way) * x + np.sin(way) * y)
    corner = rng.uniform(0.0, 0.22) * np.clip(np.hypot(y, x) - 0.45, 0, None) ** 2
    skin.light = np.asarray(rng.uniform(0.9, 1.04) + slope - corner, np.float32)


def _round_border(rng: np.random.Generator, skin: Skin) -> None:
    """The black round edge of the dermatoscope's field."""
    y, x = grid(skin.size)
    row, col = rng.uniform(-0.04, 0.04, 2)
    far = np.hypot(y - np.float32(row), x - np.float32(col))
    cover = np.clip((far - rng.uniform(1.0, 1.2)) / (1.5 * skin.pixel) + 0.5, 0, 1)
    skin.lay_over(np.asarray(cover, np.float32), (0.02, 0.02, 0.02))
