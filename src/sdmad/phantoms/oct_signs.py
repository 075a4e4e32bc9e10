"""Retina of the OCT phantom as layers, and the sign primitives that alter it.

The retina is a stack of layers: one thickness and one brightness for each layer and column.
A sign changes thicknesses (everything above is lifted), brightnesses (loss of a band, shadows,
hypertransmission) or lays spots (cysts, foci, exudates) that are painted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.phantoms.base import wave

Curve = NDArray[np.float32]
Values = NDArray[np.floating[Any]]

# Layers from the vitreous down to the choroid; the first and last have no thickness.
VITREOUS, MEMBRANE, PRERETINAL, NFL, GCL, INL, OPL, ONL, ELM, MYOID, EZ, OUTER_SEGMENTS = range(12)
SUBRETINAL, DEPOSIT, RPE, SUB_RPE, BRUCH, CHOROID = range(12, 18)


@dataclass
class Spots:
    """Oval spots to paint over the layers.

    Attributes:
        row, column: centres in pixels, shape ``(n,)``.
        height, width: half axes in pixels, shape ``(n,)``.
        level: brightness, shape ``(n,)``.
        sharpness: slope of the edge, per pixel.
    """

    row: Values
    column: Values
    height: Values
    width: Values
    level: Values
    sharpness: float = 0.8


@dataclass
class Retina:
    """State of the retina while signs are applied.

    Attributes:
        x: column coordinate in [-1, 1], shape ``(size,)``.
        bruch: row of Bruch's membrane's lower edge in pixels, shape ``(size,)``.
        thickness: pixels, shape ``(18, size)``; zero for vitreous and choroid.
        level: brightness, shape ``(18, size)``.
        pitless: ``thickness`` as it would be without the foveal pit.
        total: typical thickness of the whole retina in pixels.
        fovea: column coordinate of the foveal centre.
        spots: for each sign, the factory of its spots given the final layer edges.
    """

    x: Curve
    bruch: Curve
    thickness: Curve
    level: Curve
    pitless: Curve
    total: float
    fovea: float
    spots: dict[str, Callable[[Curve], Spots]] = field(default_factory=dict)

    @property
    def pixel(self) -> float:
        """Length of a pixel of the 128 px picture, in pixels."""
        return len(self.x) / 128

    def edges(self) -> Curve:
        """Lower edge of every layer in rows, shape ``(18, size)``; the vitreous ends first."""
        below = np.cumsum(self.thickness[::-1], axis=0)[::-1]
        edges = np.empty_like(below)
        edges[:-1] = self.bruch - below[1:]
        edges[-1] = self.bruch
        return edges

    def lift(self, layer: int, height: Curve, absorbed: float) -> None:
        """Thicken a layer and let the outer nuclear layer take up part of the elevation.

        Args:
            layer: index of the layer.
            height: pixels to add, shape ``(size,)``; less where it would leave the picture.
            absorbed: share of the height by which the retina above is compressed.
        """
        room = self.bruch - self.thickness.sum(0) - 3 * self.pixel
        height = np.minimum(height, np.maximum(0.9 * room, 0.35 * height))
        self.thickness[layer] += height
        self.thickness[ONL] -= np.minimum(absorbed * height, 0.6 * self.thickness[ONL])

    def settle(self, height: Curve) -> None:
        """Bring the retina to a whole thickness by way of the outer nuclear layer.

        Args:
            height: wanted sum of all thicknesses in pixels, shape ``(size,)``.
        """
        missing = height - self.thickness.sum(0)
        self.thickness[ONL] += np.maximum(missing, -0.75 * self.thickness[ONL])
        rest = self.thickness.sum(0) - height
        for layer in (GCL, INL):
            self.thickness[layer] -= np.minimum(0.5 * rest, 0.4 * self.thickness[layer])

    def mix(self, layer: int, level: Values | float, weight: Values) -> None:
        """Blend a layer's brightness towards a level, with a weight for each column."""
        self.level[layer] += weight * (level - self.level[layer])


def dome(
    x: Curve, centre: float | Values, half_width: float | Values, roundness: float = 1.0
) -> Curve:
    """Elevation of unit height over ``centre``; a low roundness gives steep shoulders."""
    t = np.maximum(1 - ((x - centre) / half_width) ** 2, 0)
    return np.asarray(t**roundness, dtype=np.float32)


