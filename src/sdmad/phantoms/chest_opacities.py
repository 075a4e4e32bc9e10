"""Lung signs of the chest: rounded lesions, air-space and interstitial opacities.

A sign is a function ``(scene, rng) -> (window, change)``: the part of the picture that it
touches and what it adds to the attenuation there (negative where it holds gas).
"""

from __future__ import annotations

import numpy as np

from sdmad.phantoms.base import Image
from sdmad.phantoms.chest_scene import (
    WHOLE,
    Change,
    Scene,
    between,
    either,
    half_of,
    local_air,
    reach,
    rough,
    splat,
    spot,
    unit,
    unit_in_place,
)
from sdmad.phantoms.chest_textures import vessel_pool


def _ball(scene: Scene, rng: np.random.Generator, place: tuple[float, float], radius: float,
          roughness: float, strength: float) -> Change:  # fmt: skip
    row, col = place
    window = scene.window(row, col, radius * 1.3 + 1, radius * 1.3 + 1)
    tall = radius * between(rng, 0.82, 1.0)
    near = np.float32(1) - spot(scene, window, row, col, tall, radius)
    if roughness:
        near += roughness * rough(scene, rng, "grain" if radius < 9 else "cloud", window)
    near *= 1.6
    return window, unit_in_place(near) * strength


def nodule(scene: Scene, rng: np.random.Generator) -> Change:
    """One rounded opacity of less than 3 cm with a distinct edge."""
    row, col, _ = scene.place(rng, height=(0.14, 0.88))
    radius = max(between(rng, 0.06, 0.105) * scene.ku, 2.3 * scene.size / 128)
    return _ball(scene, rng, (row, col), radius, 0.0, between(rng, 0.45, 0.95))


def multiple_nodules(scene: Scene, rng: np.random.Generator) -> Change:
    """Several to many rounded opacities of varied size in both lungs."""
    change = np.zeros((scene.size, scene.size), np.float32)
    strength = between(rng, 0.4, 0.8)
    for index in range(int(rng.integers(5, 14))):
        side = (1 if index % 2 else -1) if index < 4 else 0
        row, col, _ = scene.place(rng, side, (0.1, 0.95), (0.1, 0.92), dry=False)
        radius = max(between(rng, 0.04, 0.085) * scene.ku, 1.7 * scene.size / 128)
        window = scene.window(row, col, radius, radius)
        near = 1 - spot(scene, window, row, col, radius, radius)
        change[window] += unit(near * 1.6) * strength
    return WHOLE, np.minimum(change, np.float32(1.2 * strength))


def mass(scene: Scene, rng: np.random.Generator) -> Change:
    """Rounded or lobulated opacity larger than 3 cm."""
    row, col, _ = scene.place(rng, height=(0.2, 0.85), across=(0.15, 0.85))
    radius = between(rng, 0.15, 0.3) * scene.ku
    lumps = between(rng, 0.03, 0.16)
    return _ball(scene, rng, (row, col), radius, lumps, between(rng, 0.7, 1.3))


def cavity(scene: Scene, rng: np.random.Generator) -> Change:
    """Thick-walled ring with gas inside, sometimes with fluid at its bottom."""
    row, col, _ = scene.place(rng, height=(0.15, 0.8), across=(0.25, 0.8))
    radius = between(rng, 0.12, 0.22) * scene.ku
    window = scene.window(row, col, radius * 1.3 + 1, radius * 1.3 + 1)
    apart = spot(scene, window, row, col, radius * between(rng, 0.85, 1.1), radius)
    apart += 0.06 * rough(scene, rng, "cloud", window)
    away = np.sqrt(np.maximum(apart, 0))
    wall, strength = between(rng, 0.24, 0.36), between(rng, 0.55, 1.0)
    hole = unit((1 - wall - away) * radius * 0.7 + 0.5)
    solid = unit((1 - away) * radius * 0.6 + 0.5)
    change = (solid - hole) * strength - hole * 0.3 * scene.attenuation[window]
    if rng.random() < 0.35:
        below = scene.offsets(window, row, col)[0] > radius * between(rng, 0.0, 0.3)
        change += hole * below * strength
    return window, change


