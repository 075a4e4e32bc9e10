"""The sign primitives of the thyroid ultrasound phantom.

Each is a function that changes the levels of a scan; what it changed is its mask. Foci and a
calcified rim belong to a nodule that is already there, or else bring a small one along.
"""

from __future__ import annotations

import numpy as np

from sdmad.phantoms.base import Image
from sdmad.phantoms.ultrasound import Curve
from sdmad.phantoms.ultrasound_scan import (
    Lesion,
    Scan,
    Sign,
    behind,
    dot,
    fill,
    fluid,
    lobules,
    rim,
    wavy,
)


def _nodule(
    s: Scan, rng: np.random.Generator, low: float, high: float, ratio: float, outline: Curve
) -> Lesion:
    """A shape inside a lobe, ``low`` to ``high`` times as wide as the lobe's lesser half axis."""
    lobe = s.organs["lobes"][int(rng.integers(len(s.organs["lobes"])))]
    inner = min(lobe.across, lobe.down)
    across = rng.uniform(low, high) * inner / max(ratio, 1.0)

    def propose(reach: float) -> tuple[float, float]:
        angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        room = [max(half - 0.9 * reach, 0.0) for half in (lobe.down, lobe.across)]
        row, col = (
            lobe.row + far * room[0] * np.sin(angle),
            lobe.col + far * room[1] * np.cos(angle),
        )
        edge = 0.9 * s.view.spread - reach
        return row, float(np.clip(col, s.view.middle - edge, s.view.middle + edge))

    row, col, scale = s.find_place(across * max(ratio, 1.0), propose)
    across *= scale
    return Lesion(row, col, across, across * ratio, rng.uniform(-0.15, 0.15), outline)


def _gland(s: Scan) -> Image:
    """Share of each pixel within lobes and isthmus, shape ``(size, size)``."""
    whole = np.zeros_like(s.level)
    for shape in (*s.organs["lobes"], *s.organs["isthmus"]):
        box, inside, _, _ = shape.measure(s)
        whole[box] = np.maximum(whole[box], shape.cover(s, inside, 1.5))
    for shape in (*s.organs["trachea"], *s.organs["vessels"]):
        box, inside, _, _ = shape.measure(s)
        whole[box] *= 1 - shape.cover(s, inside, 2.0)
    return whole


def _gland_level(s: Scan) -> float:
    """Typical level of the lobes."""
    box, inside, _, _ = s.organs["lobes"][0].measure(s)
    return float(np.median(s.level[box][inside > 0]))


def enlarged_lobe(s: Scan, rng: np.random.Generator) -> None:
    """A lobe swollen on all sides, bulging forwards into the strap muscles."""
    index = int(rng.integers(len(s.organs["lobes"])))
    lobe, level = s.organs["lobes"][index], _gland_level(s)
    grown = Lesion(
        lobe.row - 0.1 * lobe.down, lobe.col, lobe.across * rng.uniform(1.15, 1.3),
        lobe.down * rng.uniform(1.35, 1.6), lobe.turn, wavy(rng, 0.06, 2, 4),
    )  # fmt: skip
    before = s.level.copy()
    rim(s, grown, rng.uniform(0.12, 0.2), 1.4, 0.7, 0.4)
    fill(s, rng, grown, level, 1.2, 0.025)
    spared = [(lobe, -2.0), *((k, 2.0) for k in (*s.organs["vessels"], *s.organs["trachea"]))]
    for kept, spare in spared:
        box, inside, _, _ = kept.measure(s)
        share = kept.cover(s, inside + np.float32(spare * s.pixel))
        s.level[box] += share * (before[box] - s.level[box])
    s.organs["lobes"][index] = grown


def thick_isthmus(s: Scan, rng: np.random.Generator) -> None:
    """Broad bridge of gland in front of the trachea."""
    (thin,) = s.organs["isthmus"]
    extra = rng.uniform(1.0, 2.0) * thin.down + 0.04
    grown = Lesion(thin.row - 0.85 * extra, thin.col, 1.05 * thin.across, thin.down + extra)
    rim(s, grown, rng.uniform(0.08, 0.16), 1.3, 0.7, 0.6)
    fill(s, rng, grown, _gland_level(s), 1.2, 0.02)
    s.organs["isthmus"] = [grown]