def plateau(
    x: Curve, centre: float | Values, half_width: float | Values, edge: float = 0.03
) -> Curve:
    """Weight 1 within ``half_width`` of ``centre``, falling to 0 over ``edge``."""
    t = (half_width - np.abs(x - centre)) / edge + 0.5
    return np.asarray(np.clip(t, 0, 1), dtype=np.float32)


def _near_fovea(r: Retina, rng: np.random.Generator, spread: float = 0.3) -> float:
    return float(np.clip(r.fovea + rng.normal(0, spread), -0.65, 0.65))


def _scattered(rng: np.random.Generator, centre: float, spread: float, count: int) -> Curve:
    """Jittered, roughly even positions around ``centre``."""
    places = np.linspace(-1, 1, count) + rng.uniform(-0.7, 0.7, count) / count
    return np.asarray(np.clip(centre + spread * places, -0.88, 0.88), np.float32)


def foveal_pit_loss(r: Retina, rng: np.random.Generator) -> None:
    """Foveal depression filled in: flat or slightly convex inner contour."""
    share = rng.uniform(0.9, 1.15)
    r.thickness += share * (r.pitless - r.thickness)
    bulge = rng.uniform(0.0, 0.16) * r.total * dome(r.x, r.fovea, rng.uniform(0.25, 0.45))
    r.lift(ONL, bulge, 0.0)


def diffuse_thickening(r: Retina, rng: np.random.Generator) -> None:
    """Broad sponge-like swelling: thick inner and outer nuclear layers, blurred and greyer."""
    width = rng.uniform(0.75, 1.4)
    profile = dome(r.x, _near_fovea(r, rng, 0.2), width, rng.uniform(0.8, 1.8))
    r.thickness += rng.uniform(0.0, 0.6) * (r.pitless - r.thickness)
    extra = rng.uniform(0.4, 0.85) * r.total * profile
    extra *= 1 + 0.06 * wave(rng, len(r.x), 9)
    r.lift(ONL, 0.55 * extra, 0.0)
    r.lift(INL, 0.25 * extra, 0.0)
    r.lift(GCL, 0.2 * extra, 0.0)
    sponge = 1 + rng.uniform(0.08, 0.25) * profile * wave(rng, len(r.x), 40)
    grey = rng.uniform(0.1, 0.3)
    for layer in (INL, ONL):
        r.level[layer] *= sponge * (1 - grey * profile)
    r.level[GCL:OPL] *= 1 - 0.2 * profile
    r.level[ELM:CHOROID] *= 1 - rng.uniform(0.05, 0.25) * profile


def rpe_atrophy(r: Retina, rng: np.random.Generator) -> None:
    """Loss of the pigment epithelium and outer retina with choroidal hypertransmission."""
    size, centre = len(r.x), _near_fovea(r, rng, 0.25)
    half_width = rng.uniform(0.16, 0.45)
    weight = plateau(r.x, centre, half_width, rng.uniform(0.05, 0.16))
    whole = r.thickness.sum(0)
    sag = rng.uniform(0.12, 0.24) * r.total * plateau(r.x, centre, half_width, 0.4)
    for layer in (ELM, MYOID, EZ, OUTER_SEGMENTS):
        r.thickness[layer] *= 1 - 0.8 * weight
        r.mix(layer, r.level[ONL], weight)
    r.thickness[RPE] *= 1 - rng.uniform(0.4, 0.7) * weight
    r.mix(RPE, 0.55 * r.level[RPE], weight)
    r.settle(np.maximum(whole - sag, 0.3 * r.total))
    streaks = 1 + 0.16 * wave(rng, size, 40)
    r.level[CHOROID] *= 1 + rng.uniform(0.9, 1.6) * weight * streaks


def drusen_bumps(r: Retina, rng: np.random.Generator) -> None:
    """Several low domes of the pigment epithelium with grey content, photoreceptors draped."""
    count = int(rng.integers(2, 9))
    place = _scattered(rng, 0.6 * r.fovea, rng.uniform(0.25, 0.8), count)[:, None]
    tall = np.maximum(rng.uniform(0.1, 0.3, (count, 1)) * r.total, 3.2 * r.pixel)
    bumps = dome(r.x, place, rng.uniform(0.05, 0.13, (count, 1)), rng.uniform(0.7, 1.4))
    height = np.asarray((tall * bumps).max(0), np.float32)
    whole = r.thickness.sum(0)
    r.lift(SUB_RPE, height, 0.0)
    content = rng.uniform(0.3, 0.55) * r.level[RPE].mean()
    r.mix(SUB_RPE, content, np.ones_like(r.x))
    raised = height / height.max()
    r.mix(EZ, r.level[MYOID], rng.uniform(0.1, 0.6) * raised)
    r.thickness[MYOID : OUTER_SEGMENTS + 1] *= 1 - 0.45 * raised
    r.settle(whole + rng.uniform(0.0, 0.25) * height)


