"""Normal chest anatomy, frontal and lateral, with its variety: build, exposure, devices."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sdmad.phantoms.base import Image
from sdmad.phantoms.chest_scene import (
    Heart,
    Row,
    Scene,
    add_ellipse,
    between,
    heart_field,
    splat,
    unit,
    unit_in_place,
)
from sdmad.phantoms.chest_textures import add_vessels, texture, vessel_pool


@lru_cache(maxsize=1)
def _rib_profiles() -> tuple[Row, Row]:
    """One period of ribs seen at the back and at the front, 256 samples each."""
    t = np.linspace(0, 1, 256, endpoint=False, dtype=np.float32)
    back = unit((0.25 - np.abs(t - 0.5)) / 0.07)
    back = back * (0.72 + 0.5 * unit((np.abs(t - 0.5) - 0.1) / 0.12))
    front = unit((0.27 - np.abs(t - 0.5)) / 0.12)
    return back.astype(np.float32), front.astype(np.float32)


def _ribs(scene: Scene, rng: np.random.Generator, ua: Row, outer: Row) -> Image:
    """Posterior ribs, nearly level, and anterior ribs, sloping down toward the middle."""
    back, front = _rib_profiles()
    spacing, droop, drop = between(rng, 0.17, 0.24), between(rng, 0.1, 0.45), between(rng, 0.5, 0.9)
    arch = -0.12 * np.sin(np.pi * unit(ua)) + droop * ua**3
    pitch = np.float32(256 / spacing)
    start = np.float32(between(rng, 7680, 8120))
    phase = (scene.v * pitch + start)[:, None] - (arch * pitch)[None, :]
    out = back.take(phase.astype(np.intp) & 255)
    out *= between(rng, 0.09, 0.28)
    slope = drop * unit(1.02 - ua) ** 1.3
    pitch = np.float32(pitch / between(rng, 1.1, 1.3))
    start = np.float32(between(rng, 7680, 8120))
    phase = (scene.v * pitch + start)[:, None] - (slope * pitch)[None, :]
    shade = front.take(phase.astype(np.intp) & 255)
    shade *= (unit((ua - 0.3) / 0.15) * between(rng, 0.06, 0.15))[None, :]
    out += shade
    inside = (outer[:, None] + 0.05 - ua[None, :]) * 14
    out *= unit_in_place(inside)
    return out


def _bones(scene: Scene, rng: np.random.Generator, upright: bool) -> None:
    """Clavicles, shoulder blades and humeral heads."""
    tilt, height, thick = (
        between(rng, 0.0, 0.28),
        between(rng, -0.88, -0.66),
        between(rng, 0.03, 0.05),
    )
    shade = between(rng, 0.22, 0.42)
    au = np.abs(scene.u)
    wave = 0.035 * np.sin(au * 4.5 + between(rng, 0, 1))
    line = height - tilt * au + wave + between(rng, -0.04, 0.04) * scene.u
    r0, r1 = int(max(scene.row(height - 0.45), 0)), int(max(scene.row(height + 0.2), 2))
    near = np.abs(scene.v[r0:r1, None] - line[None, :]) - thick
    bar = unit(0.5 - near * scene.kv / 2)
    bar *= 1 + 0.5 * unit(near * scene.kv / 2 + 1)
    ends = unit((au - 0.1) * 14) * unit((1.3 - au) * 6) * shade
    scene.attenuation[r0:r1] += bar * ends[None, :]
    out = between(rng, 1.1, 1.3) if upright else between(rng, 0.88, 1.1)
    for side in (-1, 1):
        blade = (between(rng, -0.45, -0.3), side * (out + 0.12))
        add_ellipse(scene, blade, (between(rng, 0.4, 0.55), 0.26), 0.25, between(rng, 0.1, 0.25))
        add_ellipse(scene, (between(rng, -1, -0.85), side * 1.42), (0.17, 0.19), 0.2, 0.5)


def _soft_tissue(scene: Scene, rng: np.random.Generator) -> None:
    """Breast shadows, and gas of stomach and bowel under the diaphragm."""
    if rng.random() < 0.45:
        v, radius, shade = (
            between(rng, 0.25, 0.6),
            between(rng, 0.35, 0.55),
            between(rng, 0.12, 0.4),
        )
        for side in (-1, 1):
            where = (v + between(rng, -0.06, 0.06), side * between(rng, 0.52, 0.72))
            add_ellipse(scene, where, (radius * between(rng, 0.7, 1), radius), 0.45, shade)
    base = scene.floor(0.5)
    if rng.random() < 0.6:
        wide, tall = between(rng, 0.12, 0.32), between(rng, 0.06, 0.14)
        where = (base + tall + between(rng, 0.05, 0.1), between(rng, 0.35, 0.6))
        add_ellipse(scene, where, (tall, wide), 0.5, -between(rng, 0.6, 1.4))
    for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.3 else 0):
        where = (base + between(rng, 0.2, 0.45), between(rng, -0.6, 0.9))
        add_ellipse(scene, where, (between(rng, 0.05, 0.1), between(rng, 0.06, 0.14)), 0.5, -0.8)


def _devices(scene: Scene, rng: np.random.Generator) -> None:
    """Electrodes with leads, a venous line, a pacemaker, sternal wires, a side marker."""
    n, field_ = scene.size, scene.attenuation
    t = np.linspace(0, 1, 2 * n, dtype=np.float32)
    chance = rng.random(5)
    if chance[0] < 0.28:
        for _ in range(int(rng.integers(1, 4))):
            start, end = rng.uniform(0, n, 2), rng.uniform(0.15 * n, 0.9 * n, 2)
            start[int(rng.integers(2))] = rng.choice([0, n - 1])
            bend = rng.normal(0, 0.15 * n, 2)
            curve = 4 * t * (1 - t)
            rows = start[0] + (end[0] - start[0]) * t + bend[0] * curve
            cols = start[1] + (end[1] - start[1]) * t + bend[1] * curve
            splat(field_, rows, cols, between(rng, 0.3, 0.6))
            where = scene.window(end[0], end[1], 1.6 * n / 128, 1.6 * n / 128)
            field_[where] += between(rng, 0.6, 1.2)
    if chance[1] < 0.12:
        side = rng.choice([-1, 1])
        rows = scene.row(-0.85) + (scene.row(between(rng, -0.1, 0.2)) - scene.row(-0.85)) * t
        cols = scene.col(-0.13) + side * scene.ku * 0.8 * unit(1 - 2.2 * t) ** 1.5
        splat(field_, rows, cols, 0.5)
    if chance[2] < 0.05:
        row, col = scene.row(between(rng, -0.55, -0.35)), scene.col(rng.choice([-1, 1]) * 0.72)
        field_[scene.window(row, col, 0.07 * n / 2, 0.09 * n / 2)] += 3
        wire = row + (scene.row(0.6) - row) * t
        splat(field_, wire, col + (scene.col(0.1) - col) * unit(1.5 * t) ** 0.6, 0.6)
    if chance[3] < 0.08 and scene.heart is not None:
        for v in np.linspace(-0.6, 0.4, int(rng.integers(3, 6))):
            where = scene.window(scene.row(v), scene.col(0.02), 0.6 * n / 128, 2 * n / 128)
            field_[where] += 1.2
    if chance[4] < 0.3:
        row, col = between(rng, 0.02, 0.12) * n, rng.choice([0.08, 0.92]) * n
        field_[scene.window(row, col, 0.02 * n, 0.012 * n)] += 2.5


def _outline(rng: np.random.Generator, v: Row, stout: float) -> Row:
    """Half width of neck, shoulders and trunk in each row."""
    trunk = between(rng, 1.16, 1.3) + 0.25 * stout
    neck, slope = between(rng, 0.3, 0.42) + 0.1 * stout, between(rng, -1.35, -1.15)
    shoulder = trunk + between(rng, 0.15, 0.6)
    heights = [-2.5, slope, slope + 0.18, slope + 0.4, -0.35, 0.2, 1.0, 2.5]
    waist = trunk + between(rng, -0.08, 0.12)
    widths = [neck, neck, 0.75 * shoulder, shoulder, trunk + 0.1, trunk, waist, waist]
    return np.interp(v, heights, widths).astype(np.float32)


def _lung_borders(rng: np.random.Generator, v: Row) -> tuple[Row, Row]:
    """Medial and lateral lung border of each row, in units of the lung's width."""
    q = unit((v + 1) / between(rng, 1.0, 1.4))
    apex = between(rng, 0.36, 0.46)
    power = between(rng, 0.42, 0.58)
    outer = apex + (1 - apex) * (1 - (1 - q) ** 2) ** power
    outer = np.where(v < -1, apex - 2.5 * (-1 - v), outer) + 0.04 * unit(v - 0.3)
    inner = 0.13 + (apex - 0.14) * unit(1 - q / 0.2) ** 2
    return inner.astype(np.float32), outer.astype(np.float32)