def patchy_dark_parenchyma(s: Scan, rng: np.random.Generator) -> None:
    """Gland darkened throughout by vague patches that run into each other."""
    cloud = 0.8 * s.texture(rng, "cloud", s.view.depth * np.float32(0.6))
    cloud += 0.5 * s.texture(rng, "gland", s.view.depth)
    depth = rng.uniform(0.12, 0.2) + rng.uniform(0.1, 0.16) * np.clip(cloud, -0.6, 1.2)
    s.level -= _gland(s) * depth


def echogenic_septa(s: Scan, rng: np.random.Generator) -> None:
    """Bright fibrous bands that part the gland into small dark lobules."""
    net = s.texture(rng, "net", s.view.depth)
    lines = np.clip(1.8 * net - 0.1, 0, 1)
    s.level += _gland(s) * (rng.uniform(0.28, 0.4) * lines - rng.uniform(0.1, 0.16))


def spongiform_nodule(s: Scan, rng: np.random.Generator) -> None:
    """Oval nodule made up of tiny black spaces with thin walls, like a sponge."""
    lesion = _nodule(s, rng, 0.5, 0.85, rng.uniform(0.65, 0.9), wavy(rng, 0.06, 2, 4))
    rim(s, lesion, rng.uniform(0.08, 0.16), 1.2, 0.7)
    fill(s, rng, lesion, rng.uniform(0.46, 0.56), 1.2)
    step = rng.uniform(0.055, 0.075)
    for y in np.arange(-lesion.down, lesion.down, 0.85 * step):
        shift = rng.uniform(0, step)
        for x in np.arange(-lesion.across + shift, lesion.across, step):
            if (y / lesion.down) ** 2 + (x / lesion.across) ** 2 < 0.78:
                row, col = y + rng.normal(0, 0.12 * step), x + rng.normal(0, 0.12 * step)
                hole = Lesion(
                    lesion.row + row, lesion.col + col,
                    rng.uniform(0.33, 0.5) * step, rng.uniform(0.26, 0.38) * step,
                )  # fmt: skip
                fill(s, rng, hole, rng.uniform(-0.1, 0.1), 0.9, 0.0)


def comet_tail_foci(s: Scan, rng: np.random.Generator) -> None:
    """Black rounded space with bright points, each with a tail that tapers along the beam."""
    lesion = _nodule(s, rng, 0.4, 0.8, rng.uniform(0.7, 0.95), wavy(rng, 0.06, 2, 4))
    behind(s, lesion, rng.uniform(0.04, 0.12), 0.5)
    rim(s, lesion, rng.uniform(0.1, 0.2), 1.1, 0.8, 0.6)
    fill(s, rng, lesion, fluid(rng) + 0.06, 1.0, 0.0)
    for _ in range(int(rng.integers(1, 5))):
        angle, far = rng.uniform(0, 2 * np.pi), 0.75 * np.sqrt(rng.random())
        row = lesion.row + far * lesion.down * np.sin(angle)
        col = lesion.col + far * lesion.across * np.cos(angle)
        size = rng.uniform(0.9, 1.4) * s.pixel
        dot(s, row, col, size, rng.uniform(0.75, 0.95))
        for index in range(1, 6):
            dot(s, row + 1.5 * index * size, col, size * (1 - 0.14 * index), 0.7 - 0.1 * index)


def isoechoic_nodule_with_halo(s: Scan, rng: np.random.Generator) -> None:
    """Round nodule as grey as the gland, or a little brighter, within a thin dark ring."""
    lesion = _nodule(s, rng, 0.45, 0.85, rng.uniform(0.75, 1.0), wavy(rng, 0.04, 2, 4))
    level = _gland_level(s) + rng.uniform(-0.02, 0.1)
    fill(s, rng, lesion, level, 1.2, 0.03)
    rim(s, lesion, -rng.uniform(0.28, 0.4), rng.uniform(1.5, 2.4))
    s.organs["haloed"] = [lesion]