def serous_detachment(r: Retina, rng: np.random.Generator) -> None:
    """One smooth, steep dome of the pigment epithelium over optically empty fluid."""
    half_width = rng.uniform(0.2, 0.5)
    profile = dome(r.x, _near_fovea(r, rng), half_width, rng.uniform(0.5, 0.9))
    tall = min(rng.uniform(0.45, 0.95) * r.total, rng.uniform(0.5, 0.8) * half_width * len(r.x) / 2)
    r.lift(SUB_RPE, tall * profile, rng.uniform(0.1, 0.5))
    dark = r.level[VITREOUS] + rng.uniform(0.0, 0.07)
    r.mix(SUB_RPE, dark, np.minimum(3 * profile, 1))
    r.thickness[RPE] *= 1 - 0.25 * profile
    r.thickness[BRUCH] *= 1 + 0.2 * profile


def fibrovascular_ped(r: Retina, rng: np.random.Generator) -> None:
    """Irregular, lumpy elevation of the pigment epithelium with mixed grey content."""
    size, centre = len(r.x), _near_fovea(r, rng)
    profile = dome(r.x, centre, rng.uniform(0.28, 0.6), rng.uniform(0.4, 0.8))
    lumps = np.clip(0.7 + 0.3 * wave(rng, size, int(rng.integers(16, 30))), 0.15, 1.4)
    whole, height = r.thickness.sum(0), rng.uniform(0.32, 0.65) * r.total * profile
    r.lift(SUB_RPE, height * lumps, 0.0)
    weight = np.minimum(4 * profile, 1)
    mixed = rng.uniform(0.38, 0.6) * r.level[RPE].mean() * (1 + 0.3 * wave(rng, size, 24))
    r.mix(SUB_RPE, np.maximum(mixed, 0.1), weight)
    ragged = wave(rng, size, 30)
    r.thickness[RPE] *= 1 + weight * np.clip(0.3 + 0.4 * ragged, -0.4, 1.2)
    r.level[RPE] *= 1 - weight * np.clip(0.15 + 0.2 * ragged, 0, 0.6)
    for layer in (EZ, OUTER_SEGMENTS, ELM):
        r.mix(layer, r.level[MYOID], weight * rng.uniform(0.5, 1.0))
    r.settle(whole + rng.uniform(0.3, 0.7) * height)
    r.level[CHOROID] *= 1 + weight * np.clip(0.3 * wave(rng, size, 45) - 0.15, -0.6, 0.6)


def reticular_deposits(r: Retina, rng: np.random.Generator) -> None:
    """Row of small bright spikes on top of a flat pigment epithelium, piercing the EZ line."""
    count, step = int(rng.integers(7, 17)), rng.uniform(0.085, 0.13)
    length = step * (count - 1)
    first = rng.uniform(-0.85, max(0.85 - length, -0.8))
    place = first + step * (np.arange(count) + rng.uniform(-0.22, 0.22, count))
    half_width, tall = rng.uniform((0.028, 0.13), (0.042, 0.22), (count, 2)).T
    cones = 1.25 - 1.25 * np.abs(r.x - place[:, None]) / half_width[:, None]
    tall = np.maximum(tall * r.total, 3.6 * r.pixel)[:, None]
    height = np.asarray((tall * np.clip(cones, 0, 1)).max(0), np.float32)
    whole = r.thickness.sum(0)
    r.thickness[DEPOSIT] += height
    raised = np.minimum(height / height.max() * 1.6, 1)
    r.mix(DEPOSIT, rng.uniform(0.75, 1.0) * r.level[RPE], raised)
    for layer in (MYOID, EZ, OUTER_SEGMENTS):
        r.thickness[layer] *= 1 - 0.85 * raised
    r.mix(EZ, r.level[MYOID], 0.6 * raised)
    r.settle(whole)


