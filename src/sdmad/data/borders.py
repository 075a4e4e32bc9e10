"""White padding around greyscale images made black."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE = 245
"""Grey level from which a pixel can be padding (255 less the noise that JPEG adds)."""

DARK = 110
"""The image beside the padding must be darker than this grey level."""

MIN_AREA = 0.0003
"""Smallest padded region, as a fraction of the image."""


def normalise_border(image: Image.Image) -> Image.Image:
    """Make white padding of a greyscale image black; leave everything else as it is.

    Optical coherence tomograms are often rotated or shifted onto a white canvas, which leaves
    white bars and triangles at the edge. They are the brightest thing in the picture and say
    nothing about the patient. A region is taken for padding if

    - it is near-white, touches the edge and fills at least 0.03 percent of the image,
    - the picture beside it is dark (upper quartile below 110), so that the step is sharp:
      saturated tissue at the edge of a radiograph fades and is left alone, and
    - its edge is straight: the picture without it is convex, as a rotated or shifted rectangle is.

    Black borders stay, for a black background is part of magnetic resonance and tomogram images.
    Nothing is cropped, for the picture is later squashed to a square and cropping would change
    its proportions. Colour images are returned unchanged: white is their background.

    Args:
        image: Pillow image of mode "L" or "RGB".

    Returns:
        The same image, or a copy with the padding at grey level 0.
    """
    if image.mode != "L":
        return image
    pixels = np.asarray(image)
    padding = white_padding(pixels)
    if not padding.any():
        return image
    return Image.fromarray(np.where(padding, 0, pixels).astype(np.uint8))


def white_padding(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the white padding of a greyscale image, its blurred rim included.

    Args:
        pixels: grey levels, shape ``(H, W)``.

    Returns:
        Boolean mask, shape ``(H, W)``; all False where `normalise_border` sees no padding.
    """
    white = pixels >= WHITE
    none = np.zeros_like(white)
    if not (white[[0, -1]].any() or white[:, [0, -1]].any()):
        return none
    from scipy import ndimage  # half a second, and most images have no white edge

    regions, count = ndimage.label(white)
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    padding = none.copy()
    for region in np.unique(edge[edge > 0]):
        if areas[region] >= MIN_AREA * pixels.size and _beside_dark(pixels, regions == region):
            bar = _without_specks(regions == region)
            if _straight(bar):
                padding |= bar
    if not padding.any():
        return none
    return ndimage.binary_dilation(padding, iterations=_rim(pixels))


def _rim(pixels: NDArray[np.uint8]) -> int:
    """Width, in pixels, of the blurred edge between padding and picture."""
    return 1 if min(pixels.shape) < 128 else 2


def _without_specks(padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what the padding cuts off from the picture: specks of noise within it."""
    from scipy import ndimage

    parts, count = ndimage.label(~padding)
    if count < 2:
        return padding
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return np.asarray(parts != areas.argmax())


def _beside_dark(pixels: NDArray[np.uint8], region: NDArray[np.bool_]) -> bool:
    from scipy import ndimage

    rim = _rim(pixels)
    near = ndimage.binary_dilation(region, iterations=rim)
    ring = ndimage.binary_dilation(near, iterations=2) & ~near
    return bool(ring.any() and np.percentile(pixels[ring], 75) < DARK)


def _straight(padding: NDArray[np.bool_]) -> bool:
    """Whether the picture without its padding is convex, up to a tenth of the padding."""
    from scipy.spatial import ConvexHull

    content = ~padding
    rows = np.flatnonzero(content.any(axis=1))
    if len(rows) < 2 or content.sum() < padding.sum():
        return False
    first = content[rows].argmax(axis=1)
    last = content.shape[1] - 1 - content[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)])
    if np.ptp(corners[:, 1]) == 0:
        return False
    hull = ConvexHull(corners)
    points = np.argwhere(padding)
    depth = points @ hull.equations[:, :2].T + hull.equations[:, 2]
    inside = (depth < -1.5).all(axis=1)
    return bool(inside.mean() < 0.1)