def bulla(scene: Scene, rng: np.random.Generator) -> Change:
    """Round black air space with a hair-thin wall and no vessels inside."""
    row, col, _ = scene.place(rng, height=(0.12, 0.75), across=(0.4, 0.8))
    radius = between(rng, 0.17, 0.34) * scene.ku
    window = scene.window(row, col, radius * 1.2 + 2, radius + 2)
    apart = spot(scene, window, row, col, radius * between(rng, 0.9, 1.2), radius)
    away = (np.sqrt(apart) - 1) * radius
    wall = unit(1.1 - np.abs(away)) * between(rng, 0.2, 0.4)
    inside = unit(0.5 - away / 1.5) * between(rng, 0.35, 0.6)
    air = unit(local_air(scene, window) * 2)
    return window, (wall - inside * scene.attenuation[window]) * air


def ground_glass_haze(scene: Scene, rng: np.random.Generator) -> Change:
    """Wide veil over part of a lung through which the vessels stay visible."""
    row, col, _ = scene.place(rng, height=(0.25, 0.85), across=(0.4, 0.65))
    tall, wide = between(rng, 0.35, 0.6) * scene.kv, between(rng, 0.35, 0.55) * scene.ku
    window = scene.window(row, col, tall, wide)
    veil = unit(1.5 - 1.5 * spot(scene, window, row, col, tall, wide))
    veil *= local_air(scene, window)
    veil *= 1 + 0.12 * rough(scene, rng, "cloud", window)
    return window, veil * between(rng, 0.35, 0.6)


def batwing_haze(scene: Scene, rng: np.random.Generator) -> Change:
    """Haze fanning out from both hila that spares the periphery, like two wings."""
    change = np.zeros((scene.size, scene.size), np.float32)
    strength = between(rng, 0.6, 1.2)
    tall, wide = between(rng, 0.38, 0.58), between(rng, 0.36, 0.5)
    for side in (-1, 1):
        row, col = scene.hila[side]
        row += between(rng, 0, 0.15) * scene.kv
        col += side * 0.1 * scene.ku
        window = scene.window(row, col, tall * scene.kv, wide * scene.ku)
        half = half_of(scene, side).indices(scene.size)
        cols = slice(max(window[1].start, half[0]), min(window[1].stop, half[1]))
        window = (window[0], cols)
        haze = 1.2 - 1.2 * spot(scene, window, row, col, tall * scene.kv, wide * scene.ku)
        haze += 0.16 * rough(scene, rng, "cloud", window)
        change[window] = unit(haze) * local_air(scene, window) * strength
    return WHOLE, change


def interstitial_lines(scene: Scene, rng: np.random.Generator) -> Change:
    """Kerley lines: short level lines that touch the lateral chest wall, and longer hilar ones."""
    change = np.zeros((scene.size, scene.size), np.float32)
    px, strength = scene.size / 128, between(rng, 0.35, 0.6)
    rows, cols = [], []
    t = np.arange(0, 12 * px, 0.8, dtype=np.float32)
    for side in (-1, 1):
        edge = scene.floor(0.8 * side)
        heights = np.arange(edge - between(rng, 0.5, 0.75), edge + 0.05, between(rng, 0.055, 0.075))
        row = scene.row(0) + scene.kv * (heights + rng.uniform(-0.012, 0.012, len(heights)))
        at = np.minimum(np.maximum(row, 0), scene.size - 1).astype(np.int64)
        steps = t[None, :] * rng.uniform(0.55, 1.0, len(heights))[:, None]
        rows.append(row[:, None] - 0.1 * steps)
        cols.append(scene.high[side][at][:, None] - side * (1.5 + steps))
    splat(change, np.concatenate(rows).ravel(), np.concatenate(cols).ravel(), strength)
    return WHOLE, np.minimum(change, np.float32(strength * 1.6))


def _zone(scene: Scene, rng: np.random.Generator) -> Image:
    """Weights for disease of the lung bases and periphery, ``(size, size)``."""
    start = max(scene.floor(-0.4), scene.floor(0.4)) - between(rng, 0.5, 1.1)
    rise = unit((scene.v - start) * 2.5)[:, None].astype(np.float32)
    spread = unit(np.abs(scene.u) * between(rng, 1.4, 3.0) - 0.25)[None, :]
    zone = unit(scene.air() * 2)
    zone *= rise
    if scene.heart is not None:
        zone *= spread
        lone = rng.random()
        if lone < 0.3:
            zone[:, half_of(scene, 1 if lone < 0.15 else -1)] *= 0.25
    return zone


def reticular_lines(scene: Scene, rng: np.random.Generator) -> Change:
    """Fine criss-crossing lines like a net, densest at the bases."""
    zone = _zone(scene, rng)
    net = rough(scene, rng, "net", WHOLE) - 0.12
    return WHOLE, zone * net * between(rng, 0.4, 0.8)


