"""What covers a part of a picture: surroundings, frames, and annotations burnt in.

Each overlay returns how far it covers each pixel, 0 to 255, and the grey that it puts there.
Lengths are shares of the picture's side. :func:`lay` puts an overlay onto a picture and clears
the masks of signs where nothing of them is left to see.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from sdmad.phantoms.base import Mask, grid

Picture = NDArray[np.uint8]
Overlay = Callable[[np.random.Generator, int], tuple[Picture, Picture | int]]
WORDS = (
    "AP", "PA", "PORTABLE", "SUPINE", "ERECT", "AX T2", "FLAIR", "COR", "SAG", "SE 3", "IM 12/40",
    "W 400 L 40", "TR 4500", "TE 92", "3.0 mm", "FOV 22", "OD", "OS", "ART 25", "Q 28", "200 um",
    "12 Mar 2011", "09:41", "kV 120", "CHEST", "HEAD", "F 061Y", "M 047Y", "NEX 2", "Zoom 1.3",
)  # fmt: skip


def lay(picture: Picture, masks: dict[str, Mask], cover: Picture, grey: Picture | int) -> Picture:
    """Put an overlay onto a picture.

    Args:
        picture: 8-bit, shape ``(size, size)``, or ``(size, size, 3)`` in colour.
        masks: boolean, ``(size, size)``; cleared in place where more than half covered.
        cover: how far each pixel is covered, 0 to 255.
        grey: what it is covered with.

    Returns:
        The new picture.
    """
    free = cover < 128
    for mask in masks.values():
        mask &= free
    under = picture.astype(np.float32)
    over, share = np.asarray(grey, np.float32), cover.astype(np.float32) / 255
    if picture.ndim == 3:
        over, share = np.atleast_1d(over)[..., None], share[..., None]
    under += (over - under) * share
    return np.rint(under).astype(np.uint8)


def backdrop(rng: np.random.Generator) -> int:
    """A grey for surroundings: black or white mostly."""
    draw = rng.random()
    return 0 if draw < 0.45 else 255 if draw < 0.85 else int(rng.integers(20, 236))


def _ink(rng: np.random.Generator) -> int:
    """A grey for annotations: white mostly."""
    return 255 if rng.random() < 0.65 else int(rng.choice((0, 120, 170, 210)))


def _sheet(size: int) -> tuple[PILImage.Image, ImageDraw.ImageDraw]:
    sheet = PILImage.new("L", (size, size))
    return sheet, ImageDraw.Draw(sheet)


@lru_cache(maxsize=64)
def _font(height: int) -> Any:
    return ImageFont.load_default(size=height)


def _stroke(size: int, rng: np.random.Generator) -> int:
    return max(1, round(size * rng.uniform(0.003, 0.011)))


def surround(rng: np.random.Generator, size: int) -> tuple[Picture, int]:
    """Everything outside a tilted field of view, which is round, rounded, or nearly a box."""
    y, x = grid(size)
    angle = np.deg2rad(rng.normal(0, 6))
    y, x = y - rng.uniform(-0.08, 0.08), x - rng.uniform(-0.08, 0.08)
    tall, wide = rng.uniform(0.86, 1.1, 2)
    power = int(rng.choice((2, 4, 8, 32)))
    if power == 2:
        tall, wide = tall * 1.1, wide * 1.1
    along = np.abs(np.cos(angle) * y - np.sin(angle) * x) / tall
    across = np.abs(np.sin(angle) * y + np.cos(angle) * x) / wide
    return ((along**power + across**power > 1) * np.uint8(255)), backdrop(rng)


def bars(rng: np.random.Generator, size: int) -> tuple[Picture, int]:
    """Letter-box bars at two opposite borders."""
    cover = np.zeros((size, size), np.uint8)
    first, last = (int(width * size) for width in rng.uniform(0.02, 0.15, 2))
    side = cover if rng.random() < 0.5 else cover.T
    side[:first] = 255
    side[size - last :] = 255
    return cover, backdrop(rng)


def frame(rng: np.random.Generator, size: int) -> tuple[Picture, int]:
    """A margin all around, or a thin line that frames the picture."""
    margin = round(size * rng.uniform(0.008, 0.06))
    cover = np.zeros((size, size), np.uint8)
    if rng.random() < 0.5:
        cover[:] = 255
        cover[margin : size - margin, margin : size - margin] = 0
        return cover, backdrop(rng)
    cover[margin : size - margin, margin : size - margin] = 255
    inner = margin + _stroke(size, rng)
    cover[inner : size - inner, inner : size - inner] = 0
    return cover, _ink(rng)


def _corner(rng: np.random.Generator, size: int, tall: float, wide: float) -> tuple[float, float]:
    """Left and top of a box of given size in pixels that lies in one of the corners."""
    margin = rng.uniform(0.01, 0.06, 2) * size
    left = margin[0] if rng.random() < 0.5 else size - margin[0] - wide
    top = margin[1] if rng.random() < 0.5 else size - margin[1] - tall
    return float(left), float(top)


def text(rng: np.random.Generator, size: int) -> tuple[Picture, int]:
    """One to four short lines in a corner."""
    sheet, draw = _sheet(size)
    font = _font(max(7, round(size * rng.uniform(0.03, 0.06))))
    words = "\n".join(rng.choice(WORDS, rng.integers(1, 5)))
    box = draw.multiline_textbbox((0, 0), words, font=font)
    place = _corner(rng, size, box[3], box[2])
    draw.multiline_text(place, words, fill=255, font=font)
    return np.array(sheet), _ink(rng)


def mark(rng: np.random.Generator, size: int) -> tuple[Picture, int]:
    """A large L or R in a corner, at times in a ring or a box."""
    sheet, draw = _sheet(size)
    font = _font(max(9, round(size * rng.uniform(0.06, 0.13))))
    letter = "L" if rng.random() < 0.5 else "R"
    left, top, right, bottom = draw.textbbox((0, 0), letter, font=font)
    x, y = _corner(rng, size, bottom, right)
    draw.text((x, y), letter, fill=255, font=font)
    gap = size * 0.012
    box = (x + left - gap, y + top - gap, x + right + gap, y + bottom + gap)
    kind = rng.random()
    if kind < 0.2:
        draw.rectangle(box, outline=255, width=_stroke(size, rng))
    elif kind < 0.35:
        draw.ellipse(box, outline=255, width=_stroke(size, rng))
    return np.array(sheet), _ink(rng)


def arrow(rng: np.random.Generator, size: int) -> tuple[Picture, int]:
    """An arrow, or the two small crosses of a measured length; anywhere at all."""
    sheet, draw = _sheet(size)
    wide = _stroke(size, rng)
    tip, angle = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    aside = np.array([-along[1], along[0]])
    tail = tip - along * rng.uniform(0.06, 0.18) * size
    if rng.random() < 0.7:
        head = rng.uniform(0.02, 0.04) * size
        neck = tip - along * head * 1.4
        draw.line([*tail, *neck], fill=255, width=wide)
        draw.polygon([*tip, *(neck + aside * head / 2), *(neck - aside * head / 2)], fill=255)
        return np.array(sheet), _ink(rng)
    arm = 0.014 * size
    for x, y in (tip, tail):
        draw.line([x - arm, y, x + arm, y], fill=255, width=wide)
        draw.line([x, y - arm, x, y + arm], fill=255, width=wide)
    return np.array(sheet), _ink(rng)


def ruler(rng: np.random.Generator, size: int) -> tuple[Picture, int]:
    """Ticks along a part of one border, each fifth one longer, at times with a line."""
    cover = np.zeros((size, size), np.uint8)
    wide, step = _stroke(size, rng), max(3, round(size * rng.uniform(0.02, 0.05)))
    tick = max(2, round(size * rng.uniform(0.01, 0.025)))
    margin = round(size * rng.uniform(0.0, 0.04))
    first, last = int(rng.uniform(0, 0.4) * size), int(rng.uniform(0.6, 1) * size)
    for count, at in enumerate(range(first, last, step)):
        cover[at : at + wide, margin : margin + tick * (2 if count % 5 == 0 else 1)] = 255
    if rng.random() < 0.5:
        cover[first:last, margin : margin + wide] = 255
    return np.ascontiguousarray(np.rot90(cover, int(rng.integers(4)))), _ink(rng)


def scale(rng: np.random.Generator, size: int) -> tuple[Picture, Picture]:
    """A grey scale bar near one border, from black to white."""
    cover, grey = np.zeros((2, size, size), np.uint8)
    wide, long = (round(size * rng.uniform(*bounds)) for bounds in ((0.025, 0.05), (0.25, 0.7)))
    margin, top = round(size * rng.uniform(0.01, 0.05)), int(rng.uniform(0.05, 0.28) * size)
    area = slice(top, top + long), slice(margin, margin + wide)
    cover[area] = 255
    grey[area] = np.linspace(255, 0, long)[:, None].astype(np.uint8)
    turns = int(rng.integers(4))
    return np.ascontiguousarray(np.rot90(cover, turns)), np.rot90(grey, turns)


OVERLAYS: dict[str, Overlay] = {
    "surround": surround, "bars": bars, "frame": frame, "scale": scale, "ruler": ruler,
    "arrow": arrow, "text": text, "mark": mark,
}  # fmt: skip
"""Overlays in the order in which they are laid onto a picture."""
