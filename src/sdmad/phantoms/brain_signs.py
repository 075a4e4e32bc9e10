"""Sign primitives of the brain MRI phantom, each painted over a finished normal head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import hypot

import numpy as np

from sdmad.phantoms.base import Image
from sdmad.phantoms.brain_anatomy import (
    Field,
    Scene,
    Window,
    around,
    chain,
    layers,
    ramp,
    tube,
    unit,
    ventricle_shape,
)

Rng = np.random.Generator


def blob(
    scene: Scene, rng: Rng, centre: tuple[float, float], radii: tuple[float, float], rough: float
) -> tuple[Window, Image]:
    """Signed distance to a turned ellipse whose contour wanders by ``rough`` of its radius."""
    (u, v), (a, b) = centre, radii
    reach = max(a, b) * (1 + 1.5 * rough)
    window = scene.window(u - reach, u + reach, v - reach, v + reach)
    x, y = scene.u[window] - u, scene.v[window] - v
    turn = rng.uniform(0, np.pi)
    c, s = float(np.cos(turn)), float(np.sin(turn))
    p, q = (c * x + s * y) / a, (c * y - s * x) / b
    cells = min(max(int(1.6 / max(a, b) * scene.half), 4), 26)
    noise = scene.patch(rng, window, cells) if rough else np.float32(0)
    return window, (np.sqrt(p * p + q * q) - 1 - rough * noise) * min(a, b)


def _places(
    scene: Scene, rng: Rng, radii: Sequence[float], depth: float, white: bool = False
) -> list[tuple[int, int]]:
    """A pixel in the brain for each radius, below ``depth`` and clear of earlier lesions."""
    rows, columns = rng.integers(0, scene.size, (2, 140 + 20 * len(radii)))
    cover = (scene.white if white else scene.brain)[rows, columns]
    cover = cover * (1 - scene.opaque[rows, columns]) * (scene.depth[rows, columns] > depth)
    good = np.flatnonzero(cover > 0.6)
    rows, columns = rows[good], columns[good]
    points = list(zip(scene.u[rows, columns].tolist(), scene.v[rows, columns].tolist(),
                      rows.tolist(), columns.tolist(), strict=True))  # fmt: skip
    found = []
    for radius in radii:
        best, choice = -9.0, (0.3 * scene.narrow, 0.0, scene.size // 2, scene.size // 2)
        while points and best <= 0:
            u, v, row, column = points.pop()
            room = min([hypot(u - x, v - y) - r - radius for x, y, r in scene.taken] or [9.0])
            if room > best:
                best, choice = room, (u, v, row, column)
            if len(points) % 8 == 0:
                break
        scene.taken.append((choice[0], choice[1], radius))
        found.append(choice[2:])
    return found


def _place(scene: Scene, rng: Rng, radius: float, depth: float) -> tuple[float, float]:
    """Head coordinates of a place for one lesion, as :func:`_places`."""
    at = _places(scene, rng, (radius,), depth)[0]
    return float(scene.u[at]), float(scene.v[at])


def _near_site(scene: Scene, rng: Rng, radius: float) -> tuple[float, float]:
    """A place under the site of the operation, below the surface of the brain."""
    depth = scene.surface - radius * rng.uniform(0.75, 1.5) - 0.02
    place = scene.at(scene.site + rng.normal(0, 0.12), max(depth, 0.3))
    scene.taken.append((*place, radius))
    return place


def large_ventricles(scene: Scene, rng: Rng) -> None:
    """Ventricles ballooned beyond what the brain's size explains, as in hydrocephalus."""
    grow = rng.uniform(0.035, 0.085)
    for points in scene.ventricles:
        share = 0.55 if points[0][0] < 0.02 and len(points) == 2 else 1.0
        if scene.level in ("midline", "lateral"):
            shape = tube(scene, points, 1.1 * grow)
        else:
            shape = ventricle_shape(scene, points, grow * share)
        window, distance = shape
        cover = ramp(distance, scene.pixel * 0.8)
        scene.paint(window, cover, scene.tissue["csf"])
        scene.opaque[window] = np.maximum(scene.opaque[window], cover)
        if share == 1.0:
            scene.taken += [(p[0], p[1], p[2] + grow) for p in points]
    scene.ventricles = [
        [(p[0] + 0.75 * grow * (p[0] > 0.02), p[1] * (1 + 0.6 * grow), p[2] + grow) for p in points]
        for points in scene.ventricles
    ]


