"""Normal neck of the thyroid ultrasound phantom: lobes, trachea, vessels, muscles and spine."""

from __future__ import annotations

import numpy as np

from sdmad.phantoms.base import Image, wave
from sdmad.phantoms.ultrasound import Curve, beam_gain, linear_view
from sdmad.phantoms.ultrasound_scan import Lesion, Scan, behind, fill, fluid, lay_skin, rim, wavy


def _edges(rng: np.random.Generator, size: int) -> dict[str, Curve]:
    """Depth of the lower edge of skin, fat and strap muscles by beam."""
    depth, edges = np.zeros(size, np.float32), {}
    low, high = (0.06, 0.08, 0.12), (0.1, 0.2, 0.22)
    for name, mean in zip(("skin", "fat", "strap"), rng.uniform(low, high), strict=True):
        rough = 0.04 if name == "skin" else 0.12
        bent = np.maximum(1 + rough * wave(rng, size, 4), 0.4)
        depth = depth + np.asarray(mean * bent, np.float32)
        edges[name] = depth
    return edges


def _neck(rng: np.random.Generator, scan: Scan) -> Image:
    """Levels of fat, strap muscles and the tissue below, shape ``(size, size)``."""
    depth = scan.view.depth
    fat = rng.uniform(0.38, 0.46) + 0.15 * scan.texture(rng, "cells", depth)
    fibres = rng.uniform(0.05, 0.09) * scan.texture(rng, "fibres", scan.under("fat"))
    muscle = rng.uniform(0.3, 0.38) + fibres
    loose = rng.uniform(0.34, 0.47) + 0.06 * scan.texture(rng, "gland", depth)
    level = fat
    for edge, content in (("fat", muscle), ("strap", loose)):
        under = scan.under(edge)
        level = level + np.clip(under / 0.02 + 0.5, 0, 1) * (content - level)
        level = level + rng.uniform(0.1, 0.22) * np.exp(-((under / (1.1 * scan.pixel)) ** 2))
    return np.asarray(level, np.float32)


def _spine(rng: np.random.Generator, scan: Scan, depth: float) -> None:
    """Bright front of the vertebral column with darkness behind it."""
    size = scan.size
    line = depth + np.asarray(0.025 * wave(rng, size, 6), np.float32)[scan.view.column]
    under = np.asarray(scan.view.depth - line)
    scan.level += np.clip(under / 0.04, 0, 1) * (rng.uniform(0.02, 0.15) - scan.level)
    scan.level += rng.uniform(0.2, 0.4) * np.exp(-((under / (1.8 * scan.pixel)) ** 2))


def _muscle(rng: np.random.Generator, scan: Scan, shape: Lesion) -> None:
    """A dark muscle with long fibres, such as the one behind a lobe."""
    box, inside, _, _ = shape.measure(scan)
    pattern = rng.uniform(0.28, 0.36) + 0.06 * scan.texture(rng, "fibres", scan.view.depth)[box]
    scan.level[box] += shape.cover(scan, inside, 2.0) * (pattern - scan.level[box])
    rim(scan, shape, rng.uniform(0.05, 0.12), 1.2, 0.5, 0.8)


def draw_gland(rng: np.random.Generator, scan: Scan, lobes: list[Lesion], level: float) -> None:
    """Fill shapes with the even fine echoes of thyroid tissue, within a thin bright capsule."""
    for lobe in lobes:
        rim(scan, lobe, rng.uniform(0.06, 0.14), 1.2, 0.6, 0.6)
        fill(scan, rng, lobe, level, 1.2, 0.012)


def _trachea(rng: np.random.Generator, scan: Scan, shape: Lesion) -> None:
    """Dark ring of cartilage, the bright line of air, and reverberation below it."""
    fill(scan, rng, shape, rng.uniform(0.16, 0.26), 1.5)
    behind(scan, shape, rng.uniform(-0.5, -0.35), 3.0, 0.15)
    air = Lesion(shape.row + 0.1 * shape.down, shape.col, 0.82 * shape.across, 0.8 * shape.down)
    box, inside, _, height = air.measure(scan)
    deep = np.maximum(inside, 0)
    echo = 0.3 * np.exp(-deep / 0.1) * (1 + 0.5 * np.cos(deep * rng.uniform(70, 120)))
    front = np.clip(0.4 - height, 0, 1)
    scan.level[box] += air.cover(scan, inside) * (0.02 + echo * front - scan.level[box])
    line = np.exp(-((inside / (1.4 * scan.pixel)) ** 2)) * np.clip(-height * 2, 0, 1)
    scan.level[box] += rng.uniform(0.4, 0.6) * line


def _vessel(rng: np.random.Generator, scan: Scan, shape: Lesion) -> None:
    """A vessel across the plane: black, with a thin bright wall."""
    behind(scan, shape, rng.uniform(0.02, 0.08), 0.5)
    rim(scan, shape, rng.uniform(0.12, 0.24), 1.3, 0.9, 0.5)
    fill(scan, rng, shape, fluid(rng) + rng.uniform(0.0, 0.1), 1.0)
    scan.taken.append((shape.row, shape.col, shape.reach))