def honeycombing(scene: Scene, rng: np.random.Generator) -> Change:
    """Clustered little round cysts sharing walls, at the bases and under the pleura."""
    zone = _zone(scene, rng)
    comb = rough(scene, rng, "comb", WHOLE) * between(rng, 0.5, 0.9)
    comb -= 0.14
    return WHOLE, zone * comb


def consolidation(scene: Scene, rng: np.random.Generator) -> Change:
    """Dense white lung with fluffy borders, crossed by dark branching air-filled bronchi."""
    row, col, side = scene.place(rng, height=(0.35, 0.9), across=(0.35, 0.65))
    tall, wide = between(rng, 0.28, 0.45) * scene.kv, between(rng, 0.26, 0.42) * scene.ku
    window = scene.window(row, col, tall * 1.3, wide * 1.3)
    zone = 1.5 - 1.5 * spot(scene, window, row, col, tall, wide)
    zone += 0.35 * rough(scene, rng, "cloud", window)
    zone = unit(zone) * unit(local_air(scene, window) * 1.8)
    rows, cols = zone.shape
    top = scene.size // 2 - rows // 2 + int(rng.integers(-4, 5))
    tree = vessel_pool(scene.size)[int(rng.integers(24)), top : top + rows]
    tree = tree[:, 4 : 4 + cols] if side > 0 else tree[:, 4 + cols - 1 : 3 : -1]
    zone[:, : tree.shape[1]] *= 1 - np.minimum(tree * 1.2, between(rng, 0.45, 0.8))
    return window, zone * between(rng, 0.9, 1.3)


def patchy_opacity(scene: Scene, rng: np.random.Generator) -> Change:
    """Several ill-defined fluffy patches scattered over one or both lungs."""
    change = np.zeros((scene.size, scene.size), np.float32)
    both, side = rng.random() < 0.5, either(rng)
    for index in range(int(rng.integers(3, 7))):
        at = (side if index % 2 else -side) if both else side
        row, col, _ = scene.place(rng, at, (0.2, 0.95), (0.2, 0.85), dry=False)
        radius = between(rng, 0.12, 0.22) * scene.ku
        window = scene.window(row, col, radius * 1.3, radius * 1.3)
        blot = 0.9 - 0.9 * spot(scene, window, row, col, radius, radius * 1.15)
        blot += 0.3 * rough(scene, rng, "cloud", window)
        change[window] += unit(blot)
    change *= unit(scene.air() * 2)
    return WHOLE, np.minimum(change, 1) * np.float32(between(rng, 0.4, 0.75))


def lobar_opacity(scene: Scene, rng: np.random.Generator) -> Change:
    """White lobe that ends in a straight, sharp line at a fissure."""
    side, above = (-1 if rng.random() < 0.65 else 1), rng.random() < 0.55
    half = half_of(scene, side)
    line = between(rng, -0.3, 0.0) if above else between(rng, -0.12, 0.12)
    slope = between(rng, -0.25, 0.3)
    toward = reach(scene, side)[half]
    apart = scene.v[:, None] - (line + slope * (toward - 0.5))[None, :]
    apart *= -1 if above else 1
    extent = between(rng, 0.45, 0.9)
    zone = unit(apart * scene.kv / 1.6 + 0.5)
    zone *= unit((extent - apart) / 0.3)
    window = (slice(None), half)
    zone *= unit(local_air(scene, window) * 1.6)
    zone *= 1 + 0.1 * rough(scene, rng, "cloud", (slice(None), slice(0, zone.shape[1])))
    return window, zone * between(rng, 0.6, 1.1)


def band_opacity(scene: Scene, rng: np.random.Generator) -> Change:
    """One to three straight plates of collapsed lung, level or oblique, at a base."""
    change = np.zeros((scene.size, scene.size), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        row, col, side = scene.place(rng, 0, (0.5, 0.92), (0.35, 0.65))
        length, thick = between(rng, 0.2, 0.4) * scene.ku, between(rng, 1.2, 2.2) * scene.size / 128
        tilt = between(rng, -0.5, 0.35) * side
        window = scene.window(row, col, length * abs(tilt) + thick + 1, length)
        dr, dc = scene.offsets(window, row, col)
        across = np.abs(dr - tilt * dc)
        ends = unit((length - np.abs(dc)) / 4)
        band = unit(thick + 0.5 - across) * ends * between(rng, 0.4, 0.8)
        change[window] = np.maximum(change[window], band)
    return WHOLE, change
