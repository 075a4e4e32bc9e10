"""Acquisition: what a scanner, a detector or an export does to a picture of anatomy.

Three styles: ``pretraining`` is broad, so that a backbone learns to look past it;
``validation`` and ``test`` are each a narrower corner with effects that pretraining shows
seldom or never, so that settings chosen on one are judged on another.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from scipy import ndimage

from sdmad.phantoms.base import Image, Mask, grid, smooth_noise

Range = tuple[float, float]


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


STYLES: dict[str, AcquisitionStyle] = {
    "pretraining": AcquisitionStyle(
        zoom=(0.88, 1.25), shift=0.1, rotation=12, gamma=(0.65, 1.5), window=0.12,
        bias=(0.0, 0.25), blur=(0.0, 1.1), noise=(0.005, 0.07), speckle=(0.0, 1.0),
        padding=0.1, coarse=0.1, jpeg=0.1,
    ),
    "validation": AcquisitionStyle(
        zoom=(0.97, 1.12), shift=0.05, rotation=6, gamma=(1.1, 1.4), window=0.05,
        bias=(0.2, 0.35), blur=(0.6, 1.2), noise=(0.02, 0.05), speckle=(0.3, 0.7),
        stripes=(0.0, 0.03),
    ),
    "test": AcquisitionStyle(
        zoom=(0.9, 1.05), shift=0.07, rotation=8, gamma=(0.6, 0.85), window=0.08,
        bias=(0.15, 0.3), blur=(0.3, 0.8), noise=(0.04, 0.08), speckle=(0.0, 0.4),
        vignette=(0.1, 0.4), jpeg=0.3,
    ),
}  # fmt: skip


def _warp(
    image: Image, masks: dict[str, Mask], rng: np.random.Generator, style: AcquisitionStyle
) -> tuple[Image, dict[str, Mask]]:
    zoom = rng.uniform(*style.zoom)
    angle = np.deg2rad(rng.uniform(-style.rotation, style.rotation))
    shift = rng.uniform(-style.shift, style.shift, 2)
    size = image.shape[0]
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    centre = (size - 1) / 2
    offset = centre - matrix @ (np.array([centre, centre]) + shift * size / 2)
    background = float(min(image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]))
    warped = ndimage.affine_transform(
        image, matrix, offset, order=1, mode="constant", cval=background
    )
    moved = _warp_masks(masks, matrix, offset, size)
    return warped, moved


def _warp_masks(
    masks: dict[str, Mask], matrix: NDArray[np.float64], offset: NDArray[np.float64], size: int
) -> dict[str, Mask]:
    """Move masks by the nearest source pixel, which is found once for all of them."""
    if not masks:
        return {}
    axis = np.arange(size)
    sources = [
        np.rint(matrix[k, 0] * axis[:, None] + matrix[k, 1] * axis + offset[k]).astype(np.intp)
        for k in range(2)
    ]
    inside = np.logical_and.reduce([(s >= 0) & (s < size) for s in sources])
    row, column = (np.clip(s, 0, size - 1) for s in sources)
    return {name: mask[row, column] & inside for name, mask in masks.items()}


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


def _pad(
    image: NDArray[np.uint8], masks: dict[str, Mask], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Paint bars of white or black over one or two borders, and clear the masks there."""
    size = image.shape[0]
    value = 255 if rng.random() < 0.6 else 0
    for edge in rng.choice(4, size=rng.integers(1, 3), replace=False):
        width = int(rng.uniform(0.04, 0.2) * size)
        where: list[slice] = [slice(None), slice(None)]
        where[edge % 2] = slice(0, width) if edge < 2 else slice(size - width, size)
        image[tuple(where)] = value
        for mask in masks.values():
            mask[tuple(where)] = False
    return image


def _jpeg(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    PILImage.fromarray(image).save(buffer, "JPEG", quality=int(rng.integers(35, 85)))
    return np.array(PILImage.open(buffer))


def acquire(
    image: Image, masks: dict[str, Mask], rng: np.random.Generator, style: AcquisitionStyle
) -> tuple[NDArray[np.uint8], dict[str, Mask]]:
    """Apply one draw of an acquisition style.

    Args:
        image: float32 in [0, 1], shape ``(size, size)``.
        masks: one boolean mask of that shape a sign; moved along with the picture.
        rng: source of the draw.
        style: the ranges to draw from.

    Returns:
        The 8-bit picture and the moved masks.
    """
    image, masks = _warp(image, masks, rng, style)
    picture = (np.clip(_degrade(image, rng, style), 0, 1) * 255).astype(np.uint8)
    if rng.random() < style.padding:
        picture = _pad(picture, masks, rng)
    if rng.random() < style.jpeg:
        picture = _jpeg(picture, rng)
    return picture, masks