def wide_sulci(scene: Scene, rng: Rng) -> None:
    """Shrunken gyri with broad fluid-filled sulci and fissures: loss of brain volume."""
    amount = rng.uniform(0.35, 0.9)
    inside = unit((scene.inner - scene.radius) / scene.pixel)
    reach = scene.depth
    sulci = unit((scene.folds - (scene.sulcus - 0.25 - 0.5 * amount) - 1.6 * reach) * 3.5 + 0.5)
    shrunk = unit((0.015 + 0.03 * amount - reach) / (2 * scene.pixel) + 0.5)
    cover = inside * np.maximum(sulci, shrunk) * (reach < 0.34) * (reach > -0.07)
    cover *= unit(scene.brain * 3 + (reach < 0.06))
    paired = scene.level not in ("midline", "lateral")
    if not paired:  # from the side, brainstem and cerebellum lie below the hemisphere
        cover *= scene.v < 0.27
    scene.image += cover * (scene.tissue["csf"] - scene.image)
    scene.opaque = np.maximum(scene.opaque, cover)
    scene.brain = scene.brain * (1 - cover)
    scene.white = scene.white * (1 - cover)
    for points in scene.fissures:
        window, distance = chain(scene, points, 0.018 + 0.025 * amount, paired)
        wider = ramp(distance, scene.pixel) * unit((scene.inner - scene.radius[window]) * 40)
        scene.paint(window, wider, scene.tissue["csf"])
        scene.opaque[window] = np.maximum(scene.opaque[window], wider)


def _skull_window(scene: Scene, half: float, out: float) -> Window:
    angles = np.linspace(scene.site - half, scene.site + half, 9)
    points = np.array([scene.at(a, r) for a in angles for r in (scene.inner - 0.12, 1 + out)])
    return scene.window(
        float(points[:, 0].min()), float(points[:, 0].max()),
        float(points[:, 1].min()), float(points[:, 1].max()),
    )  # fmt: skip


def skull_defect(scene: Scene, rng: Rng) -> None:
    """A break in the bone of the vault: a missing piece, or a flap that sits off its bed."""
    half = rng.uniform(0.24, 0.55)
    sunk = rng.random() < 0.65
    window = _skull_window(scene, half + 0.12, 0.02)
    radius = scene.radius[window]
    cover = around(scene, window, scene.site, half, 0.03)
    cover = cover * unit((radius - scene.inner + 0.11) / 0.03)
    cover = cover * ramp(radius - (1.07 if sunk else 1.0), scene.pixel)
    bed = scene.inner - scene.surface
    if sunk:
        sunken = rng.uniform(0.03, 0.1) if rng.random() < 0.6 else -rng.uniform(0.02, 0.06)
        gone = layers(scene, radius + sunken, skull=0.0)
        inner = unit((scene.inner - radius - sunken - 0.3 * bed) / scene.pixel + 0.5)
        value: Field = gone + inner * (scene.image[window] - gone)
    else:
        step = rng.uniform(0.035, 0.06) * (1 if rng.random() < 0.5 else -1)
        flap = layers(scene, radius + step, skull=rng.uniform(0.6, 1.0))
        edge = around(scene, window, scene.site, half - 0.05, 0.02)
        cleft = 0.5 * (scene.tissue["muscle"] + max(scene.tissue["csf"], scene.tissue["fat"]))
        inner = unit((scene.inner - radius - max(step, 0.0)) / scene.pixel)
        piece = cleft + edge * (flap - cleft)
        value = piece + inner * (scene.image[window] - piece)
    scene.paint(window, cover, np.asarray(value, np.float32))


