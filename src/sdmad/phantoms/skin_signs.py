"""The sign primitives of the skin phantom.

Each is a function that changes the colour of the skin; what it changed is its mask. Lengths of
small parts follow the reach of the lesion on which they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sdmad.phantoms.base import Image
from sdmad.phantoms.skin_bodies import body, darken, jagged, shape
from sdmad.phantoms.skin_scene import BLOOD, MELANIN, Skin
from sdmad.phantoms.ultrasound_scan import Lesion, wavy

Sign = Callable[[Skin, np.random.Generator], None]


def _grain(lesion: Lesion) -> float:
    """Length after which the small parts of a lesion are sized."""
    return max(lesion.across, 0.36)


def _point(
    rng: np.random.Generator, lesion: Lesion, low: float, high: float
) -> tuple[float, float]:
    """Row and column of a random place between two shares of the way to the outline."""
    angle = rng.uniform(0, 2 * np.pi)
    return _at(lesion, angle, np.sqrt(rng.uniform(low * low, high * high)))


def _at(lesion: Lesion, angle: float, share: float) -> tuple[float, float]:
    """Row and column at an angle, at a share of the way from the centre to the outline."""
    far = share * float(lesion.outline[int(np.degrees(angle)) % 360])
    across, down = far * lesion.across * np.cos(angle), far * lesion.down * np.sin(angle)
    cos, sin = np.cos(lesion.turn), np.sin(lesion.turn)
    return lesion.row + across * sin + down * cos, lesion.col + across * cos - down * sin


def _scatter(
    rng: np.random.Generator, lesion: Lesion, count: int, gap: float, low: float, high: float
) -> Image:
    """Up to ``count`` places that keep ``gap`` apart, shape ``(n, 2)``."""
    points: list[tuple[float, float]] = []
    for _ in range(6 * count):
        row, col = _point(rng, lesion, low, high)
        if all(np.hypot(row - r, col - c) > gap for r, c in points):
            points.append((row, col))
        if len(points) == count:
            break
    return np.array(points, np.float32)


def _within(
    rng: np.random.Generator, lesion: Lesion, size: tuple[float, float], far: float, bumps: float
) -> Lesion:
    """A smaller shape inside a lesion.

    Args:
        rng: source of the draw.
        lesion: that holds it.
        size: least and largest half axis as a share of the lesion's.
        far: how far from the centre it may lie, as a share of the way to the outline.
        bumps: amount of the outline's waves.
    """
    row, col = _point(rng, lesion, 0, far)
    across = rng.uniform(*size) * min(lesion.across, lesion.down)
    ratio, turn = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    return Lesion(row, col, across, across * ratio, turn, wavy(rng, bumps, 2, 7))


def _patch(
    s: Skin, lesion: Lesion, part: Lesion, soft: float
) -> tuple[tuple[slice, slice], Image, Image]:
    """Box of a part, its cover as far as it lies on the lesion, and depth under its outline."""
    box, inside, _, _ = part.measure(s, 0.04 + soft * s.pixel / 2)
    cover = np.zeros_like(s.cover)
    outer, under, _, _ = lesion.measure(s)
    cover[outer] = lesion.cover(s, under, 2.0)
    return box, cover[box] * part.cover(s, inside, soft), inside


def irregular_border(s: Skin, rng: np.random.Generator) -> None:
    """Dark body with notches and bays along one side, its halves unlike."""
    oval = shape(s, rng, "dark", rng.uniform(0.7, 0.95), (0.0, 2, 2))
    lesion = replace(oval, outline=jagged(rng))
    s.bodies["dark"] = lesion
    darken(s, rng, lesion, 1.5)


def homogeneous_brown_area(s: Skin, rng: np.random.Generator) -> None:
    """Evenly brown oval of one tint from edge to edge."""
    lesion = shape(s, rng, "mole", rng.uniform(0.72, 0.97), (0.04, 2, 3))
    box, inside, _, _ = lesion.measure(s)
    s.stain(box, rng.uniform(0.7, 1.0) * lesion.cover(s, inside, rng.uniform(3, 6)), MELANIN)


def even_red_area(s: Skin, rng: np.random.Generator) -> None:
    """Evenly red area whose outline winds like a coast."""
    lesion = shape(s, rng, "red", rng.uniform(0.65, 0.95), (0.2, 2, 9))
    box, inside, _, _ = lesion.measure(s)
    s.stain(box, rng.uniform(0.6, 1.0) * lesion.cover(s, inside, 2.0), BLOOD)


def cerebriform_ridges(s: Skin, rng: np.random.Generator) -> None:
    """Winding ridges parted by dark grooves, like the surface of a brain."""
    lesion = body(s, rng, "cerebriform_ridges")
    box, inside, _, _ = lesion.measure(s)
    grooves, share = s.texture(rng, "ridges")[box], lesion.cover(s, inside - 0.03, 3.0)
    s.paint(box, 0.3 * share * (1 - grooves), (0.86, 0.72, 0.54))
    s.stain(box, rng.uniform(0.8, 1.2) * share * grooves, MELANIN)


def central_white_patch(s: Skin, rng: np.random.Generator) -> None:
    """White patch like a scar in the middle of a faint brown body."""
    lesion = body(s, rng, "central_white_patch")
    part = Lesion(
        lesion.row, lesion.col, lesion.across * rng.uniform(0.4, 0.55),
        lesion.down * rng.uniform(0.4, 0.55), lesion.turn, wavy(rng, 0.14, 2, 7),
    )  # fmt: skip
    box, cover, _ = _patch(s, lesion, part, 9.0)
    streaks = 0.75 + 0.12 * s.texture(rng, "mottle")[box]
    s.paint(box, np.clip(cover * streaks, 0, 1), (0.96, 0.89, 0.86))


def many_colours(s: Skin, rng: np.random.Generator) -> None:
    """Patches of light brown, dark brown, black, red and grey side by side in one lesion."""
    lesion = body(s, rng, "many_colours")
    colours = np.array(
        ((0.72, 0.48, 0.28), (0.3, 0.16, 0.1), (0.09, 0.07, 0.07), (0.72, 0.25, 0.22),
         (0.55, 0.54, 0.56)), np.float32,
    )  # fmt: skip
    first = rng.uniform(0, 2 * np.pi)
    for index, colour in enumerate(rng.permutation(colours)[: int(rng.integers(4, 6))]):
        row, col = _at(lesion, first + 1.3 * index, rng.uniform(0.45, 0.65))
        reach = rng.uniform(0.32, 0.5) * min(lesion.across, lesion.down)
        part = Lesion(row, col, reach, reach * rng.uniform(0.6, 1), first, wavy(rng, 0.2, 2, 6))
        box, cover, _ = _patch(s, lesion, part, 4.0)
        s.paint(box, 0.85 * cover, colour)


def regular_network(s: Skin, rng: np.random.Generator) -> None:
    """Even honeycomb of thin brown lines around small pale holes that fades at the edge."""
    lesion = body(s, rng, "regular_network")
    box, inside, _, _ = lesion.measure(s)
    fade = np.clip(inside / (0.3 * lesion.across), 0, 1)
    s.stain(box, rng.uniform(0.9, 1.3) * fade * s.texture(rng, "net")[box], MELANIN)


def fine_outer_network(s: Skin, rng: np.random.Generator) -> None:
    """Delicate pale brown net in a ring around a free centre."""
    lesion = body(s, rng, "fine_outer_network")
    box, inside, _, _ = lesion.measure(s)
    depth = inside / min(lesion.across, lesion.down)
    ring = np.clip(depth / 0.15, 0, 1) * np.clip((0.5 - depth) / 0.12, 0, 1)
    s.stain(box, rng.uniform(0.7, 1.0) * ring * s.texture(rng, "fine")[box], MELANIN)


def atypical_network(s: Skin, rng: np.random.Generator) -> None:
    """Thick black-brown lines around holes of all sizes that break off abruptly."""
    lesion = body(s, rng, "atypical_network")
    box, inside, angle, _ = lesion.measure(s)
    side = np.cos(np.radians(angle) - rng.uniform(0, 2 * np.pi)) + rng.uniform(0.3, 0.7)
    where = np.clip(4 * (side + 0.5 * s.texture(rng, "cloud")[box]), 0, 1)
    share = np.asarray(lesion.cover(s, inside - 0.02, 2.0) * where, np.float32)
    s.paint(box, 0.25 * share, (0.75, 0.55, 0.4))
    s.stain(box, rng.uniform(1.8, 2.6) * share * s.texture(rng, "wild")[box], MELANIN)


def round_globules(s: Skin, rng: np.random.Generator) -> None:
    """Round brown globules of one size, spread evenly over the lesion."""
    lesion = body(s, rng, "round_globules")
    unit = _grain(lesion)
    pitch = rng.uniform(0.15, 0.19) * unit
    steps = np.arange(-10, 11) * pitch
    rows, cols = np.meshgrid(steps, steps, indexing="ij")
    cols = cols + 0.5 * pitch * (np.arange(21) % 2)[:, None]
    points = np.stack([rows, cols], -1).reshape(-1, 2) + rng.uniform(-0.14, 0.14, (441, 2)) * pitch
    keep = np.hypot(points[:, 0] / lesion.down, points[:, 1] / lesion.across) < 0.86
    cos, sin = np.cos(lesion.turn), np.sin(lesion.turn)
    turned = points[keep] @ np.array(((cos, -sin), (sin, cos))) + (lesion.row, lesion.col)
    radii = rng.uniform(0.9, 1.1, len(turned)) * 0.34 * pitch
    s.stain(s.everywhere, rng.uniform(0.9, 1.3) * s.stroke(turned, radii, 1.5), MELANIN)


def radial_streaks(s: Skin, rng: np.random.Generator) -> None:
    """Dark fingers that run straight outwards across the edge, some with a knob at the end."""
    lesion = body(s, rng, "radial_streaks")
    unit, first = _grain(lesion), rng.uniform(0, 2 * np.pi)
    arc, count = rng.uniform(2.5, 2 * np.pi), int(rng.integers(14, 26))
    lines, radii = [], []
    for angle in first + np.linspace(0, arc, count) + rng.normal(0, 0.05, count):
        start = _at(lesion, angle, rng.uniform(0.7, 0.82))
        line = s.trace(start, _at(lesion, angle, rng.uniform(1.12, 1.32)), rng.uniform(-0.06, 0.06))
        along = np.linspace(0, 1, len(line))
        knob = rng.uniform(0, 0.8) * np.exp(-(((along - 0.93) / 0.07) ** 2))
        lines.append(line)
        radii.append(unit * rng.uniform(0.024, 0.034) * (1.1 - 0.5 * along + knob))
    cover = s.stroke(np.concatenate(lines), np.concatenate(radii))
    s.paint(s.everywhere, 0.9 * cover, (0.2, 0.11, 0.08))


def blue_white_veil(s: Skin, rng: np.random.Generator) -> None:
    """Blue-grey area without structure beneath a milky white haze."""
    lesion = body(s, rng, "blue_white_veil")
    part = _within(rng, lesion, (0.45, 0.65), 0.35, 0.18)
    box, cover, _ = _patch(s, lesion, part, 9.0)
    haze = np.clip(0.45 + 0.3 * s.texture(rng, "cloud")[box], 0, 0.9)
    s.paint(box, 0.85 * cover, (0.33, 0.41, 0.57))
    s.paint(box, 0.6 * cover * haze, (0.75, 0.82, 0.93))


def ovoid_nests(s: Skin, rng: np.random.Generator) -> None:
    """Smooth blue-grey ovals, each apart from the others."""
    lesion = body(s, rng, "ovoid_nests")
    unit = _grain(lesion)
    for row, col in _scatter(rng, lesion, int(rng.integers(3, 8)), 0.42 * unit, 0.15, 0.75):
        reach, turn = rng.uniform(0.12, 0.22) * unit, rng.uniform(0, np.pi)
        nest = Lesion(row, col, reach, reach * rng.uniform(0.55, 0.8), turn, wavy(rng, 0.04, 2, 4))
        box, cover, _ = _patch(s, lesion, nest, 2.5)
        s.paint(box, rng.uniform(0.75, 0.9) * cover, (0.33, 0.37, 0.47))


def red_lacunae(s: Skin, rng: np.random.Generator) -> None:
    """Round red to purple lagoons with a sharp edge, parted by pale septa."""
    lesion = body(s, rng, "red_lacunae")
    unit = _grain(lesion)
    gap = rng.uniform(0.24, 0.32) * unit
    purple = rng.uniform(0, 1)
    for row, col in _scatter(rng, lesion, int(rng.integers(9, 22)), gap, 0, 0.85):
        reach, shade = rng.uniform(0.4, 0.56) * gap, np.clip(purple + rng.normal(0, 0.25), 0, 1)
        pool = Lesion(row, col, reach, reach * rng.uniform(0.75, 1), 0.0, wavy(rng, 0.08, 2, 4))
        box, cover, inside = _patch(s, lesion, pool, 1.2)
        rim = np.exp(-((inside / (1.3 * s.pixel) + 0.7) ** 2))
        s.paint(box, np.asarray(0.3 * rim, np.float32), (0.93, 0.75, 0.74))
        s.paint(box, 0.9 * cover, (0.66 - 0.3 * shade, 0.05, 0.1 + 0.1 * shade))


def ulcer_crust(s: Skin, rng: np.random.Generator) -> None:
    """Raw orange-red hollow with dark clots and yellow crust."""
    lesion = body(s, rng, "ulcer_crust")
    part = _within(rng, lesion, (0.4, 0.6), 0.4, 0.2)
    box, cover, inside = _patch(s, lesion, part, 1.5)
    rim = np.exp(-((inside / (2.2 * s.pixel)) ** 2))
    s.paint(box, 0.95 * cover, (0.78, 0.29, 0.15))
    s.paint(box, np.asarray(0.6 * rim * (cover > 0), np.float32), (0.87, 0.7, 0.38))
    clots = np.clip(1.6 * s.texture(rng, "mottle")[box] + rng.uniform(-0.4, 0.3), 0, 1)
    s.paint(box, 0.92 * cover * clots * np.clip(inside / (3 * s.pixel), 0, 1), (0.27, 0.06, 0.05))


def _branch(
    s: Skin,
    rng: np.random.Generator,
    start: tuple[float, float],
    way: float,
    length: float,
    thick: float,
    left: int,
) -> list[tuple[Image, Image]]:
    """A vessel that bends and splits ``left`` more times: lines with their radii."""
    end = start[0] + length * np.sin(way), start[1] + length * np.cos(way)
    line = s.trace(start, end, rng.uniform(-0.2, 0.2), rng.uniform(-0.03, 0.03))
    lines: list[tuple[Image, Image]] = [(line, np.linspace(thick, 0.75 * thick, len(line)))]
    for side in (-1, 1) if left else ():
        turn, share = way + side * rng.uniform(0.3, 0.8), rng.uniform(0.55, 0.85)
        lines += _branch(s, rng, end, turn, share * length, 0.7 * thick, left - 1)
    return lines


def arborising_vessels(s: Skin, rng: np.random.Generator) -> None:
    """Sharp bright red vessels that branch like trees from the edge inwards."""
    lesion = body(s, rng, "arborising_vessels")
    unit, first, count = _grain(lesion), rng.uniform(0, 2 * np.pi), int(rng.integers(2, 5))
    lines: list[tuple[Image, Image]] = []
    for index in range(count):
        start = _at(lesion, first + 2 * np.pi * index / count + rng.normal(0, 0.2), 0.98)
        way = np.arctan2(lesion.row - start[0], lesion.col - start[1]) + rng.normal(0, 0.3)
        length, thick = rng.uniform(0.4, 0.6) * unit, unit * rng.uniform(0.02, 0.028)
        lines += _branch(s, rng, start, way, length, thick, 3)
    points, radii = (np.concatenate(parts) for parts in zip(*lines, strict=True))
    cover = s.stroke(points, radii)
    s.paint(s.everywhere, 0.9 * cover, (0.7, 0.07, 0.12))


def shiny_white_streaks(s: Skin, rng: np.random.Generator) -> None:
    """Short shining white lines, parallel to each other or crossing at right angles."""
    lesion = body(s, rng, "shiny_white_streaks")
    unit, way, lines = _grain(lesion), rng.uniform(0, np.pi), []
    for row, col in _scatter(rng, lesion, int(rng.integers(14, 26)), 0.09 * unit, 0, 0.62):
        turn = way + (np.pi / 2 if rng.random() < 0.35 else 0) + rng.normal(0, 0.06)
        half = rng.uniform(0.09, 0.2) * unit
        down, across = half * np.sin(turn), half * np.cos(turn)
        lines.append(s.trace((row - down, col - across), (row + down, col + across), 0.0))
    points = np.concatenate(lines)
    cover = s.stroke(points, np.full(len(points), 0.013 * unit))
    s.paint(s.everywhere, 0.7 * cover, (0.99, 0.96, 0.95))


def comedo_openings(s: Skin, rng: np.random.Generator) -> None:
    """Brown-black plugs in round or oval pits of unlike size."""
    lesion = body(s, rng, "comedo_openings")
    unit = _grain(lesion)
    points = _scatter(rng, lesion, int(rng.integers(9, 20)), 0.17 * unit, 0, 0.85)
    radii = rng.uniform(0.03, 0.075, len(points)) * unit
    twins = points + rng.uniform(-0.7, 0.7, points.shape) * radii[:, None]
    both, sizes = np.concatenate([points, twins]), np.concatenate([radii, 0.8 * radii])
    s.paint(s.everywhere, 0.35 * s.stroke(both, 1.35 * sizes, 2.0), (0.5, 0.33, 0.2))
    s.paint(s.everywhere, 0.92 * s.stroke(both, sizes), (0.13, 0.08, 0.06))


def milia_like_cysts(s: Skin, rng: np.random.Generator) -> None:
    """Bright whitish yellow round dots that shine like stars on the brown."""
    lesion = body(s, rng, "milia_like_cysts")
    unit = _grain(lesion)
    points = _scatter(rng, lesion, int(rng.integers(10, 26)), 0.13 * unit, 0, 0.85)
    radii = rng.uniform(0.02, 0.05, len(points)) * unit
    s.paint(s.everywhere, 0.35 * s.stroke(points, 1.6 * radii, 4.0), (0.9, 0.8, 0.62))
    s.paint(s.everywhere, 0.9 * s.stroke(points, radii, 2.0), (0.99, 0.96, 0.84))


# In the order in which they are applied; what makes an outline comes before what lies within.
SIGNS: dict[str, Sign] = {
    function.__name__: function
    for function in (
        irregular_border,
        homogeneous_brown_area,
        even_red_area,
        cerebriform_ridges,
        central_white_patch,
        many_colours,
        regular_network,
        fine_outer_network,
        atypical_network,
        round_globules,
        radial_streaks,
        blue_white_veil,
        ovoid_nests,
        red_lacunae,
        ulcer_crust,
        arborising_vessels,
        shiny_white_streaks,
        comedo_openings,
        milia_like_cysts,
    )
}
