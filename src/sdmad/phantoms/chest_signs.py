"""Signs of heart, diaphragm, pleura and inflation, the list of all signs, and their drawing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sdmad.phantoms.base import Image, Mask
from sdmad.phantoms.chest_opacities import (
    band_opacity,
    batwing_haze,
    bulla,
    cavity,
    consolidation,
    ground_glass_haze,
    honeycombing,
    interstitial_lines,
    lobar_opacity,
    mass,
    multiple_nodules,
    nodule,
    patchy_opacity,
    reticular_lines,
)
from sdmad.phantoms.chest_scene import (
    WHOLE,
    Change,
    Row,
    Scene,
    Window,
    between,
    either,
    half_of,
    local_air,
    moved_heart,
    reach,
    rough,
    spot,
    unit,
)

Sign = Callable[[Scene, np.random.Generator], Change]
VISIBLE = 0.02


def _new_edge(scene: Scene, edge: Row, density: float) -> Change:
    """Move the lower border of the lungs and return the change in attenuation."""
    edge = np.asarray(edge, dtype=np.float32)
    low = min(float(edge.min()), float(scene.edge.min()))
    rows = slice(min(max(int(scene.row(low) - 3), 0), scene.size - 2), None)
    lost = scene.cut(scene.edge, rows) - scene.cut(edge, rows)
    change = scene.tissue[rows] * scene.depth[rows]
    change += density * unit(scene.depth[rows] * 3)
    change *= lost
    scene.edge = edge
    return (rows, slice(None)), change


def large_heart(scene: Scene, rng: np.random.Generator) -> Change:
    """Cardiac silhouette of more than half the thorax: wide left ventricle and right atrium."""
    assert scene.heart is not None
    change = moved_heart(
        scene,
        left=between(rng, 0.72, 0.92),
        right=between(rng, 0.32, 0.46),
        tall=scene.heart.tall * between(rng, 1.05, 1.25),
        density=scene.heart.density * 1.05,
    )
    return WHOLE, change


def volume_loss_shift(scene: Scene, rng: np.random.Generator) -> Change:
    """Heart and trachea pulled toward a shrunken, denser hemithorax."""
    assert scene.heart is not None
    side, pull = scene.lean, between(rng, 0.2, 0.36)
    change = moved_heart(
        scene,
        shift=scene.heart.shift + side * pull,
        trachea=scene.heart.trachea + side * pull * between(rng, 0.45, 0.7),
    )
    half = half_of(scene, side)
    change[:, half] += scene.depth[:, half] * np.float32(between(rng, 0.15, 0.35))
    return WHOLE, change


def flat_diaphragm(scene: Scene, rng: np.random.Generator) -> Change:
    """Both domes pushed down to a nearly straight line by overinflated lungs."""
    level = float(scene.edge.min()) + between(rng, 0.2, 0.32)
    tilt = between(rng, -0.03, 0.06) * np.abs(scene.u) + between(rng, -0.03, 0.03) * scene.u
    return _new_edge(scene, level + tilt, between(rng, 0.7, 0.9))


def elevated_diaphragm(scene: Scene, rng: np.random.Generator) -> Change:
    """One dome standing much higher than the other."""
    toward = reach(scene, scene.lean)
    bump = unit(1 - ((toward - 0.48) / 0.56) ** 2) ** 0.6
    return _new_edge(scene, scene.edge - between(rng, 0.26, 0.5) * bump, between(rng, 0.7, 1.0))


def deep_sulcus(scene: Scene, rng: np.random.Generator) -> Change:
    """Lateral costophrenic angle that reaches far down and is unusually black (supine gas)."""
    side = scene.lean
    toward = reach(scene, side)
    slope = np.clip((toward - between(rng, 0.4, 0.6)) / 0.5, 0, 1.1)
    window, change = _new_edge(scene, scene.edge + between(rng, 0.35, 0.55) * slope, 0.8)
    gas = unit((toward - 0.4) * 4) * np.float32(between(rng, 0.15, 0.3))
    change -= scene.attenuation[window] * gas * local_air(scene, window)
    return window, change


def blunted_angle(scene: Scene, rng: np.random.Generator) -> Change:
    """A little fluid that rounds off one costophrenic angle."""
    side = either(rng)
    toward = reach(scene, side)
    dome = float(scene.edge[int(np.argmin(np.abs(toward - 0.55)))])
    start, rise = between(rng, 0.5, 0.66), between(rng, 0.1, 0.3)
    surface = dome + 0.04 - rise * np.clip((toward - start) / (0.95 - start), 0, 1.3) ** 2
    edge = np.where(toward > 0.3, np.minimum(scene.edge, surface), scene.edge)
    return _new_edge(scene, edge, between(rng, 0.4, 0.8))


def meniscus_fluid(scene: Scene, rng: np.random.Generator) -> Change:
    """Large effusion: white lower hemithorax whose upper border climbs along the chest wall."""
    toward = reach(scene, -scene.lean)
    dome = float(scene.edge[int(np.argmin(np.abs(toward - 0.5)))])
    level, rise = dome - between(rng, 0.2, 0.65), between(rng, 0.15, 0.4)
    surface = level - rise * np.clip((toward - 0.35) / 0.6, 0, 1.2) ** 2
    surface -= 0.1 * unit((0.35 - toward) / 0.3) ** 2
    edge = np.minimum(scene.edge, surface)
    if scene.heart is not None:
        edge = np.where(toward > 0.03, edge, scene.edge)
    return _new_edge(scene, edge, between(rng, 0.4, 0.9))


def fissure_fluid(scene: Scene, rng: np.random.Generator) -> Change:
    """Spindle of fluid caught in a fissure: level, thick in the middle, pointed at both ends."""
    side = -1 if rng.random() < 0.8 else 1
    row, col, _ = scene.place(rng, side, (0.45, 0.66), (0.45, 0.6))
    wide, tall = between(rng, 0.2, 0.34) * scene.ku, between(rng, 0.045, 0.085) * scene.kv
    window = scene.window(row, col, tall + wide * 0.15 + 2, wide)
    dr, dc = scene.offsets(window, row, col)
    dr = dr - between(rng, -0.12, 0.12) * dc
    lens = tall * unit(1 - (dc / wide) ** 2)
    return window, unit((lens - np.abs(dr)) / 1.3) * between(rng, 0.45, 0.9)


def pleural_line(scene: Scene, rng: np.random.Generator) -> Change:
    """Thin white line parallel to the chest wall, with black, empty space outside it."""
    side, half = scene.lean, half_of(scene, scene.lean)
    wide, narrow = between(rng, 0.16, 0.34), between(rng, 0.02, 0.12)
    fall = unit((scene.v + 1) / between(rng, 1.2, 1.9))
    gap = (wide + (narrow - wide) * fall) * scene.ku
    line = scene.high[side] - side * gap
    cols = np.arange(scene.size, dtype=np.float32)[half]
    outside = (cols[None, :] - line[:, None].astype(np.float32)) * side
    window = (slice(None), half)
    air = unit(local_air(scene, window) * 2)
    edge = unit(1.2 * scene.size / 128 - np.abs(outside)) * between(rng, 0.4, 0.7)
    empty = unit(outside - 0.5) * between(rng, 0.35, 0.6)
    return window, (edge - empty * scene.attenuation[window]) * air


def collapsed_lung(scene: Scene, rng: np.random.Generator) -> Change:
    """Small dense lung shrunk onto the hilum within an empty, black hemithorax."""
    side, half = scene.lean, half_of(scene, scene.lean)
    row, col = scene.hila[side]
    row, col = row + between(rng, 0.05, 0.3) * scene.kv, col + side * 0.05 * scene.ku
    tall, wide = between(rng, 0.4, 0.62) * scene.kv, between(rng, 0.22, 0.4) * scene.ku
    window = (slice(0, scene.size), slice(*half.indices(scene.size)[:2]))
    away = np.sqrt(spot(scene, window, row, col, tall, wide))
    lung = unit((1 - away) * wide * 0.6 + 0.5)
    air = unit(local_air(scene, window) * 2)
    change = lung * between(rng, 0.4, 0.8)
    change -= (1 - lung) * scene.attenuation[window] * between(rng, 0.45, 0.65)
    return window, change * air


def hyperlucent_lungs(scene: Scene, rng: np.random.Generator) -> Change:
    """Both lungs blacker than usual, with few and thin vessels."""
    dark = scene.air()
    dark *= scene.attenuation
    patch = 1 + 0.15 * rough(scene, rng, "cloud", WHOLE)
    return WHOLE, dark * patch * -np.float32(between(rng, 0.5, 0.7))


def pleural_band(scene: Scene, rng: np.random.Generator) -> Change:
    """Lumpy white band along the lateral chest wall, with a sharp border toward the lung."""
    side = scene.lean
    half = half_of(scene, side)
    start = between(rng, -0.6, -0.2)
    stop = min(start + between(rng, 0.6, 1.1), scene.floor(0.5 * side) + 0.1)
    ends = unit((scene.v - start) * 9) * unit((stop - scene.v) * 9)
    lumps = 1 + 0.35 * np.sin(scene.v * between(rng, 7, 16) + between(rng, 0, 6))
    thick = between(rng, 0.09, 0.17) * scene.ku * lumps * np.sqrt(ends)
    border = (scene.high[side] - side * thick).astype(np.float32)
    cols = np.arange(scene.size, dtype=np.float32)[half]
    within = unit((cols[None, :] - border[:, None]) * side * 0.8 + 0.3)
    window = (slice(None), half)
    within *= (ends > 0)[:, None] * unit(local_air(scene, window) * 4)
    return window, within * between(rng, 0.5, 0.9)


def apical_cap(scene: Scene, rng: np.random.Generator) -> Change:
    """Crescent of thickened pleura over the top of one or both lungs."""
    drop = max(int(between(rng, 0.12, 0.24) * scene.kv), 3)
    stop = min(max(int(scene.row(-0.35)), drop + 2), scene.size)
    rows = slice(0, stop)
    cap = unit(scene.depth[rows] * 2.5)
    cap[drop:] *= 1 - unit(scene.depth[: stop - drop] * 4)
    cap *= unit((-0.4 - scene.v[rows]) * 6)[:, None]
    if rng.random() < 0.5:
        cap[:, half_of(scene, either(rng))] = 0
    return (rows, slice(None)), cap * np.float32(between(rng, 0.5, 0.9))


def _behind_heart(
    scene: Scene, rng: np.random.Generator, u: tuple[float, float], radius: tuple[float, float]
) -> tuple[Window, Image, float, float]:
    low = scene.floor(0.1)
    wide, tall = between(rng, *radius) * scene.ku, between(rng, *radius) * scene.kv
    row = scene.row(low - between(rng, 0.12, 0.3)) - tall * 0.6
    col = scene.col(between(rng, *u))
    window = scene.window(row, col, tall + 3, wide + 3)
    away = np.sqrt(spot(scene, window, row, col, tall, wide))
    return window, (away - 1) * min(wide, tall), row, tall


def retrocardiac_gas_bubble(scene: Scene, rng: np.random.Generator) -> Change:
    """Round gas shadow with a thin wall, projected over the heart above the diaphragm."""
    window, away, _, _ = _behind_heart(scene, rng, (-0.15, 0.12), (0.14, 0.24))
    wall = unit(1.6 - np.abs(away - 0.5)) * between(rng, 0.2, 0.6)
    inside = unit(0.2 - away / 1.6) * between(rng, 0.5, 0.68)
    return window, wall - inside * scene.attenuation[window]


def air_fluid_level_behind_heart(scene: Scene, rng: np.random.Generator) -> Change:
    """Half-moon of gas over a level fluid line, projected over the heart."""
    window, away, row, tall = _behind_heart(scene, rng, (0.08, 0.3), (0.2, 0.32))
    inside = unit(0.3 - away / 1.6)
    dr = scene.offsets(window, row, 0.0)[0]
    gas = inside * unit(between(rng, -0.1, 0.25) * tall - dr + 0.5)
    fluid = (inside - gas) * between(rng, 0.5, 1.0)
    return window, fluid - gas * between(rng, 0.5, 0.7) * scene.attenuation[window]


SIGNS: dict[str, Sign] = {
    sign.__name__: sign
    for sign in (
        large_heart, volume_loss_shift, flat_diaphragm, elevated_diaphragm, deep_sulcus,
        blunted_angle, meniscus_fluid, hyperlucent_lungs, collapsed_lung, pleural_line,
        ground_glass_haze, batwing_haze, lobar_opacity, consolidation, patchy_opacity,
        reticular_lines, honeycombing, interstitial_lines, bulla, cavity, mass, nodule,
        multiple_nodules, band_opacity, fissure_fluid, pleural_band, apical_cap,
        retrocardiac_gas_bubble, air_fluid_level_behind_heart,
    )
}  # fmt: skip
"""All signs, in the order in which they are drawn whatever the order asked for."""


def draw_sign(scene: Scene, name: str, rng: np.random.Generator) -> Mask:
    """Draw one sign into the scene and return where it changed the picture.

    A change of less than .02 of the grey scale is left out of the mask and undone, so that the
    mask is exact. A sign that came out too faint is drawn stronger.
    """
    window, change = SIGNS[name](scene, rng)
    before = scene.attenuation[window]
    grey = scene.show(before)
    for _ in range(4):
        after = np.maximum(before + change, np.float32(0.03))
        shift = np.abs(scene.show(after) - grey)
        changed = shift > VISIBLE
        count = int(changed.sum())
        if count >= 8 and float(shift[changed].sum()) >= 0.055 * count:
            break
        change = change * np.float32(1.7)
    np.copyto(before, after, where=changed)
    mask = np.zeros((scene.size, scene.size), np.bool_)
    mask[window] = changed
    return mask
