"""Normal fundus of the photograph phantom: field, retina, choroid, macula, disc, vessels, light."""

from __future__ import annotations

import numpy as np

from sdmad.phantoms.base import Image, grid, smooth_noise, wave
from sdmad.phantoms.fundus_scene import Disc, Scene, paint_disc, rgb
from sdmad.phantoms.fundus_vessels import draw_vessels, grow
from sdmad.phantoms.ultrasound_scan import ANGLES

_DARK, _LIGHT = rgb(0.56, 0.24, 0.11), rgb(0.9, 0.47, 0.25)
_FAR = 0.66  # from the disc to the fovea


def choroid(rng: np.random.Generator, size: int) -> Image:
    """Net of broad choroidal vessels, 0 between them to 1 on them, shape ``(size, size)``."""
    y, x = grid(size)
    net = np.zeros((size, size), np.float32)
    first = rng.uniform(0, np.pi)
    for turn in (first, first + rng.uniform(0.4, 0.9)):
        across = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
        bent = across * rng.uniform(18, 24) + 1.5 * smooth_noise(rng, size, 5)
        ridge = np.sin(bent + 0.9 * smooth_noise(rng, size, 11))
        net = np.maximum(net, np.clip(1.25 - 1.1 * np.abs(ridge), 0, 1).astype(np.float32))
    return net