def scalp_deformity(scene: Scene, rng: Rng) -> None:
    """Soft tissue bulging over an operated side, or a scalp thinned to a sunken sheet."""
    half = rng.uniform(0.25, 0.55)
    t = scene.tissue
    out = rng.uniform(0.08, 0.17)
    window = _skull_window(scene, half + 0.1, out)
    radius = scene.radius[window]
    hump = around(scene, window, scene.site, 0.5 * half, 0.5 * half)
    hump = hump * hump * (3 - 2 * hump)
    w = scene.pixel
    if rng.random() < 0.75 or scene.scalp > 0.94:
        top = 1 + out * hump
        body = max(t["muscle"], 0.32) * rng.uniform(1.0, 1.5)
        fluid = min(max(t["csf"], 0.25), 0.8)
        streak = unit(0.5 - (np.abs(radius - scene.scalp - 0.35 * (top - scene.scalp))
                                - 0.12 * (top - scene.scalp)) / (2 * w))  # fmt: skip
        value = body + streak * rng.uniform(0, 0.8) * (fluid - body)
        skin = unit((radius - top + 3 * w) / w)
        value = value + skin * (max(t["fat"], 0.45) - value)
        cover = unit((top - radius) / w + 0.5)
        cover = cover * unit((radius - scene.scalp) / w) * unit(hump * 8)
    else:
        thin = 1 - (1 - scene.scalp) * 1.2 * hump
        value = np.full_like(radius, t["air"])
        cover = unit((radius - thin) / w) * unit(hump * 8)
    scene.paint(window, np.asarray(cover, np.float32), np.asarray(value, np.float32))


def resection_cavity(scene: Scene, rng: Rng) -> None:
    """A fluid-filled hole with an uneven wall where tissue was taken out, often at the surface."""
    radius = rng.uniform(0.11, 0.2)
    centre = _near_site(scene, rng, radius)
    window, distance = blob(scene, rng, centre, (radius, radius * rng.uniform(0.65, 1)), 0.28)
    inside = unit((scene.surface + 0.01 - scene.radius[window]) / scene.pixel + 0.5)
    wall = ramp(np.abs(distance - 0.012) - 0.01, scene.pixel) * inside
    scene.paint(window, wall * rng.uniform(0, 0.5), scene.tissue["bright"] * 0.85)
    cover = ramp(distance, scene.pixel) * inside
    scene.paint(window, cover, scene.tissue["csf"] * rng.uniform(0.6, 1.1))
    scene.opaque[window] = np.maximum(scene.opaque[window], cover)


def solid_mass(scene: Scene, rng: Rng) -> None:
    """A sharply bounded, lobulated, fairly homogeneous mass of high signal."""
    radius = rng.uniform(0.1, 0.2)
    centre = _place(scene, rng, radius, 0.8 * radius)
    window, distance = blob(scene, rng, centre, (radius, radius * rng.uniform(0.7, 1)), 0.14)
    inside = unit((scene.inner - scene.radius[window]) / scene.pixel + 0.5)
    texture = 1 + rng.uniform(0.02, 0.1) * scene.patch(rng, window, 18)
    value = scene.tissue["bright"] * rng.uniform(0.88, 1.08) * texture
    cover = ramp(distance, scene.pixel) * inside
    rim = ramp(np.abs(distance - 0.012) - 0.008, scene.pixel) * inside
    scene.paint(window, rim * rng.uniform(0, 0.7), scene.tissue["csf"])
    scene.paint(window, cover, np.asarray(unit(value), np.float32))
    scene.opaque[window] = np.maximum(scene.opaque[window], cover)


def ring_enhancing_lesion(scene: Scene, rng: Rng) -> None:
    """A bright, uneven wall around a dark centre, as an abscess or a necrotic tumour shows."""
    radius = rng.uniform(0.08, 0.16)
    centre = _place(scene, rng, radius, 0.7 * radius)
    window, distance = blob(scene, rng, centre, (radius, radius * rng.uniform(0.7, 1)), 0.13)
    inside = unit((scene.surface - scene.radius[window]) / scene.pixel + 0.5)
    wall = rng.uniform(0.015, 0.028) * (1 + 0.3 * scene.patch(rng, window, 10))
    core = ramp(distance, scene.pixel) * inside
    scene.paint(window, core, scene.tissue["csf"] + rng.uniform(0, 0.12))
    ring = ramp(np.abs(distance) - np.maximum(wall, 0.011), 0.8 * scene.pixel) * inside
    scene.paint(window, ring, min(1.0, scene.tissue["bright"] * 1.1))
    scene.opaque[window] = np.maximum(scene.opaque[window], np.maximum(core, ring))


