"""Acquisition: what a scanner, a detector or an export does to a picture of anatomy.

Four styles: ``pretraining`` is broad, so that a backbone learns to look past it;
``validation`` and ``test`` are each a narrower corner with effects that pretraining shows
seldom or never, so that settings chosen on one are judged on another. ``distant`` lies outside what
pretraining draws in framing, proportions, contrast and resolution, as far off as real images are:
for choices that shall hold on these.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image as PILImage
from scipy import ndimage

from sdmad.phantoms.artefacts import IN_EXPORT, IN_SCANNER, Effect, keep_visible
from sdmad.phantoms.base import Image, Mask, each_channel, grid, smooth_noise
from sdmad.phantoms.overlays import OVERLAYS, Picture, backdrop, lay
from sdmad.phantoms.warping import warp, warp_elastic

Range = tuple[float, float]
GREY_ALONE = frozenset(
    {"ghost", "ringing", "magnitude", "bands", "flatten", "equalise", "invert", "scale"}
)
"""Effects of grey pictures, which no camera has."""


@dataclass(frozen=True)
class AcquisitionStyle:
    """Ranges from which each image draws its acquisition.

    Attributes:
        zoom: magnification; above 1 crops.
        shift: displacement of the centre, as a fraction of the half width.
        rotation: degrees.
        gamma: exponent on intensities.
        window: lower and upper end of the displayed intensity range, as offsets from 0 and 1.
        bias: amplitude of a smooth multiplicative field.
        blur: Gaussian blur in pixels of a 128 px image.
        noise: deviation of the noise in units of the full range.
        speckle: share of the noise that grows with the signal.
        stripes: amplitude of fine line artefacts.
        padding: probability of white or black bars at the border.
        coarse: probability of having been stored at half the resolution.
        jpeg: probability of a JPEG round trip at low quality.
        vignette: darkening of the corners, 0 to 1.
        quality: of a JPEG.
        aspect: largest change of the aspect ratio, as a natural logarithm.
        elastic: typical local stretch by a smooth deformation; nothing folds up to 0.05.
        outside: probability that what lies around the old picture is filled with one grey.
        cast: deviation of the logarithm of each colour channel's gain.
        saturation: factor on how far the channels differ from their mean.
        effects: name of an effect of ``artefacts.py`` or ``overlays.py`` to its probability.
            An effect that is not named draws nothing.
    """

    zoom: Range = (1.0, 1.0)
    shift: float = 0.0
    rotation: float = 0.0
    gamma: Range = (1.0, 1.0)
    window: float = 0.0
    bias: Range = (0.0, 0.0)
    blur: Range = (0.0, 0.0)
    noise: Range = (0.0, 0.0)
    speckle: Range = (0.0, 0.0)
    stripes: Range = (0.0, 0.0)
    padding: float = 0.0
    coarse: float = 0.0
    jpeg: float = 0.0
    vignette: Range = (0.0, 0.0)
    quality: tuple[int, int] = (35, 85)
    aspect: float = 0.0
    elastic: Range = (0.0, 0.0)
    outside: float = 0.0
    cast: float = 0.0
    saturation: Range = (1.0, 1.0)
    effects: Mapping[str, float] = field(default_factory=dict)


STYLES: dict[str, AcquisitionStyle] = {
    "pretraining": AcquisitionStyle(
        zoom=(0.8, 1.3), shift=0.13, rotation=14, gamma=(0.7, 1.4), window=0.1,
        bias=(0.0, 0.25), blur=(0.0, 1.1), noise=(0.002, 0.06), speckle=(0.0, 1.0),
        padding=0.06, coarse=0.03, jpeg=0.25, quality=(20, 95),
        aspect=0.2, elastic=(0.0, 0.04), outside=0.25, cast=0.08, saturation=(0.6, 1.3),
        effects={
            "curve": 0.5, "shading": 0.15, "ghost": 0.06, "smear": 0.1, "ringing": 0.1,
            "grain": 0.2, "magnitude": 0.1, "bands": 0.08, "sharpen": 0.15, "flatten": 0.08,
            "resample": 0.2, "equalise": 0.08, "fade": 0.12, "few_levels": 0.04, "invert": 0.02,
            "surround": 0.1, "bars": 0.06, "frame": 0.06, "scale": 0.04, "ruler": 0.06,
            "arrow": 0.06, "text": 0.12, "mark": 0.1,
        },
    ),
    "validation": AcquisitionStyle(
        zoom=(0.97, 1.12), shift=0.05, rotation=6, gamma=(1.1, 1.4), window=0.05,
        bias=(0.2, 0.35), blur=(0.6, 1.2), noise=(0.02, 0.05), speckle=(0.3, 0.7),
        stripes=(0.0, 0.03), cast=0.05, saturation=(0.7, 0.9),
    ),
    "test": AcquisitionStyle(
        zoom=(0.9, 1.05), shift=0.07, rotation=8, gamma=(0.6, 0.85), window=0.08,
        bias=(0.15, 0.3), blur=(0.3, 0.8), noise=(0.04, 0.08), speckle=(0.0, 0.4),
        vignette=(0.1, 0.4), jpeg=0.3, cast=0.05, saturation=(1.0, 1.25),
    ),
    "distant": AcquisitionStyle(
        zoom=(0.62, 0.8), shift=0.15, rotation=20, gamma=(0.45, 0.7), window=0.15,
        bias=(0.3, 0.5), blur=(1.1, 1.8), noise=(0.0, 0.03), speckle=(0.0, 1.0),
        jpeg=0.5, quality=(10, 40), aspect=0.4, elastic=(0.04, 0.05), outside=0.4, cast=0.15,
        saturation=(0.3, 0.6),
        effects={
            "curve": 1.0, "shading": 0.6, "grain": 0.5, "sharpen": 0.5, "flatten": 0.5,
            "resample": 0.8, "equalise": 0.3, "surround": 0.4, "bars": 0.2, "frame": 0.2,
            "text": 0.5, "mark": 0.3,
        },
    ),
}  # fmt: skip


def _warp(
    image: Image, masks: dict[str, Mask], rng: np.random.Generator, style: AcquisitionStyle
) -> tuple[Image, dict[str, Mask], Mask | None]:
    """Draw where the picture lies; the last is its old frame, if it is elastic."""
    zoom = rng.uniform(*style.zoom)
    angle = np.deg2rad(rng.uniform(-style.rotation, style.rotation))
    shift = rng.uniform(-style.shift, style.shift, 2)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    if style.aspect == 0 and style.elastic == (0.0, 0.0):
        return *warp(image, masks, matrix, shift), None
    stretch = np.exp(rng.uniform(-style.aspect, style.aspect) / 2)
    matrix = matrix * np.array([stretch, 1 / stretch])
    return warp_elastic(image, masks, matrix, shift, rng.uniform(*style.elastic), rng)


def _degrade(image: Image, rng: np.random.Generator, style: AcquisitionStyle) -> Image:
    size = image.shape[0]
    y, x = grid(size)
    image = np.clip(image, 0, 1) ** rng.uniform(*style.gamma)
    image = image * (1 + rng.uniform(*style.bias) * smooth_noise(rng, size, 2))
    image = image * (1 - rng.uniform(*style.vignette) * np.clip((x * x + y * y) / 2, 0, 1))
    blur = rng.uniform(*style.blur) * size / 128
    if blur > 0.3:
        image = ndimage.gaussian_filter(image, blur, truncate=2.5)
    if rng.random() < style.coarse:
        image = np.kron(image[::2, ::2], np.ones((2, 2), np.float32))[:size, :size]
    noise = rng.standard_normal((size, size), dtype=np.float32) * rng.uniform(*style.noise)
    speckle = rng.uniform(*style.speckle)
    image = image + noise * (1 - speckle + speckle * 1.5 * np.sqrt(np.clip(image, 0, 1)))
    image = image + rng.uniform(*style.stripes) * np.sin(x * size * rng.uniform(0.3, 1.0))
    low, high = rng.uniform(-style.window, style.window, 2)
    return np.asarray((image - low) / (1 + high - low), dtype=np.float32)


def _pad(picture: Picture, masks: dict[str, Mask], rng: np.random.Generator) -> Picture:
    """Paint bars of white or black over one or two borders, and clear the masks there."""
    size = picture.shape[0]
    value = 255 if rng.random() < 0.6 else 0
    for edge in rng.choice(4, size=rng.integers(1, 3), replace=False):
        width = int(rng.uniform(0.04, 0.2) * size)
        where: list[slice] = [slice(None), slice(None)]
        where[edge % 2] = slice(0, width) if edge < 2 else slice(size - width, size)
        picture[tuple(where)] = value
        for mask in masks.values():
            mask[tuple(where)] = False
    return picture


def _jpeg(picture: Picture, rng: np.random.Generator, style: AcquisitionStyle) -> Picture:
    buffer = io.BytesIO()
    quality = int(rng.integers(*style.quality))
    PILImage.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.array(PILImage.open(buffer))


def _affect(
    image: Image, rng: np.random.Generator, chances: Mapping[str, float], known: dict[str, Effect]
) -> Image:
    """Apply each known effect with its probability."""
    for name, effect in known.items():
        if name in chances and rng.random() < chances[name]:
            image = effect(image, rng)
    return image


def _expose(
    image: Image,
    rng: np.random.Generator,
    style: AcquisitionStyle,
    chances: Mapping[str, float],
) -> Image:
    """What befalls the intensities; each channel of a picture in colour by the same draws."""
    state = rng.bit_generator.state

    def expose(channel: Image) -> Image:
        rng.bit_generator.state = state
        seen = _affect(channel, rng, chances, IN_SCANNER)
        return _affect(_degrade(seen, rng, style), rng, chances, IN_EXPORT)

    image = each_channel(expose, image)
    return image if image.ndim == 2 else _tint(image, rng, style)


def _tint(image: Image, rng: np.random.Generator, style: AcquisitionStyle) -> Image:
    """Another white and another saturation, of a picture ``(size, size, 3)``."""
    grey = image.mean(axis=2, keepdims=True)
    gain = np.exp(style.cast * rng.standard_normal(3, np.float32))
    return np.asarray((grey + rng.uniform(*style.saturation) * (image - grey)) * gain, np.float32)


def acquire(
    image: Image,
    masks: dict[str, Mask],
    rng: np.random.Generator,
    style: AcquisitionStyle,
    without: Collection[str] = (),
) -> tuple[Picture, dict[str, Mask]]:
    """Apply one draw of an acquisition style.

    Args:
        image: float32 in [0, 1], shape ``(size, size)``, or ``(size, size, 3)`` in colour.
        masks: one boolean mask ``(size, size)`` a sign; moved along with the picture.
        rng: source of the draw.
        style: the ranges to draw from.
        without: names of effects to leave out.

    Returns:
        The 8-bit picture and the moved masks.
    """
    spared = {*without, *GREY_ALONE} if image.ndim == 3 else without
    chances = {name: chance for name, chance in style.effects.items() if name not in spared}
    image, masks, inside = _warp(image, masks, rng, style)
    image = _expose(image, rng, style, chances)
    if chances:
        image = keep_visible(image)
    picture = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    if inside is not None and rng.random() < style.outside:
        picture = lay(picture, masks, np.uint8(255) * ~inside, backdrop(rng))
    if rng.random() < style.padding:
        picture = _pad(picture, masks, rng)
    for name, overlay in OVERLAYS.items():
        if name in chances and rng.random() < chances[name]:
            picture = lay(picture, masks, *overlay(rng, picture.shape[0]))
    if rng.random() < style.jpeg:
        picture = _jpeg(picture, rng, style)
    return picture, masks
