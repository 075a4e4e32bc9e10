"""Retinal OCT phantoms: B-scans through the macula with the signs of CNV, DME and drusen.

A B-scan is drawn from layers (thickness and brightness for each column, see ``oct_signs``):
the step at each layer edge is scattered into a difference picture and summed down the columns.
Choroidal vessels, decay with depth, speckle, a posterior hyaloid, vessel shadows and the white
wedges of motion-corrected exports are normal anatomy or display, never signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sdmad.phantoms import oct_signs as layers
from sdmad.phantoms.base import Category, Image, Mask, Modality, wave
from sdmad.phantoms.oct_signs import SIGNS, Curve, Retina, Spots

# Share of the whole thickness and brightness of each layer, vitreous to choroid.
_SHARE = np.array(
    [0, 0, 0, 0.095, 0.23, 0.12, 0.085, 0.22, 0.02, 0.045, 0.045, 0.05, 0, 0, 0.065, 0, 0.02, 0],
    np.float32,
)
_LEVEL = np.array(
    [0.0, 0.5, 0.1, 0.5, 0.36, 0.235, 0.36, 0.2, 0.32, 0.24, 0.64, 0.4, 0.1, 0.6, 0.8, 0.35, 0.6,
     0.46],
    np.float32,
)  # fmt: skip
_CHANGE = 0.01  # of the speckle-free picture; speckle multiplies it by 1.6 at most
_DEPTH = 96  # rows of choroidal texture at 128 px


@lru_cache(maxsize=4)
def _speckle_pool(size: int) -> Image:
    """Fine noise, zero mean, unit deviation, clipped at 3; a tile larger than the picture."""
    rng = np.random.default_rng(17)
    side = 2 * size if size <= 256 else size + 128
    white = rng.standard_normal((4 if size <= 256 else 1, side, side), dtype=np.float32)
    grain = white + 0.75 * np.roll(white, 1, 2) + 0.3 * np.roll(white, 1, 1)
    return np.clip(grain / grain.std(), -3, 3)


@lru_cache(maxsize=4)
def _choroid_pool(size: int) -> Image:
    """Choroidal texture by depth under Bruch's membrane, mean about 1, with dark vessels."""
    rng = np.random.default_rng(23)
    rows, pixel = _DEPTH * size // 128, size / 128
    depth = (np.arange(rows, dtype=np.float32) / rows)[:, None]
    pool = np.empty((10 if size <= 256 else 2, rows, size), np.float32)
    for plate in pool:
        white = rng.standard_normal((3, rows, size), dtype=np.float32)
        fine, small, large = (
            ndimage.gaussian_filter(w, (s * pixel, 1.1 * s * pixel), mode="wrap") * 3.5 * s * pixel
            for w, s in zip(white, (0.8, 1.5, 2.8), strict=True)
        )
        deep = np.clip(depth / 0.1 - 0.5, 0, 1)
        lumen = np.clip(0.8 * small * (1 - deep) + 0.9 * large * deep, 0, 1)
        haller = np.clip(depth / 0.03 - 0.5, 0, 1) * np.clip((0.42 - depth) / 0.2, 0, 1)
        plate[:] = 1 + 0.16 * fine - 0.6 * haller * lumen
    return pool


@lru_cache(maxsize=4)
def _lower_triangle(size: int) -> Image:
    return np.tril(np.ones((size + 2, size + 2), np.float32))