def dark_susceptibility_spot(scene: Scene, rng: Rng) -> None:
    """Black spots that bloom beyond their cause: haemosiderin, calcium or metal."""
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(0.035, 0.065)
        centre = _place(scene, rng, radius, 0.08)
        window, distance = blob(scene, rng, centre, (radius, radius * rng.uniform(0.6, 1)), 0.15)
        cover = ramp(distance, scene.pixel + rng.uniform(0, 0.012))
        if rng.random() < 0.35:
            halo = ramp(np.abs(distance - 0.012) - 0.008, scene.pixel)
            scene.paint(window, halo * 0.5, scene.tissue["bright"])
        scene.paint(window, cover, rng.uniform(0.0, 0.05))
        scene.opaque[window] = np.maximum(scene.opaque[window], cover)


def surrounding_gliosis(scene: Scene, rng: Rng) -> None:
    """A hazy bright zone with a vague border in the brain under an operated site."""
    radius = rng.uniform(0.2, 0.32)
    centre = scene.at(scene.site, scene.surface - radius * rng.uniform(0.6, 1.0))
    window, distance = blob(scene, rng, centre, (radius, radius * rng.uniform(0.65, 1)), 0.25)
    cover = ramp(distance, rng.uniform(0.04, 0.08)) * (1 - scene.opaque[window])
    cover = cover * scene.brain[window] * (0.45 + 0.55 * scene.white[window])
    scene.paint(window, cover * rng.uniform(0.6, 0.95), scene.tissue["bright"])


def periventricular_halo(scene: Scene, rng: Rng) -> None:
    """A smooth bright band that follows the walls of the lateral ventricles, with caps."""
    width = rng.uniform(0.03, 0.06)
    strength = rng.uniform(0.7, 1.0)
    paired = scene.level not in ("midline", "lateral")
    cover = np.zeros_like(scene.image)
    for points in scene.ventricles:
        if paired and points[0][0] < 0.02 and len(points) == 2:
            continue
        window, distance = chain(scene, points, 0.005, paired)
        band = unit(1.25 - distance / width)
        cover[window] = np.maximum(cover[window], band)
    cover *= (1 - scene.opaque) * strength
    if paired:
        cover *= unit(np.abs(scene.middle) / 0.03 - 0.4)
    scene.image += cover * (min(1.0, scene.tissue["bright"] * 1.1) - scene.image)


def confluent_white_matter_haze(scene: Scene, rng: Rng) -> None:
    """Merging patches of high signal through the deep white matter of both hemispheres."""
    everything = (slice(None), slice(None))
    noise = 0.8 * scene.patch(rng, everything, 7) + 0.6 * scene.patch(rng, everything, 15)
    deep = unit((scene.depth - 0.16) * 5) * scene.white
    side = unit((np.abs(scene.middle) - 0.09) * 12)
    far = scene.v - (0.0 if scene.level != "middle" else -0.12)
    belt = unit((0.62 - np.sqrt(far * far + 0.5 * scene.u * scene.u)) * 6)
    if scene.level == "midline":
        side = np.ones_like(side)
    amount = unit((noise + rng.uniform(0.3, 1.0)) * 1.2)
    cover = deep * side * belt * amount * (1 - scene.opaque) * rng.uniform(0.65, 0.95)
    scene.image += cover * (scene.tissue["bright"] - scene.image)