def _place(
    rng: np.random.Generator, view: str, side: int, scale: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Row and column of the disc and of the fovea."""
    if view == "disc_centred":
        disc = rng.uniform(-0.07, 0.07), side * rng.uniform(-0.02, 0.14)
    else:
        disc = rng.uniform(-0.12, 0.06), side * rng.uniform(0.54, 0.64)
    fovea = disc[0] + rng.uniform(0.03, 0.13), disc[1] - side * _FAR * scale
    return disc, fovea


def _disc(rng: np.random.Generator, place: tuple[float, float], scale: float) -> Disc:
    """A normal optic disc."""
    tone = rng.uniform(0.92, 1.04)
    return Disc(
        row=place[0],
        col=place[1],
        radius=rng.uniform(0.165, 0.195) * scale,
        aspect=rng.uniform(0.86, 0.98),
        turn=rng.uniform(-0.15, 0.15),
        cup=rng.uniform(0.25, 0.42),
        shift=rng.uniform(0.05, 0.18),
        notch=np.ones(ANGLES, np.float32),
        rim=rgb(0.94, rng.uniform(0.58, 0.66), rng.uniform(0.34, 0.42)) * np.float32(tone),
        pallor=rgb(1.0, rng.uniform(0.86, 0.92), rng.uniform(0.66, 0.76)),
    )


def _retina(rng: np.random.Generator, size: int) -> Image:
    """Pigment epithelium over the choroid, shape ``(size, size, 3)``."""
    pigment = rng.random() ** 0.8
    base = _LIGHT + np.float32(pigment) * (_DARK - _LIGHT)
    base = base * rng.uniform(0.93, 1.07, 3).astype(np.float32)
    mottle = 0.04 * smooth_noise(rng, size, 5) + 0.02 * smooth_noise(rng, size, 32)
    ground = base * (1 + mottle + 0.012 * smooth_noise(rng, size, 70))[..., None]
    faint = rng.uniform(0.03, 0.12) if rng.random() < 0.4 else 0.0
    return np.asarray(ground * (1 + faint * (choroid(rng, size) - 0.6))[..., None], np.float32)


def _nerve_fibres(rng: np.random.Generator, scene: Scene) -> None:
    """Fine pale stripes that leave the disc and fade."""
    y, x = grid(scene.size)
    v, h = y - np.float32(scene.disc.row), x - np.float32(scene.disc.col)
    far = np.hypot(v, h)
    angle = np.arctan2(v, h) + 0.35 * far * np.sign(v) * np.sign(h)
    stripes = wave(rng, 1440, 220)[((angle / (2 * np.pi) + 0.5) * 1440).astype(np.intp) % 1440]
    strength = rng.uniform(0.0, 0.05) * np.exp(-far / 0.3)
    upright = np.abs(v) / np.maximum(far, 1e-3)
    tone = 1 + strength * upright * (stripes + np.float32(1.4))
    scene.ground *= tone[..., None]


def _macula(rng: np.random.Generator, scene: Scene) -> None:
    """Darker macula with a small bright reflex in the fovea and at times a ring around it."""
    y, x = grid(scene.size)
    far = np.hypot(y - np.float32(scene.fovea[0]), x - np.float32(scene.fovea[1])) / scene.scale
    dark = rng.uniform(0.2, 0.38) * np.exp(-((far / rng.uniform(0.13, 0.19)) ** 2))
    dark = dark + rng.uniform(0.04, 0.12) * np.exp(-((far / 0.36) ** 2))
    scene.ground *= 1 - dark[..., None] * rgb(0.8, 1.0, 1.1)
    gleam = rng.uniform(0.1, 0.35) * np.exp(-((far / rng.uniform(0.012, 0.02)) ** 2))
    if rng.random() < 0.35:
        ring = (far - rng.uniform(0.13, 0.17)) / 0.02
        gleam = gleam + rng.uniform(0.03, 0.1) * np.exp(-ring * ring)
    scene.ground += gleam[..., None] * rgb(1.0, 0.85, 0.6)


def _field(rng: np.random.Generator) -> tuple[float, float]:
    """Radius of the round field and half of its height, less where top and bottom are cut."""
    if rng.random() < 0.35:
        return rng.uniform(0.96, 1.0), rng.uniform(0.82, 0.92)
    return rng.uniform(0.94, 0.985), 1.1


def _light(rng: np.random.Generator, size: int, reach: float, half: float) -> tuple[Image, Image]:
    """Light on each pixel, ``(size, size)``, and stray light, ``(size, size, 3)``."""
    y, x = grid(size)
    far = np.hypot(y, x)
    edge = np.minimum(reach - far, half - np.abs(y)) * np.float32(size / 2)
    field = np.clip(edge + np.float32(0.5), 0, 1)
    fall = rng.uniform(0.12, 0.38) * far * far
    slope = rng.normal(0, 0.07) * x + rng.normal(0, 0.07) * y
    light = np.clip(
        rng.uniform(0.9, 1.0) - fall + slope + 0.03 * smooth_noise(rng, size, 3), 0.2, 1
    )
    angle = rng.uniform(0, 2 * np.pi)
    towards = np.clip(far * (np.cos(angle) * x + np.sin(angle) * y), 0, 1)
    haze = rng.uniform(0.0, 0.1) + rng.uniform(0.0, 0.28) * (rng.random() < 0.4) * towards**2
    stray = rgb(0.8, 0.66, 0.52) * np.float32(rng.uniform(0.75, 1.0))
    gain = np.asarray(light * (1 - haze) * field, np.float32)
    return gain, np.asarray((light * haze * field)[..., None] * stray, np.float32)


def anatomy(rng: np.random.Generator, size: int, view: str) -> Scene:
    """A normal fundus of one view."""
    side = 1 if rng.random() < 0.5 else -1
    scale = rng.uniform(0.94, 1.1)
    place, fovea = _place(rng, view, side, scale)
    vessels = grow(rng, np.array(place), np.array(fovea), side, scale)
    reach, half = _field(rng)
    gain, veil = _light(rng, size, reach, half)
    scene = Scene(
        ground=_retina(rng, size),
        vessels=vessels,
        shares=draw_vessels(size, vessels),
        disc=_disc(rng, place, scale),
        fovea=fovea,
        side=side,
        scale=scale,
        reach=reach,
        half=half,
        gain=gain,
        veil=veil,
    )
    _nerve_fibres(rng, scene)
    _macula(rng, scene)
    paint_disc(scene)
    return scene