def subretinal_hyperreflective_material(r: Retina, rng: np.random.Generator) -> None:
    """Bright, fuzzy mound between the neurosensory retina and the pigment epithelium."""
    size, centre = len(r.x), _near_fovea(r, rng, 0.25)
    half_width = rng.uniform(0.2, 0.48)
    profile = dome(r.x, centre, half_width, rng.uniform(0.5, 1.1))
    lumps = np.clip(0.9 + 0.18 * wave(rng, size, int(rng.integers(8, 20))), 0.3, 1.3)
    tall = min(rng.uniform(0.4, 0.8) * r.total, 0.7 * half_width * size / 2)
    whole = r.thickness.sum(0)
    r.lift(DEPOSIT, tall * profile * lumps, 0.0)
    r.settle(whole + rng.uniform(0.35, 0.75) * tall * profile)
    weight = np.minimum(4 * profile, 1)
    bright = rng.uniform(0.62, 0.92) * r.level[RPE].mean() * (1 + 0.13 * wave(rng, size, 26))
    r.mix(DEPOSIT, bright, weight)
    for layer in (ELM, EZ, OUTER_SEGMENTS):
        r.mix(layer, r.level[MYOID], weight)
    r.level[RPE] *= 1 - rng.uniform(0.1, 0.45) * weight
    r.level[CHOROID] *= 1 - weight * np.clip(0.3 + 0.3 * wave(rng, size, 40), -0.3, 0.8)


def subretinal_fluid(r: Retina, rng: np.random.Generator) -> None:
    """Dark lens of fluid that lifts the whole retina off a pigment epithelium in place."""
    half_width = rng.uniform(0.28, 0.7)
    profile = dome(r.x, _near_fovea(r, rng), half_width, rng.uniform(0.8, 1.6))
    tall = min(rng.uniform(0.3, 0.75) * r.total, 0.5 * half_width * len(r.x) / 2)
    r.lift(SUBRETINAL, tall * profile, rng.uniform(0.1, 0.6))
    r.mix(SUBRETINAL, r.level[VITREOUS] + rng.uniform(0.0, 0.05), np.minimum(5 * profile, 1))
    shaggy = 1 + 0.3 * np.abs(wave(rng, len(r.x), 34))
    r.thickness[OUTER_SEGMENTS] *= 1 + profile * (rng.uniform(0.0, 0.8) * shaggy)


def ez_disruption(r: Retina, rng: np.random.Generator) -> None:
    """Gaps in the ellipsoid zone and external limiting membrane over an intact RPE."""
    size, weight = len(r.x), np.zeros(len(r.x), np.float32)
    for place in _scattered(rng, r.fovea, rng.uniform(0.15, 0.6), int(rng.integers(1, 4))):
        gap = plateau(r.x, place, rng.uniform(0.12, 0.28), rng.uniform(0.03, 0.12))
        weight = np.maximum(weight, gap)
    weight *= np.clip(rng.uniform(0.85, 1.1) + 0.1 * wave(rng, size, 30), 0.6, 1)
    whole = r.thickness.sum(0)
    for layer in (ELM, EZ, OUTER_SEGMENTS):
        r.mix(layer, 0.9 * r.level[ONL], weight)
    r.thickness[OUTER_SEGMENTS] *= 1 - 0.4 * weight
    r.thickness[RPE] *= 1 - 0.15 * weight
    r.settle(whole)


def epiretinal_membrane(r: Retina, rng: np.random.Generator) -> None:
    """Bright taut line on the inner surface, lifted off wrinkled retina here and there."""
    size = len(r.x)
    weight = plateau(r.x, rng.uniform(-0.4, 0.4), rng.uniform(0.45, 1.2), 0.08)
    folds = wave(rng, size, int(rng.integers(14, 30)))
    wrinkle = rng.uniform(0.05, 0.11) * r.total * weight
    r.thickness[NFL] += wrinkle * np.clip(0.5 - 0.6 * folds, -0.4, 1.2)
    r.thickness[PRERETINAL] += wrinkle * np.clip(1.3 * folds - 0.6, 0, 2)
    r.mix(PRERETINAL, r.level[VITREOUS] + 0.02, weight)
    r.thickness[MEMBRANE] += rng.uniform(1.2, 2.0) * r.pixel * weight
    bright = rng.uniform(0.75, 1.0) * r.level[RPE].mean()
    r.mix(MEMBRANE, bright, np.ones(size, np.float32))