def _foci(scene: Scene, rng: Rng, radii: Sequence[float]) -> None:
    """Paint small bright ovals of the given radii into the white matter."""
    unit_radius = 0.85 * scene.size / 2
    for radius, (row, column) in zip(radii, _places(scene, rng, radii, 0.12, True), strict=True):
        a, b = radius * unit_radius, radius * unit_radius * rng.uniform(0.65, 1)
        if rng.random() < 0.5:
            a, b = b, a
        reach = int(max(a, b)) + 3
        top, left = max(row - reach, 0), max(column - reach, 0)
        window = slice(top, row + reach + 1), slice(left, column + reach + 1)
        y = np.arange(top, min(row + reach + 1, scene.size), dtype=np.float32)[:, None] - row
        x = np.arange(left, min(column + reach + 1, scene.size), dtype=np.float32) - column
        x = x + y * rng.uniform(-0.3, 0.3)
        distance = (np.sqrt(x * x / (a * a) + y * y / (b * b)) - 1) * min(a, b)
        cover = ramp(distance, 0.9) * rng.uniform(0.8, 1)
        scene.paint(window, cover, min(1.0, scene.tissue["bright"] * 1.1))


def many_bright_foci(scene: Scene, rng: Rng) -> None:
    """Many small bright spots scattered through the white matter of both hemispheres."""
    _foci(scene, rng, rng.uniform(0.02, 0.044, int(rng.integers(8, 18))).tolist())


def small_bright_focus(scene: Scene, rng: Rng) -> None:
    """A single small bright spot in the white matter, of no particular pattern."""
    _foci(scene, rng, [rng.uniform(0.035, 0.06)])


def bright_dural_rim(scene: Scene, rng: Rng) -> None:
    """A bright band of thickened dura along the inner table, over one side or all around."""
    thick = rng.uniform(0.035, 0.075)
    everything = (slice(None), slice(None))
    wavy = thick * (1 + 0.2 * scene.patch(rng, everything, 6))
    middle = scene.inner - 0.004 - 0.5 * wavy
    band = ramp(np.abs(scene.radius - middle) - 0.5 * wavy, scene.pixel * 0.8)
    if rng.random() < 0.65:
        band = band * around(scene, everything, scene.site, rng.uniform(0.8, 1.8), 0.25)
    scene.image += band * (min(1.0, scene.tissue["bright"] * 1.15) - scene.image)


def thick_falx(scene: Scene, rng: Rng) -> None:
    """A broad bright falx between the hemispheres, in front, behind or throughout."""
    thick = rng.uniform(0.028, 0.05)
    ends = {"ganglia": 0.42, "bodies": 0.42}.get(scene.level, 0.0)
    front = unit((-ends - scene.v) * 14 + 0.5)
    back = unit((scene.v - ends) * 14 + 0.5)
    part = rng.random()
    along = front if part < 0.25 else back if part < 0.5 else np.maximum(front, back)
    window = scene.window(-0.15, 0.15, -1, 1)
    wavy = thick * (1 + 0.25 * scene.patch(rng, window, 7))
    band = ramp(np.abs(scene.middle[window]) - wavy, scene.pixel * 0.8) * along[window]
    band = band * unit((scene.inner - scene.radius[window]) / scene.pixel)
    scene.paint(window, band, min(1.0, scene.tissue["bright"] * 1.15))


# In the order in which they are painted: fluid and solid things first, haze and rims over them.
PAINTERS: dict[str, Callable[[Scene, Rng], None]] = {
    "large_ventricles": large_ventricles,
    "wide_sulci": wide_sulci,
    "skull_defect": skull_defect,
    "scalp_deformity": scalp_deformity,
    "resection_cavity": resection_cavity,
    "solid_mass": solid_mass,
    "ring_enhancing_lesion": ring_enhancing_lesion,
    "dark_susceptibility_spot": dark_susceptibility_spot,
    "surrounding_gliosis": surrounding_gliosis,
    "periventricular_halo": periventricular_halo,
    "confluent_white_matter_haze": confluent_white_matter_haze,
    "many_bright_foci": many_bright_foci,
    "small_bright_focus": small_bright_focus,
    "bright_dural_rim": bright_dural_rim,
    "thick_falx": thick_falx,
}
