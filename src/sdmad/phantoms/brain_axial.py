"""Axial slices of the brain MRI phantom, and the parts that all planes share."""

from __future__ import annotations

import numpy as np

from sdmad.phantoms.brain_anatomy import (
    Points,
    Scene,
    Section,
    chain,
    cortex,
    fill,
    oval,
    ramp,
    start,
    unit,
    ventricle_shape,
)


def falx_and_fissure(scene: Scene, rng: np.random.Generator, top: float, bottom: float) -> None:
    """The gap between the hemispheres down to the corpus callosum, with the thin falx in it."""
    t = scene.tissue
    window = scene.window(-0.08, 0.08, -1, 1)
    gap = np.abs(scene.middle[window])
    v = scene.v[window]
    cover = ramp(v - top, 1.5 * scene.pixel) + ramp(bottom - v, 1.5 * scene.pixel)
    cover = unit(cover) * ramp(scene.radius[window] - scene.surface - 0.01, scene.pixel)
    width = rng.uniform(0.004, 0.02)
    fissure = cover * ramp(gap - width, 0.8 * scene.pixel)
    scene.paint(window, fissure, t["csf"])
    scene.white[window] *= 1 - fissure
    scene.brain[window] *= 1 - fissure
    falx = cover * ramp(gap, 0.8 * scene.pixel) * rng.uniform(0.2, 0.9)
    scene.paint(window, falx, t["vessel"] * 0.6 if scene.sequence == "t1c" else 0.6 * t["grey"])


def vessels(scene: Scene, rng: np.random.Generator, count: int) -> None:
    """Cortical veins and sinuses cut across: bright dots after contrast, flow voids otherwise."""
    t = scene.tissue
    low, high = scene.span
    for _ in range(count):
        u, v = scene.at(rng.uniform(low, high), scene.surface + rng.uniform(-0.03, 0.02))
        shape = oval(scene, (u, v), (rng.uniform(0.01, 0.022), rng.uniform(0.01, 0.03)))
        fill(scene, shape, t["vessel"], strength=rng.uniform(0.4, 0.9))


def sinus(scene: Scene, rng: np.random.Generator, direction: float) -> None:
    """The sagittal sinus, a small triangle under the skull in the midline."""
    radius = rng.uniform(0.025, 0.05)
    u, v = scene.at(direction, scene.inner - 0.5 * radius)
    value = scene.tissue["vessel"] if scene.sequence != "t1" else scene.tissue["grey"] * 0.8
    fill(scene, oval(scene, (u, v), (radius, radius * 1.2)), value, strength=rng.uniform(0.5, 1))


def paint_ventricles(scene: Scene, rng: np.random.Generator, plexus: Points | None) -> None:
    """Fluid in the ventricles, and now and then the choroid plexus in them."""
    t = scene.tissue
    for points in scene.ventricles:
        fill(scene, ventricle_shape(scene, points, 0.0), t["csf"], fluid=True)
    if plexus is not None and rng.random() < 0.7:
        value = t["vessel"] * 0.85 if scene.sequence == "t1c" else t["grey"]
        fill(scene, chain(scene, plexus), value, strength=rng.uniform(0.5, 1))


def sylvian(scene: Scene, rng: np.random.Generator) -> None:
    """Sylvian fissures: fluid between two ribbons of insular and opercular cortex."""
    t = scene.tissue
    grow, strength = rng.uniform(-0.004, 0.008), rng.uniform(0.6, 1)
    for points in scene.fissures:
        window, distance = chain(scene, points, grow)
        inside = ramp(scene.radius[window] - scene.surface, scene.pixel)
        scene.paint(window, ramp(distance - 0.04, 0.025) * inside, t["grey"])
        scene.paint(window, ramp(distance, scene.pixel) * inside * strength, t["csf"])
        scene.white[window] *= 1 - ramp(distance - 0.04, 0.02)


def axial(rng: np.random.Generator, section: Section) -> Scene:
    """A transverse slice, from the posterior fossa up to above the ventricles."""
    half = rng.uniform(0.72, 0.99)
    narrow = rng.uniform(0.74, 0.88)
    frame = (rng.uniform(-0.03, 0.03), rng.uniform(-0.05, 0.05), half, narrow, 0.0)
    scene = start(rng, section, frame)
    if section.level == "fossa":
        _axial_fossa(scene, rng)
        return scene
    gap = np.abs(scene.middle)
    if section.level == "semiovale":
        scene.sulcus -= 0.1
        cortex(scene, gap * 1.1)
        falx_and_fissure(scene, rng, 0.0, 0.0)
    else:
        ends = rng.uniform(0.34, 0.44), rng.uniform(0.42, 0.52)
        hidden = np.clip(np.minimum(scene.v + ends[0], ends[1] - scene.v) * 4, 0, None)
        cortex(scene, gap * 1.2 + hidden)
        falx_and_fissure(scene, rng, -ends[0], ends[1])
        (_axial_ganglia if section.level == "ganglia" else _axial_bodies)(scene, rng)
    sinus(scene, rng, np.pi)
    if rng.random() < 0.6:
        sinus(scene, rng, 0.0)
    vessels(scene, rng, int(rng.integers(0, 5)))
    return scene