def _diaphragm(rng: np.random.Generator, ua: Row, u: Row) -> Row:
    """Height of both domes in each column, with sharp angles at the chest wall."""
    base, curve = between(rng, 0.5, 0.8), between(rng, 0.15, 0.34)
    step = between(rng, -0.01, 0.1)
    peak = between(rng, 0.4, 0.55)
    dome = base + np.where(ua < peak, 0.55, 1) * curve * ((ua - peak) / 0.45) ** 2
    dome += between(rng, 0.2, 0.34) * np.clip((ua - 0.8) / 0.2, 0, 1.2) ** 1.5
    return np.asarray(np.where(u < 0, dome, dome + step), dtype=np.float32)


def frontal(rng: np.random.Generator, size: int) -> Scene:
    """Draw a frontal chest radiograph without signs; every draw comes from ``rng``."""
    upright = rng.random() < 0.6
    stout = rng.random() if rng.random() < 0.5 else 0.15
    su, sv = between(rng, 0.7, 0.94), between(rng, 0.64, 0.86) * (1 - 0.08 * stout)
    middle = rng.uniform(-0.06, 0.06, 2)
    axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    u, v = (axis - middle[0]) / su, (axis - middle[1]) / sv
    u, v = u.astype(np.float32), v.astype(np.float32)
    widths = {-1: between(rng, 0.88, 1.02), 1: between(rng, 0.86, 1.0)}
    ua = (np.abs(u) / np.where(u < 0, widths[-1], widths[1])).astype(np.float32)
    inner, outer = _lung_borders(rng, v)
    wide = _outline(rng, v, stout)
    thick = np.interp(v, [-1.6, -1, -0.4, 0.4, 1.0, 2], [1.5, 1.55, 1.45, 1.5, 1.9, 2.1])
    across = 1 - (u[None, :] / wide[:, None]) ** 2
    tissue = np.sqrt(unit_in_place(across), out=across)
    tissue *= (thick * between(rng, 0.95, 1.1) * (1 + 0.3 * stout))[:, None].astype(np.float32)
    depth = (outer[:, None] - ua[None, :]) * (1 / between(rng, 0.16, 0.3))
    unit_in_place(depth)
    depth *= 2 - depth
    medial = (ua[None, :] - inner[:, None]) * (1 / 0.08)
    depth *= unit_in_place(medial)
    depth *= between(rng, 0.66, 0.78)
    edge = _diaphragm(rng, ua, u)
    ku, kv = su * size / 2, sv * size / 2
    low = {s: (s * inner * widths[s] - u[0]) * ku for s in (-1, 1)}
    high = {s: (s * np.maximum(outer, inner) * widths[s] - u[0]) * ku for s in (-1, 1)}
    enlarged = 1.0 if upright else between(rng, 1.0, 1.14)
    heart = Heart(
        left=between(rng, 0.42, 0.58) * enlarged, right=between(rng, 0.23, 0.34) * enlarged,
        middle=float(edge[size // 2]) - between(rng, 0.3, 0.42), tall=between(rng, 0.5, 0.66),
        knob=between(rng, 0.04, 0.14), waist=between(rng, 0.14, 0.2), shift=rng.normal(0, 0.025),
        trachea=rng.normal(-0.015, 0.025), density=between(rng, 0.8, 1.3),
    )  # fmt: skip
    hila = {s: ((between(rng, -0.12, 0.02) - v[0]) * kv, (s * 0.2 - u[0]) * ku) for s in (-1, 1)}
    scene = Scene(
        size=size, lean=1 if rng.random() < 0.5 else -1, ku=ku, kv=kv, u=u, v=v, tissue=tissue,
        depth=depth, edge=edge, low=low, high=high, gain=between(rng, 0.75, 1.3), fog=0.0,
        top=between(rng, 0.88, 1.0), heart=heart, attenuation=tissue, hila=hila,
    )  # fmt: skip
    scatter = rng.random() < (0.3 if upright else 0.7)
    if scatter:
        scene.fog = between(rng, 0.05, 0.22 + 0.2 * stout)
        scene.gain *= between(rng, 1.0, 1.3)
    _compose(scene, rng, ua, outer, upright)
    return scene


def _compose(scene: Scene, rng: np.random.Generator, ua: Row, outer: Row, upright: bool) -> None:
    """Add up the parts of a frontal radiograph."""
    size = scene.size
    cut = scene.cut(scene.edge)
    air = scene.depth * cut
    inside = (scene.tissue > 0).astype(np.float32)
    total = scene.tissue * (1 - air)
    inside *= np.float32(between(rng, 0.6, 1.1))
    inside *= 1 - cut
    total += inside
    scene.attenuation = total
    total += _ribs(scene, rng, ua, outer)
    bumps = 0.08 * np.sin(scene.v * between(rng, 36, 44))
    column = unit((0.12 - np.abs(scene.u)) * 25) * between(rng, 0.35, 0.6)
    total += (1 + bumps[:, None]).astype(np.float32) * column[None, :].astype(np.float32)
    assert scene.heart is not None
    scene.shadow = heart_field(scene, scene.heart)
    total += scene.shadow
    trees = vessel_pool(size)
    for side in (-1, 1):
        tree = trees[int(rng.integers(len(trees)))]
        row, col = scene.hila[side]
        add_vessels(total, air, tree, round(row), round(col), side, between(rng, 0.14, 0.3))
    total *= texture(rng, "film", size, size, size)
    _bones(scene, rng, upright)
    _soft_tissue(scene, rng)
    _devices(scene, rng)
    if rng.random() < 0.25:
        right = scene.u < -0.2
        cols = np.nonzero(right & (ua < 0.95))[0].astype(np.float32)
        rows = scene.row(between(rng, -0.1, 0.1)) + 0.04 * (cols - cols.mean())
        splat(total, rows, cols, 0.13)
    np.maximum(total, 0.03, out=total)


def lateral(rng: np.random.Generator, size: int) -> Scene:
    """Draw a lateral chest radiograph without signs: sternum one side, spine the other."""
    turned = 1 if rng.random() < 0.7 else -1
    su, sv = between(rng, 0.66, 0.84), between(rng, 0.64, 0.8)
    middle = rng.uniform(-0.06, 0.06, 2)
    axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    u, v = ((axis - middle[0]) / su).astype(np.float32), ((axis - middle[1]) / sv)
    v = v.astype(np.float32)
    b = u * turned
    bow = between(rng, 0.05, 0.16)
    q = unit((v + 1) / between(rng, 0.9, 1.3))
    front = -0.12 - between(rng, 0.5, 0.72) * (1 - (1 - q) ** 2) ** 0.6
    back = 0.3 + between(rng, 0.42, 0.56) * (1 - (1 - q) ** 2) ** 0.6
    spine = between(rng, 0.62, 0.72) + bow * (1 - (v - 0.1) ** 2)
    skin = (-front + between(rng, 0.14, 0.3), spine + between(rng, 0.28, 0.45))
    centre, half = (skin[1] - skin[0]) / 2, (skin[1] + skin[0]) / 2
    away = unit(1 - ((b[None, :] - centre[:, None]) / half[:, None]) ** 2)
    thick = np.interp(v, [-1.8, -1, -0.6, 0.4, 1.1, 2], [2.0, 2.3, 1.7, 1.7, 2.3, 2.5])
    tissue = (np.sqrt(away) * (thick * between(rng, 0.9, 1.15))[:, None]).astype(np.float32)
    near = np.minimum(b[None, :] - front[:, None], back[:, None] - b[None, :])
    near = np.where(v[:, None] < -1, near - (-1 - v[:, None]) * 4, near)
    depth = (unit(near / 0.14) * between(rng, 0.6, 0.74)).astype(np.float32)
    base = between(rng, 0.42, 0.66)
    edge = base + 0.35 * np.clip((b + 0.15) / 0.9, -0.9, 1.2) ** 2 * np.where(b > -0.15, 1.1, 0.5)
    ku, kv = su * size / 2, sv * size / 2
    bounds = [(np.asarray(turned * x) - u[0]) * ku for x in (front, back)]
    low, high = dict.fromkeys((-1, 1), bounds[0]), dict.fromkeys((-1, 1), bounds[1])
    hilum = ((between(rng, -0.12, 0.05) - v[0]) * kv, (turned * 0.05 - u[0]) * ku)
    scene = Scene(
        size=size, lean=turned, ku=ku, kv=kv, u=u, v=v, tissue=tissue, depth=depth,
        edge=edge.astype(np.float32), low=low, high=high, gain=between(rng, 0.7, 1.1),
        fog=between(rng, 0, 0.1), top=between(rng, 0.88, 1.0), heart=None, attenuation=tissue,
        hila={-1: hilum, 1: hilum}, turned=turned,
    )  # fmt: skip
    _compose_lateral(scene, rng, b, spine.astype(np.float32), front.astype(np.float32))
    return scene


def _compose_lateral(
    scene: Scene, rng: np.random.Generator, b: Row, spine: Row, front: Row
) -> None:
    """Add up the parts of a lateral radiograph."""
    size, v = scene.size, scene.v[:, None]
    cut, second = scene.cut(scene.edge), scene.cut(scene.edge - np.float32(between(rng, 0, 0.12)))
    air = scene.depth * (0.75 * cut + 0.25 * second)
    inside = scene.tissue > 0.05
    total = scene.tissue * (1 - air) + (1 - cut) * inside * np.float32(between(rng, 0.5, 0.9))
    scene.attenuation = total
    bone = unit((0.11 - np.abs(b[None, :] - spine[:, None])) * 16)
    discs = 0.65 + 0.35 * unit(2 * np.sin(v * between(rng, 26, 33)) + 1.2)
    total += bone * discs * between(rng, 0.4, 0.75)
    sternum = unit((0.035 - np.abs(b[None, :] - front[:, None] + 0.06)) * 40)
    total += sternum * unit((0.4 - v) * 8) * unit((v + 0.85) * 8) * 0.5
    back, _ = _rib_profiles()
    for slope, shade in ((0.55, 0.13), (0.7, 0.1)):
        phase = (v - slope * (0.4 - b[None, :]) - 0.2 * b[None, :] ** 2) * (256 / 0.22)
        phase += between(rng, 0, 256) + 40 * 256
        total += back.take(phase.astype(np.int32) & 255) * unit(scene.depth * 3) * shade
    trees = vessel_pool(size)
    for side in (-1, 1):
        tree = trees[int(rng.integers(len(trees)))]
        row, col = scene.hila[side]
        add_vessels(total, air, tree, round(row), round(col), side, between(rng, 0.1, 0.2))
    t = scene.turned
    where = (float(scene.edge.min()) - between(rng, 0.08, 0.2), t * between(rng, -0.48, -0.34))
    size_ = between(rng, 0.9, 1.1)
    add_ellipse(
        scene, where, (0.5 * size_, 0.42 * size_), between(rng, 0.5, 0.9), between(rng, 0.7, 1.1)
    )
    add_ellipse(scene, (-0.45, t * 0.05), (0.3, 0.2), 0.8, between(rng, 0.2, 0.5))
    add_ellipse(scene, (-0.05, t * 0.03), (0.13, 0.13), 0.7, between(rng, 0.3, 0.5))
    add_ellipse(scene, (-0.75, t * 0.0), (0.6, 0.07), 0.6, -between(rng, 0.25, 0.6))
    if rng.random() < 0.6:
        add_ellipse(scene, (-1.25, t * -0.35), (0.5, 0.35), 0.5, between(rng, 0.4, 1.0))
    if rng.random() < 0.5:
        low = float(scene.edge.min()) + 0.2
        add_ellipse(
            scene, (low, t * between(rng, -0.4, 0.1)), (0.1, 0.2), 0.5, -between(rng, 0.5, 1)
        )
    total *= texture(rng, "film", size, size, size)
    _devices(scene, rng)
    np.maximum(total, 0.03, out=total)