def mixed_cystic_solid(s: Scan, rng: np.random.Generator) -> None:
    """Nodule that is part black fluid, part solid tissue at one side of it."""
    lesion = _nodule(s, rng, 0.5, 0.9, rng.uniform(0.7, 0.95), wavy(rng, 0.07, 2, 4))
    behind(s, lesion, rng.uniform(0.03, 0.1), 0.5)
    rim(s, lesion, rng.uniform(0.1, 0.18), 1.2, 0.8)
    box, inside, _, _ = lesion.measure(s)
    angle = rng.uniform(0, 2 * np.pi)
    rows, cols = np.arange(s.size)[box[0]], np.arange(s.size)[box[1]]
    y = ((rows + 0.5) * 2 / s.size - 1 - lesion.row)[:, None] / lesion.down
    x = ((cols + 0.5) * 2 / s.size - 1 - lesion.col)[None] / lesion.across
    bumps = 0.18 * s.texture(rng, "cloud", s.view.depth)[box]
    side = y * np.sin(angle) + x * np.cos(angle) + bumps + rng.uniform(-0.2, 0.2)
    solid = np.clip(side * lesion.down / (1.5 * s.pixel) + 0.5, 0, 1)
    content = fluid(rng) * (1 - solid) + rng.uniform(0.46, 0.6) * solid
    s.level[box] += lesion.cover(s, inside) * (content.astype(np.float32) - s.level[box])


def hypoechoic_irregular_nodule(s: Scan, rng: np.random.Generator) -> None:
    """Dark solid nodule with an irregular, finely lobed border."""
    outline = lobules(rng, int(rng.integers(6, 12)), rng.uniform(0.16, 0.28), 0.4)
    lesion = _nodule(s, rng, 0.35, 0.7, rng.uniform(0.75, 1.0), outline * wavy(rng, 0.2, 2, 5))
    behind(s, lesion, rng.uniform(-0.12, 0.0), 0.4)
    fill(s, rng, lesion, rng.uniform(0.18, 0.28), 1.6, 0.03)
    s.solid.append(lesion)


def tall_nodule(s: Scan, rng: np.random.Generator) -> None:
    """Dark solid nodule that is taller than wide."""
    lesion = _nodule(s, rng, 0.6, 0.9, rng.uniform(1.4, 1.8), wavy(rng, 0.1, 2, 6))
    behind(s, lesion, rng.uniform(-0.1, 0.0), 0.4)
    fill(s, rng, lesion, rng.uniform(0.22, 0.32), 1.5, 0.025)
    s.solid.append(lesion)


def _host(s: Scan, rng: np.random.Generator, also: tuple[Lesion, ...] = ()) -> Lesion:
    """A dark solid nodule that is there already, or one of ``also``, or else a vague new one."""
    there = (*s.solid, *also)
    if there:
        return there[int(rng.integers(len(there)))]
    lesion = _nodule(s, rng, 0.35, 0.6, rng.uniform(0.75, 1.0), wavy(rng, 0.1, 2, 5))
    fill(s, rng, lesion, _gland_level(s) - rng.uniform(0.12, 0.2), 2.0, 0.03)
    return lesion


def punctate_echogenic_foci(s: Scan, rng: np.random.Generator) -> None:
    """Tiny bright points without shadow inside a nodule."""
    host = _host(s, rng)
    for _ in range(int(rng.integers(6, 15))):
        angle, far = rng.uniform(0, 2 * np.pi), 0.8 * np.sqrt(rng.random())
        row = host.row + far * host.down * np.sin(angle)
        col = host.col + far * host.across * np.cos(angle)
        dot(s, row, col, rng.uniform(0.6, 0.95) * s.pixel, rng.uniform(0.5, 0.7))