def _axial_ganglia(scene: Scene, rng: np.random.Generator) -> None:
    """Basal ganglia, thalami, insula, frontal horns, third ventricle and atria."""
    t = scene.tissue
    k = scene.narrow
    wide = rng.uniform(0.75, 1.3)
    y = rng.uniform(-0.04, 0.04)
    fill(scene, oval(scene, (0.17, 0.12 + y), (0.12, 0.17), True), t["deep"], 0.01)
    fill(scene, chain(scene, [(0.3, -0.16 + y, 0.045), (0.36, 0.0 + y, 0.06),
                              (0.31, 0.14 + y, 0.03)]), t["deep"], 0.01)  # fmt: skip
    fill(scene, chain(scene, [(0.16, -0.27 + y, 0.06), (0.19, -0.16 + y, 0.045)]), t["deep"])
    insula, front = rng.uniform(0.52, 0.58) * k / 0.8, rng.uniform(-0.2, -0.1) + y
    bow = rng.uniform(0.02, 0.05)
    scene.fissures = [
        [(k * 0.8, front + 0.06, 0.014), (insula + 0.07, front - 0.01, 0.012),
         (insula, front + 0.03, 0.012), (insula - 0.02 + bow, front + 0.17, 0.008),
         (insula - 0.02, front + 0.3, 0.006)],
    ]  # fmt: skip
    sylvian(scene, rng)
    horn = rng.uniform(0.02, 0.038) * wide
    scene.ventricles = [
        [(0.13 * wide, -0.36 + y, horn * 0.8), (0.07, -0.25 + y, horn), (0.04, -0.12 + y, 0.012)],
        [(0.0, -0.02 + y, 0.01 * wide), (0.0, 0.2 + y, 0.012 * wide)],
        [(0.22, 0.3 + y, 0.02 * wide), (0.25, 0.42 + y, 0.036 * wide), (0.2, 0.56 + y, 0.015)],
    ]
    plexus = [(0.22, 0.36 + y, 0.016), (0.25, 0.43 + y, 0.022)]
    paint_ventricles(scene, rng, plexus)
    if rng.random() < 0.7:
        cistern = [(0.0, 0.33 + y, 0.03), (0.07, 0.3 + y, 0.012)]
        fill(scene, chain(scene, cistern), t["csf"], 0.01, fluid=True)


def _axial_bodies(scene: Scene, rng: np.random.Generator) -> None:
    """The bodies of the lateral ventricles on both sides of the septum."""
    t = scene.tissue
    y = rng.uniform(-0.05, 0.05)
    wide = rng.uniform(0.7, 1.25)
    apart = rng.uniform(0.05, 0.08)
    fill(scene, chain(scene, [(0.19, -0.2 + y, 0.035), (0.19, 0.1 + y, 0.02)]), t["deep"], 0.01)
    splay = rng.uniform(0.13, 0.24)
    scene.ventricles = [
        [(apart + 0.06, -0.34 + y, 0.022 * wide), (apart, -0.16 + y, 0.034 * wide),
         (apart + 0.02, 0.08 + y, 0.03 * wide), (splay, 0.32 + y, 0.036 * wide),
         (splay + 0.01, rng.uniform(0.36, 0.48) + y, 0.018 * wide)],
    ]  # fmt: skip
    paint_ventricles(scene, rng, [(0.09, 0.12 + y, 0.012), (splay, 0.32 + y, 0.018)])


