"""Sagittal and coronal slices of the brain MRI phantom, with face and neck."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sdmad.phantoms.base import Image, grid
from sdmad.phantoms.brain_anatomy import (
    Points,
    Scene,
    Section,
    Window,
    capsules,
    chain,
    cortex,
    curve,
    fill,
    oval,
    ramp,
    start,
    tube,
    unit,
)
from sdmad.phantoms.brain_axial import (
    cerebellum,
    falx_and_fissure,
    paint_ventricles,
    sinus,
    sylvian,
    vessels,
)


def sagittal(rng: np.random.Generator, section: Section) -> Scene:
    """A slice seen from the side: in the midline, or through one hemisphere."""
    half = rng.uniform(0.58, 0.74)
    narrow = rng.uniform(1.15, 1.28)
    cx, cy = rng.uniform(0.0, 0.1), -1 + half + rng.uniform(0.02, 0.14)
    frame = (cy, cx, half, narrow, rng.uniform(0.0, 0.12))
    scene = start(rng, section, frame)
    t = scene.tissue
    scene.fold = scene.u
    tent = rng.uniform(0.2, 0.3)
    rear = unit((scene.u + 0.1) * 6)
    cortex(scene, 0.4 + 0.12 * scene.u - scene.v - rear * (0.4 - tent))
    lower = scene.window(-9, 9, -0.1, 9)
    floor = 0.37 + 0.08 * scene.u[lower] + rear[lower] * rng.uniform(0.38, 0.46)
    fossa = rear[lower] * ramp(tent - scene.v[lower], 0.03)
    scene.paint(lower, fossa * ramp(scene.radius[lower] - scene.surface, 0.02), t["csf"])
    _below(scene, rng, lower, floor, _profile(scene, rng, lower[0]), mirrored=False)
    _face(scene, rng)
    if section.level == "midline":
        _sagittal_midline(scene, rng)
    else:
        _sagittal_lateral(scene, rng)
    scene.span = (-0.42 * np.pi, 0.55 * np.pi)
    vessels(scene, rng, int(rng.integers(0, 4)))
    return scene


def _below(
    scene: Scene,
    rng: np.random.Generator,
    lower: Window,
    floor: Image,
    outline: Image,
    mirrored: bool,
) -> None:
    """Paint what lies under the skull base: muscle, fat planes and bone in mixed intensity.

    Args:
        scene: brain and cranium are painted.
        rng: source of the draw.
        lower: window of the part of the picture that reaches below the base.
        floor: height ``v`` of the skull base.
        outline: coverage by face and neck.
        mirrored: make both sides alike.
    """
    t = scene.tissue
    head = ramp(scene.radius[lower] - 1, 0.5 * scene.pixel)
    base = ramp(floor - scene.v[lower], 0.02)
    mixed = 0.6 * scene.patch(rng, lower, 13) + 0.6 * scene.patch(rng, lower, 29)
    if mirrored:
        mixed = 0.75 * (mixed + mixed[:, ::-1])
    fat = unit((mixed - rng.uniform(0.0, 0.6)) * 0.6)
    dark = unit((-mixed - rng.uniform(0.3, 1.0)) * 0.56)
    flesh = (t["muscle"] + fat * (t["fat"] - t["muscle"])) * (1 - dark)
    scene.paint(lower, outline * (1 - head), t["fat"])
    scene.paint(lower, base * np.maximum(head, outline), flesh)
    scene.brain[lower] *= 1 - base
    scene.white[lower] *= 1 - base


@lru_cache(maxsize=4)
def _profile_pool(size: int) -> Image:
    """Sixteen outlines of face and neck seen from the side, as signed distances.

    Shape ``(16, 2 * size, 2 * size)``: ``v`` from -0.8 to 2.8 by ``u`` from -1.8 to 1.8.
    """
    axis = np.linspace(-1.8, 1.8, 2 * size, dtype=np.float32)
    y, x = np.meshgrid(axis + 1, axis, indexing="ij")
    outlines = []
    for index in range(16):
        rng = np.random.default_rng([13, index])
        nose, jaw = rng.uniform(-1.3, -1.18), rng.uniform(-1.1, -0.98)
        neck = rng.uniform(0.42, 0.56)
        pieces: list[Points] = [
            [(-0.95, 0.1, 0.2), (-0.85, 0.5, 0.25), (jaw + 0.3, 1.1, 0.32), (-0.4, 1.5, 0.3)],
            [(-1.05, 0.2, 0.06), (nose, 0.62, 0.06), (-1.0, 0.7, 0.1)],
            [(0.2, 0.7, 0.62), (0.15, 1.3, neck), (0.15, 2.2, neck)],
            [(-0.6, 0.9, 0.3), (0.1, 0.9, 0.4)],
            [(jaw - 0.02, 0.92, 0.05), (jaw, 1.02, 0.05), (jaw + 0.1, 1.3, 0.13)],
        ]
        outlines.append(np.min([capsules(x, y, piece) for piece in pieces], axis=0))
    return np.stack(outlines).astype(np.float32)


def _profile(scene: Scene, rng: np.random.Generator, part: slice) -> Image:
    """Coverage of face and neck beyond the cranium, in a range of rows."""
    pool = _profile_pool(scene.size)
    scale = (pool.shape[1] - 1) / 3.6
    axis = grid(scene.size)[1][0]
    stretch = rng.uniform(0.94, 1.06)
    rows = ((axis[part] - scene.centre[0]) / scene.half + 0.8) * scale
    columns = ((axis - scene.centre[1]) / scene.half * stretch + 1.8) * scale
    outline = pool[int(rng.integers(len(pool)))].take(rows.astype(np.intp), axis=0, mode="clip")
    outline = outline.take(columns.astype(np.intp), axis=1, mode="clip")
    return ramp(outline, scene.pixel)


def _face(scene: Scene, rng: np.random.Generator) -> None:
    """Air spaces, palate, tongue, clivus and spine below the brain."""
    t = scene.tissue
    fill(scene, oval(scene, (-0.28, 0.5), (rng.uniform(0.1, 0.18), 0.1)), t["air"])
    fill(scene, oval(scene, (-0.7, 0.58), (0.26, 0.14)), t["air"], 0.03, strength=0.8)
    if rng.random() < 0.7:
        u, v = scene.at(-0.4 * np.pi, 0.93)
        fill(scene, oval(scene, (u, v), (0.05, 0.1)), t["air"])
    fill(scene, tube(scene, [(-0.95, 0.8, 0.02), (-0.4, 0.82, 0.03)]), t["bone"])
    fill(scene, oval(scene, (-0.6, 1.08), (0.3, 0.2)), t["muscle"], 0.02)
    fill(scene, tube(scene, [(-0.2, 0.7, 0.05), (-0.16, 1.6, 0.05)]), t["air"], 0.01)
    fill(scene, tube(scene, [(-0.17, 0.45, 0.05), (0.02, 0.85, 0.05)]), t["marrow"])
    fill(scene, tube(scene, [(0.0, 1.0, 0.07), (0.04, 2.2, 0.08)]), t["marrow"])


def _sagittal_midline(scene: Scene, rng: np.random.Generator) -> None:
    """Corpus callosum, lateral ventricle under it, brainstem, fourth ventricle, cerebellum."""
    t = scene.tissue
    dx, dy = rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.03)
    stem: Points = [(0.02 + dx, 0.2, 0.1), (0.0 + dx, 0.36, 0.1), (-0.02 + dx, 0.56, 0.15),
                    (0.07, 0.8, 0.1), (0.16, 1.05, 0.07), (0.19, 2.2, 0.06)]  # fmt: skip
    window, distance = tube(scene, stem)
    fill(scene, (window, distance - rng.uniform(0.04, 0.08)), t["csf"], 0.01)
    cerebellum(scene, rng, (0.5 + dx, 0.5), (rng.uniform(0.36, 0.42), rng.uniform(0.25, 0.3)))
    fill(scene, (window, distance), t["white"] * 0.6 + t["grey"] * 0.4, 0.01)
    fill(scene, oval(scene, (0.0 + dx, 0.07 + dy), (0.16, 0.1)), t["deep"], 0.01)
    thick = rng.uniform(0.025, 0.045)
    lift = rng.uniform(-0.03, 0.03)
    arc: Points = [
        (-0.3 + dx, 0.08 + dy, 0.02),
        (-0.42 + dx, -0.03 + dy, thick),
        (-0.32 + dx, -0.17 + dy + lift, thick),
        (-0.05 + dx, -0.25 + dy + lift, thick),
        (0.2 + dx, -0.2 + dy + lift, thick),
        (0.36 + dx, -0.04 + dy, thick * 1.2),
    ]
    window, distance = tube(scene, curve(arc))
    fill(scene, (window, distance - 0.035), t["grey"], 0.01)
    deep = rng.uniform(0.8, 1.2)
    scene.ventricles = [curve(
        [(-0.31 + dx, -0.04 + dy, 0.035 * deep), (-0.12 + dx, -0.14 + dy, 0.05 * deep),
         (0.12 + dx, -0.12 + dy, 0.04 * deep), (0.24 + dx, -0.05 + dy, 0.02)])
    ]  # fmt: skip
    for points in scene.ventricles:
        fill(scene, tube(scene, points), t["csf"], fluid=True)
    fill(scene, (window, distance), t["white"])
    fill(scene, tube(scene, [(0.13 + dx, 0.4, 0.015), (0.2 + dx, 0.54, 0.04),
                              (0.15, 0.7, 0.015)]), t["csf"], fluid=True)  # fmt: skip
    fill(scene, oval(scene, (-0.26 + dx, 0.37), (0.05, 0.035)), t["grey"] * 1.15)


def _sagittal_lateral(scene: Scene, rng: np.random.Generator) -> None:
    """One hemisphere: lateral ventricle, deep nuclei, temporal lobe, cerebellum, orbit."""
    t = scene.tissue
    dx = rng.uniform(-0.05, 0.05)
    lobe: Points = [(-0.45, 0.36, 0.13), (0.0, 0.38, 0.16), (0.3, 0.25, 0.15)]
    window, distance = tube(scene, lobe)
    cover = ramp(distance, scene.pixel)
    scene.paint(window, ramp(distance - 0.03, scene.pixel), t["csf"])
    scene.paint(window, cover, t["grey"])
    scene.paint(window, ramp(distance + 0.06, 0.02), t["white"])
    scene.brain[window] = np.maximum(scene.brain[window], cover)
    scene.fissures = [[(-0.6, 0.2, 0.015), (-0.1, 0.14, 0.015), (0.25, -0.02, 0.01)]]
    fill(scene, tube(scene, scene.fissures[0]), t["csf"], fluid=True)
    cerebellum(scene, rng, (0.52 + dx, 0.52), (rng.uniform(0.32, 0.4), rng.uniform(0.2, 0.26)))
    fill(scene, oval(scene, (-0.1 + dx, 0.02), (0.17, 0.09)), t["deep"], 0.02)
    r = rng.uniform(0.02, 0.04)
    scene.ventricles = [curve(
        [(-0.32 + dx, -0.08, r), (0.0 + dx, -0.16, r), (0.26 + dx, -0.06, r * 1.3),
         (0.3 + dx, 0.12, r)])
    ]  # fmt: skip
    for points in scene.ventricles:
        fill(scene, tube(scene, points), t["csf"], fluid=True)
    globe = t["csf"] if scene.sequence != "flair" else 0.5 * t["grey"]
    fill(scene, oval(scene, (-0.86, 0.45), (0.22, 0.16)), t["fat"], 0.02)
    fill(scene, oval(scene, (-0.96, 0.45), (0.12, 0.12)), globe)


def coronal(rng: np.random.Generator, section: Section) -> Scene:
    """A frontal slice, through the thalami or further back through the cerebellum."""
    half = rng.uniform(0.64, 0.82)
    narrow = rng.uniform(0.86, 1.0)
    cy = -1 + half + rng.uniform(0.02, 0.14)
    frame = (cy, rng.uniform(-0.05, 0.05), half, narrow, 0.0)
    scene = start(rng, section, frame)
    gap = np.abs(scene.middle)
    floor = rng.uniform(0.5, 0.62) if section.level == "middle" else rng.uniform(0.72, 0.8)
    hidden = ((scene.v + 0.28) * 4).clip(0, None)
    cortex(scene, np.minimum(gap * 1.2 + hidden, floor - scene.v - 0.12 * unit(1 - 3 * gap)))
    lower = scene.window(-9, 9, 0.2, 9)
    wide = rng.uniform(0.5, 0.68)
    slope = unit((scene.v[lower] - 0.7) * 1.6) * (0.76 - wide)
    neck = ramp(np.abs(scene.u[lower]) - 0.76 + slope, scene.pixel)
    neck *= unit((scene.v[lower] - 0.3) * 10)
    _below(scene, rng, lower, np.full_like(neck, floor + 0.02), neck, mirrored=True)
    falx_and_fissure(scene, rng, -0.3, 9.0)
    (_coronal_middle if section.level == "middle" else _coronal_posterior)(scene, rng, floor)
    scene.span = (-0.5 * np.pi, 0.5 * np.pi)
    sinus(scene, rng, 0.0)
    vessels(scene, rng, int(rng.integers(0, 4)))
    return scene


def _coronal_middle(scene: Scene, rng: np.random.Generator, floor: float) -> None:
    """Butterfly of the lateral ventricles, ganglia, temporal lobes, sella and airways."""
    t = scene.tissue
    k = scene.narrow
    y = rng.uniform(-0.04, 0.04)
    wide = rng.uniform(0.8, 1.25)
    fill(scene, oval(scene, (0.13, 0.07 + y), (0.11, 0.12), True), t["deep"], 0.01)
    fill(scene, oval(scene, (0.3, 0.03 + y), (0.07, 0.13), True), t["deep"], 0.01)
    scene.fissures = [
        [(k * 0.84, 0.1 + y, 0.02), (k * 0.52, 0.08 + y, 0.014), (k * 0.5, -0.1 + y, 0.01)],
        [(k * 0.35, 0.36, 0.02), (k * 0.5, 0.12 + y, 0.014)],
    ]
    sylvian(scene, rng)
    fill(scene, chain(scene, [(0.0, -0.26 + y, 0.03), (0.2, -0.27 + y, 0.03)]), t["white"])
    scene.ventricles = [
        [(0.04, -0.17 + y, 0.03 * wide), (0.14, -0.2 + y, 0.03 * wide), (0.22, -0.23 + y, 0.014)],
        [(0.0, -0.02 + y, 0.01 * wide), (0.0, 0.16 + y, 0.014 * wide)],
    ]
    paint_ventricles(scene, rng, None)
    fill(scene, chain(scene, [(0.0, 0.3, 0.1), (0.0, floor, 0.1)]), t["csf"], 0.02, fluid=True)
    if rng.random() < 0.5:
        stem: Points = [(0.0, 0.3, 0.1), (0.0, 0.44, 0.15), (0.0, 0.85, 0.08)]
        fill(scene, tube(scene, stem, 0.03), t["csf"], 0.02)
        fill(scene, tube(scene, stem), t["white"], 0.015)
    else:
        fill(scene, oval(scene, (0.0, floor - 0.02), (0.1, 0.05)), t["grey"] * 1.1)
        fill(scene, oval(scene, (0.0, floor + 0.16), (0.14, 0.1)), t["air"])
    fill(scene, chain(scene, [(0.0, 0.95, 0.05), (0.0, 1.3, 0.06)]), t["air"])
    fill(scene, oval(scene, (0.35, 0.95), (0.12, 0.16), True), t["air"], 0.02, strength=0.7)


def _coronal_posterior(scene: Scene, rng: np.random.Generator, floor: float) -> None:
    """Atria, tentorium, cerebellum and the muscles of the nape."""
    t = scene.tissue
    wide = rng.uniform(0.8, 1.2)
    y = rng.uniform(-0.04, 0.04)
    scene.ventricles = [
        [(0.18, -0.12 + y, 0.03 * wide), (0.27, 0.0 + y, 0.04 * wide), (0.29, 0.12 + y, 0.015)],
    ]
    paint_ventricles(scene, rng, [(0.24, -0.04 + y, 0.02), (0.26, 0.0 + y, 0.022)])
    top = rng.uniform(0.3, 0.36)
    cerebellum(scene, rng, (0.0, 0.6), (0.62 * scene.narrow, 0.6 - top))
    tent = [(0.03, top - 0.1, 0.006), (0.7 * scene.narrow, 0.52, 0.006)]
    fill(scene, chain(scene, tent), 0.5 * t["grey"], strength=0.7)
    cistern = [(0.0, top - 0.1, 0.03), (0.0, top + 0.02, 0.02)]
    fill(scene, tube(scene, cistern), t["csf"], 0.01, fluid=True)
    fill(scene, chain(scene, [(0.0, floor + 0.2, 0.06), (0.0, 2.2, 0.06)]), t["grey"] * 0.9)