def rim_calcification(s: Scan, rng: np.random.Generator) -> None:
    """Bright shell around a nodule, broken in places, with a shadow behind it."""
    host = _host(s, rng, tuple(s.organs.get("haloed", ())))
    behind(s, host, rng.uniform(-0.5, -0.32), rng.uniform(1.0, 2.0), 0.2)
    box, inside, angle, height = host.measure(s)
    whole = np.clip(0.6 + 0.9 * (wavy(rng, 1.0, 3, 9) - 1), 0, 1)[angle]
    facing = np.clip(0.75 - 0.5 * height, 0.2, 1)
    line = np.exp(-((inside / (rng.uniform(1.2, 1.8) * s.pixel)) ** 2))
    s.level[box] += line * whole * facing * (1.0 - s.level[box])


def _beside_vessel(s: Scan, rng: np.random.Generator, reach: float) -> tuple[float, float]:
    """Place of a node at the side of the neck, beside the carotid artery or above it."""
    vessel = s.organs["vessels"][int(rng.integers(len(s.organs["vessels"])))]

    def propose(wanted: float) -> tuple[float, float]:
        turn = rng.uniform(-np.pi, np.pi)
        far = vessel.reach + wanted * rng.uniform(1.0, 1.3)
        edge = 0.95 * s.view.spread - wanted
        col = np.clip(vessel.col + far * np.cos(turn), s.view.middle - edge, s.view.middle + edge)
        return vessel.row + far * np.sin(turn), float(col)

    row, col, _ = s.find_place(reach, propose)
    return row, col


def node_with_black_spaces(s: Scan, rng: np.random.Generator) -> None:
    """Rounded body beside the carotid artery, grey with black holes in it."""
    reach = rng.uniform(0.14, 0.22)
    row, col = _beside_vessel(s, rng, reach)
    node = Lesion(row, col, reach, reach * rng.uniform(0.75, 1.0), 0.0, wavy(rng, 0.06, 2, 4))
    rim(s, node, rng.uniform(0.1, 0.18), 1.2, 0.8)
    fill(s, rng, node, rng.uniform(0.28, 0.4), 1.2, 0.03)
    for _ in range(int(rng.integers(2, 5))):
        angle, far = rng.uniform(0, 2 * np.pi), 0.55 * np.sqrt(rng.random())
        y, x = row + far * node.down * np.sin(angle), col + far * node.across * np.cos(angle)
        across, down = rng.uniform(0.2, 0.38) * reach, rng.uniform(0.16, 0.3) * reach
        hole = Lesion(y, x, across, down, 0.0, wavy(rng, 0.1, 2, 4))
        fill(s, rng, hole, fluid(rng), 1.0, 0.0)


def bright_speckled_node(s: Scan, rng: np.random.Generator) -> None:
    """Rounded bright body beside the carotid artery, sprinkled with still brighter points."""
    reach = rng.uniform(0.13, 0.2)
    row, col = _beside_vessel(s, rng, reach)
    node = Lesion(row, col, reach, reach * rng.uniform(0.7, 1.0), 0.0, wavy(rng, 0.06, 2, 4))
    rim(s, node, -rng.uniform(0.14, 0.24), 1.6, 0.6)
    fill(s, rng, node, rng.uniform(0.66, 0.76), 1.4, 0.04)
    for _ in range(int(rng.integers(5, 10))):
        angle, far = rng.uniform(0, 2 * np.pi), 0.75 * np.sqrt(rng.random())
        at = row + far * node.down * np.sin(angle), col + far * node.across * np.cos(angle)
        dot(s, *at, rng.uniform(0.7, 1.0) * s.pixel, rng.uniform(0.25, 0.4))


# In the order in which they are applied; what attaches to a nodule comes after the nodules.
SIGNS: dict[str, Sign] = {
    function.__name__: function
    for function in (
        enlarged_lobe,
        thick_isthmus,
        patchy_dark_parenchyma,
        echogenic_septa,
        isoechoic_nodule_with_halo,
        hypoechoic_irregular_nodule,
        tall_nodule,
        mixed_cystic_solid,
        spongiform_nodule,
        comet_tail_foci,
        node_with_black_spaces,
        bright_speckled_node,
        rim_calcification,
        punctate_echogenic_foci,
    )
}