def _axial_fossa(scene: Scene, rng: np.random.Generator) -> None:
    """Orbits, temporal lobes, brainstem and cerebellum."""
    t = scene.tissue
    k = scene.narrow
    cortex(scene, None)
    bone = 0.6 * t["bone"] + 0.4 * t["marrow"] * rng.random()
    if rng.random() < 0.65:
        _orbits(scene, rng, bone)
    # skull base: petrous ridges, mastoid air cells
    w = k / 0.8
    fill(scene, chain(scene, [(0.24, 0.12, 0.015), (0.45 * w, 0.06, 0.03),
                              (0.66 * w, 0.03, 0.06)]), bone, 0.01)  # fmt: skip
    cells = rng.uniform(0.05, 0.09)
    fill(scene, oval(scene, (0.67 * w, 0.1), (cells, cells * 1.4), True), t["air"], 0.02)
    # cisterns, brainstem, cerebellum with its folia
    pons = rng.uniform(0.13, 0.18), rng.uniform(0.12, 0.15)
    fill(scene, oval(scene, (0.0, 0.06), (pons[0] + 0.05, pons[1] + 0.07)), t["csf"], 0.02)
    fill(scene, chain(scene, [(0.0, -0.16, 0.05), (0.12, -0.22, 0.015)]), t["csf"], 0.015)
    if rng.random() < 0.6:
        fill(scene, oval(scene, (0.0, -0.22), (0.045, 0.05)), t["grey"] * 1.1)
    cerebellum(scene, rng, (0.0, 0.47), (0.56 * w, rng.uniform(0.31, 0.36)))
    fill(scene, oval(scene, (0.0, 0.1), pons), t["white"], 0.012)
    fourth = [(0.0, 0.27, 0.05), (0.06, 0.3, 0.02)]
    fill(scene, chain(scene, fourth), t["csf"], fluid=True)
    scene.span = (0.45 * np.pi, 1.55 * np.pi)
    vessels(scene, rng, 2)
    sinus(scene, rng, np.pi)


def _orbits(scene: Scene, rng: np.random.Generator, bone: float) -> None:
    """Face in front of the skull base: orbits with fat, globes and nerves, ethmoid cells."""
    t = scene.tissue
    k = scene.narrow
    face = scene.window(-k, k, -1.1, -0.42)
    front = unit((-0.52 - scene.v[face] + 0.25 * scene.fold[face]) / 0.06)
    front *= unit((scene.scalp - scene.radius[face]) / scene.pixel)
    scene.paint(face, front, t["muscle"])
    for cover in (scene.white, scene.brain):
        cover[face] *= scene.v[face] > -0.42
    eye = (rng.uniform(0.3, 0.36) * k / 0.8, rng.uniform(-0.78, -0.7))
    fill(scene, chain(scene, [(eye[0], eye[1], 0.16), (0.2, -0.5, 0.05)]), t["fat"], 0.01)
    fill(scene, chain(scene, [(eye[0], eye[1], 0.02), (0.14, -0.5, 0.02)]), t["muscle"])
    globe = t["csf"] if scene.sequence != "flair" else 0.5 * t["grey"]
    fill(scene, oval(scene, eye, (0.125, 0.125), True), t["muscle"])
    fill(scene, oval(scene, eye, (0.11, 0.11), True), globe)
    fill(scene, oval(scene, (eye[0], eye[1] - 0.085), (0.05, 0.02), True), t["muscle"])
    fill(scene, oval(scene, (0.0, -0.7), (0.1, 0.22)), t["air"], 0.01, strength=0.85)
    fill(scene, chain(scene, [(0.13, -0.5, 0.015), (0.62 * k / 0.8, -0.44, 0.03)]), bone)


def cerebellum(
    scene: Scene, rng: np.random.Generator, centre: tuple[float, float], radii: tuple[float, float]
) -> None:
    """A cerebellum: fine curved folia over a branching white core, in a thin fluid cleft."""
    t = scene.tissue
    inside = unit((scene.surface - scene.radius) / scene.pixel + 0.5)
    window, distance = oval(scene, centre, (radii[0] + 0.025, radii[1] + 0.025))
    scene.paint(window, unit(0.5 - distance / scene.pixel) * inside[window], t["csf"])
    window, distance = oval(scene, centre, radii)
    x = (scene.u[window] - centre[0]) / radii[0]
    y = (scene.v[window] - centre[1]) / radii[1]
    origin = rng.uniform(-1.6, -0.9)
    arc = np.sqrt(0.7 * x * x + (y - origin) ** 2) + 0.09 * scene.patch(rng, window, 14)
    waves = np.sin(arc * rng.uniform(24, 32) + 1.5 * np.abs(x))
    core = ramp(distance + min(radii) * (0.5 + 0.12 * waves), 0.05) * rng.uniform(0.5, 1)
    fluid = unit(waves - 0.2) * (1 - core) * rng.uniform(0.1, 0.45)
    value = t["grey"] + core * (t["white"] - t["grey"])
    value = value + fluid * (t["csf"] - value)
    cover = unit(0.5 - distance / (1.5 * scene.pixel)) * inside[window]
    scene.paint(window, cover, np.asarray(value, np.float32))
    scene.brain[window] = np.maximum(scene.brain[window], cover)
    scene.white[window] += cover * (core * 0.7 - scene.white[window])
    scene.depth[window] = np.maximum(scene.depth[window], -distance)