def intraretinal_cysts(r: Retina, rng: np.random.Generator) -> None:
    """Cluster of dark ovals with thin septa in the nuclear layers of a locally swollen retina."""
    size, count = len(r.x), int(rng.integers(2, 8))
    centre, spread = _near_fovea(r, rng, 0.12), rng.uniform(0.1, 0.15) * count**0.5
    swelling = rng.uniform(0.15, 0.5) * r.total * dome(r.x, centre, spread + 0.22, 1.5)
    r.lift(ONL, 0.7 * swelling, 0.0)
    r.lift(INL, 0.3 * swelling, 0.0)
    column = _scattered(rng, centre, spread, count)
    upper = rng.random(count) < 0.3
    fill, slim, shade = rng.uniform((0.34, 0.75, 0.0), (0.5, 1.25, 0.05), (count, 3)).T
    gap = 0.5 * spread * size / count
    dark = float(r.level[VITREOUS].mean())

    def spots(edges: Curve) -> Spots:
        at = np.clip(((column + 1) / 2 * size).astype(int), 0, size - 1)
        top = np.where(upper, edges[GCL, at] - 1, edges[INL, at])
        bottom = np.where(upper, edges[OPL, at], edges[ONL, at])
        height = np.maximum(fill * (bottom - top), 2.0 * r.pixel)
        width = np.clip(slim * gap, 2.0 * r.pixel, 1.3 * height)
        return Spots((top + bottom) / 2, at + 0.5, height, width, dark + shade, 0.9)

    r.spots["intraretinal_cysts"] = spots


def hyperreflective_foci(r: Retina, rng: np.random.Generator) -> None:
    """Many tiny bright dots strewn through the middle retina, without shadow."""
    size, count = len(r.x), int(rng.integers(7, 22))
    column = np.clip(r.fovea + rng.normal(0, rng.uniform(0.2, 0.5), count), -0.9, 0.9)
    depth = rng.uniform(0.05, 0.95, count)
    radius = rng.uniform(0.8, 1.35, count) * r.pixel
    level = rng.uniform(0.75, 1.1, count) * r.level[RPE].mean()

    def spots(edges: Curve) -> Spots:
        at = ((column + 1) / 2 * size).astype(int)
        row = edges[GCL, at] + depth * (edges[ONL, at] - edges[GCL, at])
        return Spots(row, at + 0.5, radius, radius * 1.1, level, 1.0)

    r.spots["hyperreflective_foci"] = spots


def hard_exudates_with_shadow(r: Retina, rng: np.random.Generator) -> None:
    """Coarse bright clumps in the outer plexiform layer that shade everything beneath."""
    size, count = len(r.x), int(rng.integers(2, 6))
    column = _scattered(rng, _near_fovea(r, rng), rng.uniform(0.2, 0.5), count)
    width = rng.uniform(2.4, 5.0, count) * r.pixel
    height = np.minimum(rng.uniform(1.6, 3.2, count) * r.pixel, 0.13 * r.total)
    height = np.maximum(height, 1.6 * r.pixel)
    reach = (1.8 * width / size)[:, None]
    deep = rng.uniform(0.4, 0.75, (count, 1)) * plateau(r.x, column[:, None], reach, 0.06)
    shadow = deep.max(0)
    r.level[ELM:] *= 1 - shadow
    r.level[ONL] *= 1 - 0.5 * shadow
    depth = rng.uniform(0.0, 0.75, count)
    level = rng.uniform(0.85, 1.15, count) * r.level[RPE].max()
    # each clump is a body and two lumps at its sides
    sideways = np.concatenate([np.zeros(count), rng.uniform(-0.9, 0.9, 2 * count)])
    upward = np.concatenate([np.zeros(count), rng.uniform(-0.7, 0.7, 2 * count)])
    share = np.concatenate([np.ones(count), rng.uniform(0.45, 0.75, 2 * count)])

    def spots(edges: Curve) -> Spots:
        at = ((column + 1) / 2 * size).astype(int)
        row = edges[INL, at] + depth * (edges[ONL, at] - edges[INL, at])
        tall, wide = np.tile(height, 3), np.tile(width, 3)
        return Spots(
            np.tile(row, 3) + upward * tall, np.tile(at + 0.5, 3) + sideways * wide,
            tall * share, wide * share, np.tile(level, 3), 0.9,
        )  # fmt: skip

    r.spots["hard_exudates_with_shadow"] = spots


Sign = Callable[[Retina, np.random.Generator], None]

# In the order in which they are applied.
SIGNS: dict[str, Sign] = {
    function.__name__: function
    for function in (
        foveal_pit_loss,
        diffuse_thickening,
        rpe_atrophy,
        drusen_bumps,
        serous_detachment,
        fibrovascular_ped,
        reticular_deposits,
        subretinal_hyperreflective_material,
        subretinal_fluid,
        ez_disruption,
        epiretinal_membrane,
        intraretinal_cysts,
        hyperreflective_foci,
        hard_exudates_with_shadow,
    )
}