def _baseline(rng: np.random.Generator, x: Curve, total: float, oblique: bool) -> Curve:
    """Row of Bruch's membrane: tilt, bow and slow undulation, placed to keep the retina inside."""
    size = len(x)
    tilt, bow = rng.normal(0, 0.09), rng.normal(0.04, 0.05)
    if rng.random() < (0.6 if oblique else 0.2):
        tilt, bow = rng.uniform(-0.35, 0.35), rng.uniform(-0.1, 0.4)
    curve = size * 0.5 * (tilt * x - bow * x * x + 0.008 * wave(rng, size, 4))
    middle = curve[size // 6 : -size // 6]
    low, high = 0.16 * size + total - middle.min(), 0.86 * size - middle.max()
    return np.asarray(curve + rng.uniform(min(low, high), high), np.float32)


def _thickness(
    rng: np.random.Generator, x: Curve, total: float, fovea: float, pit: bool
) -> tuple[Curve, Curve]:
    """Thickness of every layer, with and without the foveal pit, each ``(18, size)``."""
    size = len(x)
    share = _SHARE * rng.uniform(0.85, 1.15, 18).astype(np.float32)
    thick = np.repeat((share * total)[:, None], size, 1)
    thick[layers.NFL :] *= 1 + 0.03 * wave(rng, size, 8)
    far = np.abs(x - fovea)
    side = rng.uniform(-1, 1) * (0.8 if pit else 1.3)
    thick[layers.NFL] *= np.clip(1 + side * (x - fovea), 0.4, 2.6)
    thick[layers.GCL] *= 1 - 0.3 * np.clip(far - 0.3, 0, 1)
    thick[layers.RPE] *= 1 + 0.06 * wave(rng, size, 20)
    if not pit:
        return thick, thick
    width = rng.uniform(0.15, 0.3)
    shoulder = np.exp(-np.minimum(((far - 2.1 * width) / width) ** 2, 20))
    thick[layers.GCL] *= 1 + rng.uniform(0.05, 0.3) * shoulder
    pitless = thick.copy()
    hollow = np.exp(-np.minimum((far / width) ** rng.uniform(1.6, 2.4), 20))
    hollow *= rng.uniform(0.88, 1.0)
    for layer, loss in zip(range(layers.NFL, layers.ONL), (0.95, 0.95, 0.88, 0.6), strict=True):
        thick[layer] *= 1 - loss * hollow
    thick[layers.ONL] *= 1 + rng.uniform(0.25, 0.6) * hollow
    thick[layers.OUTER_SEGMENTS] *= 1 + 0.4 * hollow * hollow
    return thick, pitless


def _levels(rng: np.random.Generator, size: int, x: Curve) -> Curve:
    """Brightness of every layer and column: exposure, fall-off to a side, vessel shadows."""
    level = _LEVEL * rng.uniform(0.86, 1.14, 18).astype(np.float32)
    gain, lift = rng.uniform(0.75, 1.2), rng.uniform(0.0, 0.06)
    columns = 1 + 0.03 * wave(rng, size, 60) + rng.uniform(-0.15, 0.15) * x
    out = level[:, None] * (gain * columns)[None] + lift
    out[layers.VITREOUS] = rng.uniform(0.025, 0.08) + lift
    count = (int(rng.integers(1, 5)), 1)
    place, half_width = rng.uniform(-1.2, 1.2, count), rng.uniform(0.005, 0.025, count)
    vessel = layers.plateau(x, place, half_width, 0.04)
    out[layers.INL :] *= 1 - (rng.uniform(0.1, 0.4, count) * vessel).max(0).astype(np.float32)
    out[layers.GCL] *= 1 + (rng.uniform(-0.1, 0.35, count) * vessel).sum(0)
    return np.asarray(out, np.float32)


def _hyaloid(rng: np.random.Generator, x: Curve, size: int, total: float) -> tuple[Curve, Curve]:
    """Height of a posterior hyaloid over the inner surface and its brightness by column."""
    if rng.random() > 0.3:
        return np.zeros(size, np.float32), np.zeros(size, np.float32)
    far = np.abs(x - rng.uniform(-0.5, 0.5))
    height = total * (rng.uniform(0.1, 0.5) + rng.uniform(0.0, 1.2) * far**1.5)
    visible = np.clip(wave(rng, size, 4) + rng.uniform(0, 1), 0, 1)
    return np.asarray(height, np.float32), np.asarray(rng.uniform(0.04, 0.16) * visible, np.float32)


def _fill(retina: Retina, hyaloid: tuple[Curve, Curve]) -> Image:
    """Layers as a picture: scatter the step at each edge, then sum down the columns."""
    size = len(retina.x)
    edges, level = retina.edges(), retina.level
    line = np.minimum(hyaloid[0], edges[0] - 1.5)
    rows = np.concatenate([edges[:-1], [line, line + 0.9 * retina.pixel]])
    steps = np.concatenate([np.diff(level, axis=0), [hyaloid[1], -hyaloid[1]]])
    rows = np.clip(rows, 0, size)
    first, last = int(rows.min()), int(rows.max()) + 2
    whole = rows.astype(np.intp)
    second = steps * (rows - whole)
    index = (whole - first) * size + np.arange(size)
    index = np.concatenate([index, index + size]).ravel()
    weights = np.concatenate([steps - second, second]).ravel()
    height = last - first
    band = np.bincount(index, weights, height * size).astype(np.float32).reshape(height, size)
    band[0] += level[0]
    picture = np.empty((max(size, last), size), np.float32)
    picture[:first] = level[0]
    # sums by a triangular product over the rows that hold retina: quicker than cumsum
    np.matmul(_lower_triangle(size)[:height, :height], band, out=picture[first:last])
    picture[last:] = level[-1]
    return picture[:size]


def _depth_gain(rng: np.random.Generator, retina: Retina) -> Image:
    """Choroidal vessels and decay of the signal below Bruch's membrane; 1 above it."""
    size = len(retina.x)
    pool = _choroid_pool(size)
    plate = pool[rng.integers(len(pool))][:, :: 1 if rng.random() < 0.5 else -1]
    rows = len(plate)
    fall = np.arange(rows, dtype=np.float32) / size
    floor = rng.uniform(0.04, 0.17)
    decay = np.exp(-fall / rng.uniform(0.05, 0.19)) * (1 - floor) + floor
    table = 1 + rng.uniform(0.4, 1.1) * (plate - 1)
    table *= decay[:, None].astype(np.float32)
    table[0] = 1
    top = min(max(int(retina.bruch.min()), 0), size)
    depth = np.arange(top, size, dtype=np.float32)[:, None] - np.floor(retina.bruch)
    index = np.clip(depth * np.float32(rng.uniform(0.6, 1.3)), 0, rows - 1).astype(np.intp)
    index *= size
    index += np.arange(size)
    gain = np.ones((size, size), np.float32)
    np.take(table, index, out=gain[top:])
    return gain


def _paint(image: Image, spots: Spots) -> Image:
    """Image with spots laid over it; where spots overlap, their levels are averaged."""
    size = image.shape[0]
    reach = int(np.ceil(max(spots.height.max(), spots.width.max()))) + 1
    offset = np.arange(-reach, reach + 1)
    row = np.floor(spots.row).astype(np.intp)[:, None] + offset
    column = np.floor(spots.column).astype(np.intp)[:, None] + offset
    v = ((row + 0.5 - spots.row[:, None]) / spots.height[:, None])[:, :, None]
    h = ((column + 0.5 - spots.column[:, None]) / spots.width[:, None])[:, None, :]
    radius = np.minimum(spots.height, spots.width)[:, None, None]
    oval = np.clip((1 - np.sqrt(v * v + h * h)) * radius * spots.sharpness + 0.5, 0, 1)
    inside = ((row >= 0) & (row < size))[:, :, None] & ((column >= 0) & (column < size))[:, None]
    index = (row[:, :, None] * size + column[:, None])[inside]
    cover = oval[inside]
    colour = np.broadcast_to(spots.level[:, None, None], oval.shape)[inside]
    share = np.zeros(size * size, np.float32)
    np.maximum.at(share, index, cover.astype(np.float32))
    weight = np.bincount(index, cover, size * size)
    level = np.bincount(index, cover * colour, size * size) / np.maximum(weight, 1e-6)
    below = image.ravel()
    return np.asarray(below + share * (level - below), np.float32).reshape(size, size)


def _wedge(rng: np.random.Generator, image: Image, top: float, bottom: float) -> NDArray[np.bool_]:
    """White or black wedges and bars that motion-corrected exports leave around a scan.

    Args:
        rng: source of the draw.
        image: picture that is painted over.
        top: highest row of the normal retina's surface.
        bottom: lowest row of Bruch's membrane.

    Returns:
        Mask of the painted pixels, shape ``(size, size)``.
    """
    size = image.shape[0]
    covered = np.zeros(image.shape, bool)
    if rng.random() > 0.4:
        return covered
    rows = np.arange(size)[:, None]
    ramp = np.linspace(-1, 1, size) * rng.uniform(-0.08, 0.08) * size
    kind = rng.integers(5)  # above, below (two in five each) or both
    if kind % 2 == 0:
        above = np.minimum(ramp + rng.uniform(0, 0.1) * size, top - 0.1 * size)
        covered |= rows < above
    if kind % 2 == 1 or kind == 4:
        below = np.maximum(size - ramp - rng.uniform(0, 0.08) * size, bottom + 0.08 * size)
        covered |= rows > below
    if rng.random() < 0.2:
        covered[:, -1:] = True
    image[covered] = 1.0 if rng.random() < 0.85 else 0.0
    return covered


def _anatomy(rng: np.random.Generator, size: int, view: str) -> Retina:
    """A normal retina of one view."""
    x = np.linspace(-1, 1, size, dtype=np.float32)
    total = size * rng.uniform(0.14, 0.3)
    pit = view == "foveal"
    fovea = float(rng.uniform(-0.35, 0.35))
    thick, pitless = _thickness(rng, x, total, fovea, pit)
    bruch = _baseline(rng, x, total, oblique=not pit)
    return Retina(x, bruch, thick, _levels(rng, size, x), pitless, total, fovea)


def render(
    rng: np.random.Generator, signs: Sequence[str], size: int, view: str
) -> tuple[Image, dict[str, Mask]]:
    """Draw one B-scan with the requested signs.

    The anatomy and each sign draw from their own generators, so that the same state of ``rng``
    gives the same anatomy whichever signs are asked for.

    Args:
        rng: source of the draw; one integer is taken from it.
        signs: names of signs that ``view`` can show.
        size: height and width in pixels, at least 96.
        view: ``"foveal"`` or ``"parafoveal"``.

    Returns:
        The picture, float32 in [0, 1], shape ``(size, size)``, and for each sign a boolean
        mask of that shape, true where the sign changed the picture.
    """
    seed = int(rng.integers(2**32))
    anatomy = np.random.default_rng([seed, 0])
    retina = _anatomy(anatomy, size, view)
    height, bright = _hyaloid(anatomy, retina.x, size, retina.total)
    surface = retina.edges()[0]
    hyaloid = retina.bruch - retina.pitless.sum(0) - height, bright
    gain = _depth_gain(anatomy, retina)
    picture: Image = _fill(retina, hyaloid) * gain
    masks: dict[str, Mask] = {}
    for index, (name, sign) in enumerate(SIGNS.items()):
        if name in signs:
            sign(retina, np.random.default_rng([seed, index + 1]))
            before, picture = picture, _fill(retina, hyaloid) * gain
            masks[name] = np.abs(picture - before) > _CHANGE
    edges = retina.edges()
    for name, spots in retina.spots.items():
        before, picture = picture, _paint(picture, spots(edges))
        masks[name] |= np.abs(picture - before) > _CHANGE
    pool = _speckle_pool(size)
    spare = pool.shape[1] - size
    plate, down, right = anatomy.integers((len(pool), spare, spare))
    grain = pool[plate, down : down + size, right : right + size]
    picture = picture * (1 + anatomy.uniform(0.06, 0.2) * grain)
    picture += anatomy.uniform(0.0, 0.03) * grain[::-1, ::-1]
    covered = _wedge(anatomy, picture, surface[size // 10 : -size // 10].min(), retina.bruch.max())
    for mask in masks.values():
        mask &= ~covered
    return np.clip(picture, 0, 1).astype(np.float32, copy=False), masks


_PARAFOVEAL = tuple(name for name in SIGNS if name != "foveal_pit_loss")

MODALITY = Modality(
    name="oct",
    title="retinal OCT",
    views={"foveal": tuple(SIGNS), "parafoveal": _PARAFOVEAL},
    categories={
        "CNV": Category(
            own=("subretinal_hyperreflective_material", "fibrovascular_ped"),
            shared=("subretinal_fluid", "intraretinal_cysts", "serous_detachment"),
        ),
        "DME": Category(
            own=("diffuse_thickening", "hard_exudates_with_shadow"),
            shared=(
                "intraretinal_cysts",
                "subretinal_fluid",
                "foveal_pit_loss",
                "hyperreflective_foci",
            ),
        ),
        "Drusen": Category(
            own=("drusen_bumps", "reticular_deposits"),
            shared=("ez_disruption", "rpe_atrophy", "hyperreflective_foci"),
        ),
    },
    unseen=frozenset({"subretinal_hyperreflective_material", "fibrovascular_ped"}),
    render=render,
    excludes=frozenset({frozenset({"ez_disruption", "rpe_atrophy"})}),
    multi_label=False,
)
