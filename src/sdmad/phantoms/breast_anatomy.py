"""Normal breast of the ultrasound phantom: skin, fat lobules, gland, muscle, ribs and lung."""

from __future__ import annotations

import numpy as np

from sdmad.phantoms.base import Image, wave
from sdmad.phantoms.ultrasound import Curve, beam_gain, curved_view, linear_view
from sdmad.phantoms.ultrasound_scan import Scan, lay_skin

LAYERS = ("skin", "fat", "gland", "retro", "muscle")
_SHARE = {"linear": (0.75, 1.25), "curved": (0.6, 0.95)}


def _edges(rng: np.random.Generator, size: int, view: str) -> dict[str, Curve]:
    """Depth of each layer's lower edge by beam."""
    scale = rng.uniform(*_SHARE[view])
    low = np.array([0.07, 0.2, 0.45, 0.06, 0.2])
    high = np.array([0.12, 0.5, 0.95, 0.2, 0.34])
    thick = rng.uniform(low, high) * scale
    rough = (0.04, 0.2, 0.1, 0.2, 0.06)
    cells = (6, 6, 3, 4, 3)
    edges, depth = {}, np.zeros(size, np.float32)
    slope = 1 + rng.uniform(-0.25, 0.25) * np.linspace(-1, 1, size, dtype=np.float32)
    for name, mean, amount, count in zip(LAYERS, thick, rough, cells, strict=True):
        bent = 1 + amount * wave(rng, size, count)
        if name != "skin":
            bent = bent * slope
        depth = depth + np.asarray(mean * np.maximum(bent, 0.15), np.float32)
        edges[name] = depth
    return edges


def _tissue(rng: np.random.Generator, scan: Scan) -> Image:
    """Levels of the layers from the skin to the muscle, shape ``(size, size)``."""
    depth = scan.view.depth
    under = {name: scan.under(name) for name in LAYERS}
    fat, gland = rng.uniform(0.34, 0.44), rng.uniform(0.55, 0.68)
    muscle = rng.uniform(0.36, 0.46)
    walls = scan.texture(rng, "cells", depth)
    lobules = fat + rng.uniform(0.14, 0.3) * walls
    lobules += 0.02 * scan.texture(rng, "cloud", depth)
    dense = rng.uniform(0.25, 1.0)
    stroma = scan.texture(rng, "gland", under["fat"])
    body = (
        gland
        + rng.uniform(0.04, 0.09) * stroma
        - (1 - dense) * np.clip(0.5 - stroma, 0, 1) * (gland - fat)
    )
    fibres = muscle + rng.uniform(0.05, 0.1) * scan.texture(rng, "fibres", under["retro"])
    level = lobules

    def lay(edge: str, soft: float, content: Image) -> None:
        nonlocal level
        share = np.clip(under[edge] / np.float32(soft) + np.float32(0.5), 0, 1)
        level = level + share * (content - level)

    lay("fat", rng.uniform(0.02, 0.05), body)
    lay("gland", 0.04, lobules)
    lay("retro", 0.02, fibres)
    for edge, bright in (("retro", 0.24), ("muscle", 0.3)):
        line = np.exp(-((under[edge] / (1.1 * scan.pixel)) ** 2))
        level = level + bright * rng.uniform(0.6, 1.1) * line
    return np.asarray(level, np.float32)


def _chest_wall(rng: np.random.Generator, scan: Scan, level: Image) -> Image:
    """Below the muscle: intercostal tissue, the pleural line and lung, or ribs with shadows."""
    under, beam = scan.under("muscle"), scan.view.beam
    gap = rng.uniform(0.1, 0.22)
    level = level - 0.06 * np.clip(under / 0.05, 0, 1)
    pleura = under - gap
    lung = np.clip(pleura / 0.03 + 0.5, 0, 1)
    haze = 0.34 * np.exp(-np.maximum(pleura, 0) / rng.uniform(0.15, 0.4))
    haze = haze + 0.06 * np.cos(pleura * (2 * np.pi / gap)) * np.exp(-np.maximum(pleura, 0) / 0.3)
    level = level + lung * (haze + 0.12 - level)
    level = level + 0.35 * np.exp(-((pleura / (1.3 * scan.pixel)) ** 2))
    for _ in range(int(rng.choice(3, p=(0.45, 0.35, 0.2)))):
        place, half = rng.uniform(-0.9, 0.9), rng.uniform(0.16, 0.26)
        side = np.abs(beam - place) / half
        roof = under - 0.02 - gap * (1 - np.sqrt(np.clip(1 - side * side, 0, 1)))
        within = np.clip((1 - side) / 0.1, 0, 1)
        bone = within * np.clip(roof / 0.02 + 0.5, 0, 1)
        dark = 0.2 * np.exp(-np.maximum(roof, 0) / 0.12) + 0.02
        level = level + bone * (dark - level)
        level = level + 0.45 * within * np.exp(-((roof / (1.5 * scan.pixel)) ** 2))
    return np.asarray(level, np.float32)


def anatomy(rng: np.random.Generator, size: int, view: str) -> Scan:
    """A normal breast.

    Args:
        rng: source of the draw.
        size: side in pixels.
        view: ``"linear"`` or ``"curved"``.
    """
    shown = linear_view(rng, size) if view == "linear" else curved_view(rng, size)
    scan = Scan(shown, np.zeros((size, size), np.float32), _edges(rng, size, view))
    level = _tissue(rng, scan)
    level = _chest_wall(rng, scan, level)
    level = lay_skin(rng, scan, level)
    scan.level = np.asarray(level + beam_gain(rng, shown, size), np.float32)
    return scan
