"""The sign primitives of the breast ultrasound phantom.

Each is a function that changes the levels of a scan; what it changed is its mask. Masses are
shapes with an echo pattern, a margin and what lies behind them; a shadow, a rind and
calcifications belong to a mass that is already there, or else bring a small one along.
"""

from __future__ import annotations

import numpy as np

from sdmad.phantoms.base import Image
from sdmad.phantoms.ultrasound import Curve
from sdmad.phantoms.ultrasound_scan import (
    ANGLE,
    ANGLES,
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


def _spikes(rng: np.random.Generator, count: int, low: float, high: float) -> Curve:
    """Uneven outline with thin thorns, each ``low`` to ``high`` longer than the core."""
    core = wavy(rng, 0.18, 2, 6)
    outline = core.copy()
    angles = (np.arange(count) + rng.uniform(-0.45, 0.45, count)) * 2 * np.pi / count
    for angle in angles:
        far = np.abs((ANGLE - angle + np.pi) % (2 * np.pi) - np.pi)
        thorn = np.clip(1 - far / rng.uniform(0.06, 0.24), 0, 1) ** 1.6
        outline = np.maximum(outline, core * (1 + rng.uniform(low, high) * thorn))
    return np.asarray(outline, np.float32)


def _shape(
    scan: Scan,
    rng: np.random.Generator,
    across: float,
    ratio: float,
    outline: Curve,
    zone: tuple[str, str] = ("fat", "retro"),
) -> Lesion:
    """Place a shape of a half width and a ratio of height to width."""
    room = 0.5 * float((scan.edges["muscle"] - scan.edges["skin"]).mean())
    size = min(across, room / max(ratio, 0.6) / float(outline.max()) ** 0.5)
    row, col, scale = scan.find_layer_place(rng, max(size, size * ratio), *zone)
    size *= scale
    turn = rng.uniform(-0.2, 0.2) if ratio < 1 else rng.uniform(-0.12, 0.12)
    return Lesion(row, col, size, size * ratio, turn, outline)


def anechoic_cyst(s: Scan, rng: np.random.Generator) -> None:
    """Round black space with a sharp thin wall and brightness behind it."""
    across = rng.uniform(0.09, 0.34)
    lesion = _shape(
        s, rng, across, rng.uniform(0.72, 1.0), wavy(rng, rng.uniform(0.01, 0.06), 2, 4)
    )
    behind(s, lesion, rng.uniform(0.12, 0.22), rng.uniform(0.5, 1.2))
    box, inside, _, height = lesion.measure(s)
    share = lesion.cover(s, inside)
    reverberation = rng.uniform(0.0, 0.16) * np.clip(-height, 0, 1) ** 3
    s.level[box] += share * (fluid(rng) + reverberation - s.level[box])
    rim(s, lesion, rng.uniform(0.12, 0.28), 1.1, 0.8, 0.9)


def clustered_microcysts(s: Scan, rng: np.random.Generator) -> None:
    """Cluster of tiny black ovals with thin walls between them."""
    reach = rng.uniform(0.14, 0.26)
    row, col, scale = s.find_layer_place(rng, reach, "fat", "retro")
    reach *= max(scale, 0.7)
    count, placed = int(rng.integers(6, 14)), list[tuple[float, float, float]]()
    for _ in range(60):
        if len(placed) == count:
            break
        angle, far = rng.uniform(0, 2 * np.pi), reach * np.sqrt(rng.random())
        y, x = row + 0.7 * far * np.sin(angle), col + far * np.cos(angle)
        radius = rng.uniform(0.03, 0.062)
        if all(np.hypot(y - r, x - c) > 0.95 * (radius + other) for r, c, other in placed):
            placed.append((y, x, radius))
    whole = Lesion(row, col, reach, 0.7 * reach)
    behind(s, whole, rng.uniform(0.04, 0.12), 0.5)
    for y, x, radius in placed:
        one = Lesion(y, x, radius * 1.1, radius * rng.uniform(0.8, 1.0), 0.0, wavy(rng, 0.1, 2, 4))
        rim(s, one, rng.uniform(0.06, 0.14), 0.9, 0.7)
        fill(s, rng, one, fluid(rng), 0.9)


def low_level_internal_echoes(s: Scan, rng: np.random.Generator) -> None:
    """Well-defined thin-walled space of even faint grey with a few drifting specks."""
    lesion = _shape(s, rng, rng.uniform(0.12, 0.32), rng.uniform(0.65, 0.95), wavy(rng, 0.05, 2, 4))
    behind(s, lesion, rng.uniform(0.06, 0.15), rng.uniform(0.4, 0.9))
    rim(s, lesion, rng.uniform(0.14, 0.26), 1.2, 0.8, 0.6)
    fill(s, rng, lesion, rng.uniform(0.12, 0.2), 1.0, 0.015)
    for _ in range(int(rng.integers(3, 9))):
        angle, far = rng.uniform(0, 2 * np.pi), 0.75 * np.sqrt(rng.random())
        y, x = lesion.row + far * lesion.down * np.sin(angle), far * lesion.across * np.cos(angle)
        dot(s, y, lesion.col + x, rng.uniform(0.8, 1.3) * s.pixel, rng.uniform(0.2, 0.35))


def circumscribed_oval_mass(s: Scan, rng: np.random.Generator) -> None:
    """Evenly dark grey oval that lies parallel to the skin within a thin bright capsule."""
    lesion = _shape(s, rng, rng.uniform(0.16, 0.46), rng.uniform(0.45, 0.66), wavy(rng, 0.05, 2, 3))
    behind(s, lesion, rng.uniform(0.0, 0.09), 0.6)
    rim(s, lesion, rng.uniform(0.14, 0.26), 1.3, 0.9, 0.5)
    fill(s, rng, lesion, rng.uniform(0.25, 0.33), 1.1, 0.02)
    s.solid.append(lesion)


def lobulated_mass(s: Scan, rng: np.random.Generator) -> None:
    """Dark grey mass of two to four large smooth lobules, with thin bright septa inside."""
    count = int(rng.integers(2, 5))
    outline = lobules(rng, count, rng.uniform(0.3, 0.45), 0.15)
    lesion = _shape(s, rng, rng.uniform(0.18, 0.42), rng.uniform(0.58, 0.85), outline)
    behind(s, lesion, rng.uniform(0.0, 0.08), 0.6)
    rim(s, lesion, rng.uniform(0.1, 0.2), 1.2, 0.9)
    fill(s, rng, lesion, rng.uniform(0.27, 0.35), 1.1, 0.03)
    box, inside, angle, _ = lesion.measure(s)
    notch = np.clip(1 - (outline - outline.min()) / 0.07, 0, 1).astype(np.float32)[angle]
    s.level[box] += rng.uniform(0.12, 0.22) * notch * lesion.cover(s, inside)
    s.solid.append(lesion)


def spiculated_mass(s: Scan, rng: np.random.Generator) -> None:
    """Dark core from which straight thorns and bright lines radiate."""
    outline = _spikes(rng, int(rng.integers(7, 15)), 0.2, 1.2)
    lesion = _shape(s, rng, rng.uniform(0.12, 0.24), rng.uniform(0.75, 1.15), outline)
    behind(s, lesion, rng.uniform(-0.14, -0.03), 0.5)
    box, inside, angle, _ = lesion.measure(s, 0.3 * lesion.reach)
    between = (outline < 1.15).astype(np.float32)[angle] * np.clip(
        rng.normal(0.6, 0.5, ANGLES // 6), 0, 1.5
    ).astype(np.float32).repeat(6)[angle]
    halo = np.exp(np.minimum(inside, 0) / (0.45 * lesion.across)) * (inside < 0)
    s.level[box] += rng.uniform(0.16, 0.26) * halo * (0.35 + between)
    fill(s, rng, lesion, rng.uniform(0.16, 0.25), 2.2, 0.03)
    s.solid.append(lesion)


def taller_than_wide_mass(s: Scan, rng: np.random.Generator) -> None:
    """Dark irregular mass whose long axis runs along the beams, across the tissue planes."""
    lesion = _shape(s, rng, rng.uniform(0.1, 0.2), rng.uniform(1.4, 1.9), wavy(rng, 0.16, 2, 7))
    behind(s, lesion, rng.uniform(-0.1, 0.02), 0.5)
    fill(s, rng, lesion, rng.uniform(0.15, 0.25), 2.4, 0.035)
    s.solid.append(lesion)


def microlobulated_mass(s: Scan, rng: np.random.Generator) -> None:
    """Dark mass whose border is scalloped by many small lobules with sharp corners."""
    outline = lobules(rng, int(rng.integers(9, 16)), rng.uniform(0.14, 0.24), 0.35)
    outline = outline * wavy(rng, 0.2, 2, 5)
    lesion = _shape(s, rng, rng.uniform(0.17, 0.34), rng.uniform(0.65, 0.95), outline)
    behind(s, lesion, rng.uniform(-0.08, 0.05), 0.5)
    fill(s, rng, lesion, rng.uniform(0.14, 0.24), 1.1, 0.04)
    s.solid.append(lesion)


def _host(s: Scan, rng: np.random.Generator) -> Lesion:
    """A solid mass that is there already, or else a small ill-defined one of its own."""
    if s.solid:
        return s.solid[int(rng.integers(len(s.solid)))]
    lesion = _shape(s, rng, rng.uniform(0.1, 0.22), rng.uniform(0.6, 1.0), wavy(rng, 0.15, 2, 6))
    fill(s, rng, lesion, rng.uniform(0.22, 0.3), 3.0, 0.03)
    return lesion


def echogenic_rind(s: Scan, rng: np.random.Generator) -> None:
    """Thick, blurred bright halo around a dark mass."""
    lesion = _host(s, rng)
    thick = rng.uniform(0.06, 0.13)
    box, inside, angle, _ = lesion.measure(s, 2.2 * thick)
    uneven = thick * wavy(rng, 0.45, 2, 6)[angle]
    outside = np.clip(-inside / uneven, 0, None)
    band = np.clip(0.5 - inside / (1.5 * s.pixel), 0, 1) * np.exp(-(outside**2))
    bright = rng.uniform(0.72, 0.85) + 0.05 * s.texture(rng, "cloud", s.view.depth)[box]
    s.level[box] += band * np.maximum(bright - s.level[box], 0)


def posterior_shadow(s: Scan, rng: np.random.Generator) -> None:
    """Dark stripe along the beams behind a mass that lets little sound through."""
    lesion = _host(s, rng)
    amount = rng.uniform(0.32, 0.5)
    behind(s, lesion, -amount, rng.uniform(0.9, 2.0), rng.uniform(0.25, 0.5))


def punctate_calcifications(s: Scan, rng: np.random.Generator) -> None:
    """Group of tiny bright points, too small to shade what is behind them."""
    if s.solid and rng.random() < 0.6:
        host = s.solid[int(rng.integers(len(s.solid)))]
        row, col, reach = host.row, host.col, 0.8 * min(host.across, host.down)
    else:
        reach = rng.uniform(0.14, 0.3)
        row, col, scale = s.find_layer_place(rng, reach, "fat", "retro")
        reach *= scale
        fill(s, rng, Lesion(row, col, reach, 0.7 * reach, 0.0, wavy(rng, 0.2, 2, 6)),
              rng.uniform(0.34, 0.42), 4.0)  # fmt: skip
    for _ in range(int(rng.integers(7, 18))):
        angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        y, x = row + 0.7 * far * reach * np.sin(angle), col + far * reach * np.cos(angle)
        dot(s, y, x, rng.uniform(0.6, 1.05) * s.pixel, rng.uniform(0.45, 0.65))


def coarse_calcification(s: Scan, rng: np.random.Generator) -> None:
    """Thick bright crust with a clean black shadow behind it."""
    across = rng.uniform(0.06, 0.13)
    if s.solid and rng.random() < 0.6:
        host = s.solid[int(rng.integers(len(s.solid)))]
        row, col = host.row, host.col + rng.uniform(-0.3, 0.3) * host.across
    else:
        row, col, _ = s.find_layer_place(rng, across, "fat", "gland")
    lump = Lesion(row, col, across, rng.uniform(0.5, 0.8) * across, 0.0, wavy(rng, 0.2, 2, 7))
    behind(s, lump, rng.uniform(-0.75, -0.5), rng.uniform(1.5, 3.0), 0.2)
    box, inside, _, height = lump.measure(s)
    crust = np.clip(0.75 - 0.8 * height, 0.0, 1)
    s.level[box] += lump.cover(s, inside) * (rng.uniform(0.9, 1.0) * crust - s.level[box])


def dilated_ducts(s: Scan, rng: np.random.Generator) -> None:
    """Black tubes with bright walls that fan out through the gland and taper."""
    row, col, _ = s.find_layer_place(rng, 0.3, "fat", "gland")
    beam, depth = s.view.place(row, col)
    scale = s.view.width(depth)
    across, reach = (s.view.beam - np.float32(beam)) * np.float32(scale), rng.uniform(0.45, 0.85)
    side = -1 if beam > rng.uniform(-0.4, 0.4) else 1
    count = int(rng.integers(2, 5))
    along = across * np.float32(side / reach) + np.float32(0.3)
    slopes = (np.arange(count) - (count - 1) / 2) * rng.uniform(0.25, 0.4) + rng.normal(0, 0.08)
    for slope in slopes:
        bend, first = rng.uniform(-0.15, 0.15), rng.uniform(-0.05, 0.15)
        middle = depth + reach * (slope * along + bend * along * along)
        middle = middle + 0.02 * np.sin(along * rng.uniform(5, 9) + rng.uniform(0, 6))
        within = np.clip(np.minimum(along - first, rng.uniform(0.8, 1.2) - along) / 0.05, 0, 1)
        half = rng.uniform(0.022, 0.05) * np.clip(1.15 - 0.6 * along, 0.3, 1.2)
        half = half * (1 + 0.2 * np.sin(along * rng.uniform(10, 20)))
        far = (half - np.abs(s.view.depth - middle)) / s.pixel
        wall = np.exp(-((far + 0.9) ** 2)) * within
        s.level += rng.uniform(0.06, 0.14) * np.asarray(wall, np.float32)
        s.level += within * np.clip(far + 0.5, 0, 1) * (fluid(rng) - s.level)


def fluid_debris_level(s: Scan, rng: np.random.Generator) -> None:
    """Collection whose black upper part meets grey sediment in a straight horizontal line."""
    lesion = _shape(s, rng, rng.uniform(0.18, 0.4), rng.uniform(0.6, 0.9), wavy(rng, 0.08, 2, 4))
    behind(s, lesion, rng.uniform(0.05, 0.15), 0.6)
    rim(s, lesion, rng.uniform(0.1, 0.22), 1.6, 1.0)
    box, inside, _, height = lesion.measure(s)
    line = rng.uniform(-0.25, 0.35)
    below = np.clip((height - line) * lesion.down / s.pixel + 0.5, 0, 1)
    sediment = rng.uniform(0.36, 0.5) + 0.03 * s.texture(rng, "cloud", s.view.depth)[box]
    content = fluid(rng) * (1 - below) + sediment * below
    s.level[box] += lesion.cover(s, inside) * (content - s.level[box])


def thick_walled_collection(s: Scan, rng: np.random.Generator) -> None:
    """Irregular collection with a thick shaggy wall and clumps of debris in dark fluid."""
    lesion = _shape(s, rng, rng.uniform(0.2, 0.4), rng.uniform(0.6, 0.95), wavy(rng, 0.14, 2, 5))
    behind(s, lesion, rng.uniform(0.04, 0.14), 0.6)
    box, inside, angle, _ = lesion.measure(s)
    wall = rng.uniform(0.05, 0.1) * wavy(rng, 0.4, 2, 6)[angle]
    grey = rng.uniform(0.72, 0.85)
    clumps = s.texture(rng, "cloud", s.view.depth * np.float32(0.6))[box]
    content = rng.uniform(0.0, 0.12) + rng.uniform(0.18, 0.3) * np.clip(clumps, 0, 1.3)
    core = np.clip((inside - wall) / (2 * s.pixel) + 0.5, 0, 1)
    pattern = grey + core * (content - grey)
    s.level[box] += lesion.cover(s, inside, 2.0) * (pattern - s.level[box])


def _stretch(s: Scan, rng: np.random.Generator) -> Image:
    """Weight 1 over a broad stretch of the beams, shape ``(size, size)``."""
    middle, half = rng.uniform(-0.5, 0.5), rng.uniform(0.5, 1.0)
    return np.clip((half - np.abs(s.view.beam - np.float32(middle))) / 0.6 + 0.5, 0, 1)


def skin_thickening(s: Scan, rng: np.random.Generator) -> None:
    """Bright skin several times as thick as usual, its lower border blurred."""
    skin = s.edges["skin"].mean()
    extra = rng.uniform(1.3, 2.6) * max(float(skin), 0.08) * _stretch(s, rng)
    under = s.under("skin")
    share = np.clip((extra - under) / 0.05 + 0.5, 0, 1) * (extra > 0)
    share *= np.clip((under + 0.02) / 0.02, 0, 1)
    pattern = rng.uniform(0.6, 0.72) + 0.05 * s.texture(rng, "fibres", s.view.depth)
    s.level += share * (pattern - s.level)


def subcutaneous_oedema(s: Scan, rng: np.random.Generator) -> None:
    """Hazy bright fat in which dark clefts of fluid form a net."""
    top, bottom = s.under("skin"), s.under("fat")
    weight = _stretch(s, rng) * np.clip((top - 0.02) / 0.03, 0, 1) * np.clip(-bottom / 0.05, 0, 1)
    net = s.texture(rng, "net", s.view.depth)
    clefts = np.clip(1.4 * net - 0.4, 0, 1)
    haze = rng.uniform(0.6, 0.7) + 0.03 * s.texture(rng, "cloud", s.view.depth)
    content = haze + clefts * (rng.uniform(0.02, 0.12) - haze)
    s.level += weight * (content - s.level)


def thick_cortex_node(s: Scan, rng: np.random.Generator) -> None:
    """Oval with a broad dark rim around a bright centre that lies to one side."""
    lesion = _shape(s, rng, rng.uniform(0.2, 0.36), rng.uniform(0.55, 0.75), wavy(rng, 0.06, 2, 3))
    rim(s, lesion, rng.uniform(0.1, 0.2), 1.1, 0.8)
    fill(s, rng, lesion, rng.uniform(0.14, 0.22), 1.1, 0.015)
    shrink, side = rng.uniform(0.38, 0.55), rng.uniform(-0.25, 0.25)
    centre = Lesion(
        lesion.row + rng.uniform(0.0, 0.3) * lesion.down, lesion.col + side * lesion.across,
        shrink * lesion.across, 0.85 * shrink * lesion.down, lesion.turn, wavy(rng, 0.12, 2, 5),
    )  # fmt: skip
    fill(s, rng, centre, rng.uniform(0.58, 0.7), 2.0, 0.04)


def node_without_hilum(s: Scan, rng: np.random.Generator) -> None:
    """One to three round, evenly black-grey bodies side by side, without a bright centre."""
    reach = rng.uniform(0.13, 0.22)
    row, col, scale = s.find_layer_place(rng, 1.3 * reach, "fat", "muscle")
    reach *= scale
    for index in range(int(rng.integers(1, 4))):
        radius = reach * (1.0 if index == 0 else rng.uniform(0.5, 0.8))
        side = 0.0 if index == 0 else (1.15 * (reach + radius)) * (1 if index == 1 else -1)
        one = Lesion(
            row + (0.0 if index == 0 else rng.uniform(-0.5, 0.5) * reach), col + side,
            radius, radius * rng.uniform(0.85, 1.0), 0.0, wavy(rng, 0.05, 2, 4),
        )  # fmt: skip
        rim(s, one, rng.uniform(0.08, 0.18), 1.1, 0.8)
        fill(s, rng, one, rng.uniform(0.08, 0.14), 1.0, 0.012)


# In the order in which they are applied; what attaches to a mass comes after the masses.
SIGNS: dict[str, Sign] = {
    function.__name__: function
    for function in (
        subcutaneous_oedema,
        skin_thickening,
        circumscribed_oval_mass,
        lobulated_mass,
        spiculated_mass,
        taller_than_wide_mass,
        microlobulated_mass,
        anechoic_cyst,
        low_level_internal_echoes,
        fluid_debris_level,
        thick_walled_collection,
        thick_cortex_node,
        node_without_hilum,
        clustered_microcysts,
        dilated_ducts,
        echogenic_rind,
        posterior_shadow,
        coarse_calcification,
        punctate_calcifications,
    )
}