def _transverse(rng: np.random.Generator, scan: Scan) -> None:
    """Both lobes beside the trachea, or one of them larger and in the middle."""
    one = rng.random() < 0.5
    k = rng.uniform(1.2, 1.5) if one else rng.uniform(0.88, 1.05)
    side = 1.0 if rng.random() < 0.5 else -1.0
    middle = -side * rng.uniform(0.4, 0.55) * k if one else rng.uniform(-0.08, 0.08)
    top = float(scan.edges["strap"].mean()) - 1
    gland = rng.uniform(0.54, 0.64)
    deep = top + rng.uniform(0.28, 0.36) * k
    sides = (side,) if one else (-1.0, 1.0)
    _spine(rng, scan, deep + 1 + rng.uniform(0.62, 0.75) * k)
    windpipe = rng.uniform(0.2, 0.26) * k
    lobes = []
    for s in sides:
        place = middle + s * rng.uniform(0.44, 0.5) * k
        across, down = rng.uniform(0.25, 0.33) * k, rng.uniform(0.24, 0.33) * k
        longus = Lesion(deep + 0.5 * k, middle + 0.42 * s * k, 0.3 * k, 0.15 * k, 0.2 * s)
        _muscle(rng, scan, longus)
        _muscle(
            rng, scan, Lesion(top + 0.06 * k, middle + 0.95 * s * k, 0.4 * k, 0.13 * k, 0.3 * s)
        )
        radius = rng.uniform(0.1, 0.14) * k
        height, away = deep + rng.uniform(-0.02, 0.16) * k, middle + s * rng.uniform(0.86, 1.0) * k
        neck = Lesion(height, away, radius, radius, 0.0, wavy(rng, 0.05, 2, 3))
        vein = Lesion(
            neck.row - rng.uniform(0.16, 0.24) * k, away + rng.uniform(0.05, 0.2) * s * k,
            rng.uniform(0.12, 0.2) * k, rng.uniform(0.05, 0.1) * k, 0.3 * s, wavy(rng, 0.08, 2, 4),
        )  # fmt: skip
        _vessel(rng, scan, vein)
        lobes.append(Lesion(deep, place, across, down, 0.25 * s, wavy(rng, 0.07, 2, 4)))
        scan.organs.setdefault("vessels", []).append(neck)
    thick = rng.uniform(0.035, 0.06) * k
    arch = Lesion(top + 0.1 * k, middle, 0.42 * k, thick)
    trachea = Lesion(arch.row + thick + 0.9 * windpipe, middle, windpipe, 0.92 * windpipe)
    draw_gland(rng, scan, [arch, *lobes], gland)
    _trachea(rng, scan, trachea)
    draw_gland(rng, scan, [arch], gland)
    for vessel in scan.organs["vessels"]:
        _vessel(rng, scan, vessel)
    gullet = Lesion(deep + 0.36 * k, middle + sides[-1] * 0.3 * k, 0.11 * k, 0.075 * k)
    fill(scan, rng, gullet, 0.3, 1.5)
    fill(scan, rng, Lesion(gullet.row, gullet.col, 0.05 * k, 0.03 * k), 0.6, 2.0)
    scan.taken.append((trachea.row, trachea.col, 0.9 * windpipe))
    scan.organs |= {"lobes": lobes, "isthmus": [arch], "trachea": [trachea]}


def _longitudinal(rng: np.random.Generator, scan: Scan) -> None:
    """One lobe along its length, between the strap muscle and the muscle behind it."""
    top = float(scan.edges["strap"].mean()) - 1
    down = rng.uniform(0.26, 0.38)
    deep = top + down + rng.uniform(0.0, 0.06)
    _spine(rng, scan, deep + 1 + down + rng.uniform(0.3, 0.42))
    _muscle(rng, scan, Lesion(deep + down + 0.14, 0.0, 1.6, 0.16, rng.uniform(-0.05, 0.05)))
    outline = 1 + 0.06 * np.cos(4 * np.arange(360, dtype=np.float32) * np.float32(np.pi / 180))
    lobe = Lesion(
        deep, rng.uniform(-0.25, 0.25), rng.uniform(0.8, 1.1), down, rng.uniform(-0.08, 0.08),
        np.asarray(outline * wavy(rng, 0.05, 2, 5), np.float32),
    )  # fmt: skip
    draw_gland(rng, scan, [lobe], rng.uniform(0.54, 0.64))
    scan.organs |= {"lobes": [lobe], "isthmus": [], "trachea": [], "vessels": []}


def anatomy(rng: np.random.Generator, size: int, view: str) -> Scan:
    """A normal thyroid gland and what is around it.

    Args:
        rng: source of the draw.
        size: side in pixels.
        view: ``"transverse"`` or ``"longitudinal"``.
    """
    shown = linear_view(rng, size)
    scan = Scan(shown, np.zeros((size, size), np.float32), _edges(rng, size))
    scan.level = _neck(rng, scan)
    (_transverse if view == "transverse" else _longitudinal)(rng, scan)
    scan.level = lay_skin(rng, scan, scan.level)
    scan.level = np.asarray(scan.level + beam_gain(rng, shown, size), np.float32)
    return scan
