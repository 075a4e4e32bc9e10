"""Where a picture comes to lie: zoom, turn, shift, aspect ratio, and elastic deformation.

Masks move by the same source positions as the picture, each pixel from the nearest one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sdmad.phantoms.base import Image, Mask, each_channel, smooth_noise

Places = NDArray[np.floating]


def _sources(
    matrix: NDArray[np.float64], offset: NDArray[np.float64], size: int
) -> tuple[Places, Places]:
    """Row and column of the source of every pixel, each of shape ``(size, size)``."""
    axis = np.arange(size)
    row, column = (matrix[k, 0] * axis[:, None] + matrix[k, 1] * axis + offset[k] for k in range(2))
    return row, column


def _move_masks(masks: dict[str, Mask], row: Places, column: Places) -> dict[str, Mask]:
    """Masks by the nearest source pixel, which is found once for all of them."""
    size = row.shape[0]
    nearest = [np.rint(source).astype(np.intp) for source in (row, column)]
    inside = np.logical_and.reduce([(s >= 0) & (s < size) for s in nearest])
    r, c = (np.clip(s, 0, size - 1) for s in nearest)
    return {name: mask[r, c] & inside for name, mask in masks.items()}


def warp(
    image: Image,
    masks: dict[str, Mask],
    matrix: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> tuple[Image, dict[str, Mask]]:
    """Move a picture and its masks by a linear map about the centre.

    Args:
        image: shape ``(size, size)``, or ``(size, size, 3)``.
        masks: boolean, ``(size, size)``.
        matrix: from displacements in the new picture to those in the old one, ``(2, 2)``.
        shift: of the centre, rows and columns in units of the half width.
    """
    offset = _offset(matrix, shift, image.shape[0])

    def move(channel: Image) -> Image:
        moved: Image = ndimage.affine_transform(
            channel, matrix, offset, order=1, mode="constant", cval=_background(channel)
        )
        return moved

    warped = each_channel(move, image)
    if not masks:
        return warped, {}
    return warped, _move_masks(masks, *_sources(matrix, offset, image.shape[0]))


def warp_elastic(
    image: Image,
    masks: dict[str, Mask],
    matrix: NDArray[np.float64],
    shift: NDArray[np.float64],
    elastic: float,
    rng: np.random.Generator,
) -> tuple[Image, dict[str, Mask], Mask]:
    """Move a picture and its masks by a linear map and a smooth random displacement.

    Args:
        image: shape ``(size, size)``, or ``(size, size, 3)``.
        masks: boolean, ``(size, size)``.
        matrix: as for :func:`warp`.
        shift: as for :func:`warp`.
        elastic: typical local stretch; up to 0.05 nothing folds over.
        rng: source of the displacement.

    Returns:
        The picture, the masks, and what lies inside the old picture's straight borders.
    """
    size = image.shape[0]
    row, column = _sources(matrix, _offset(matrix, shift, size), size)
    inside = np.logical_and.reduce([(s >= 0) & (s <= size - 1) for s in (row, column)])
    cells = int(rng.integers(2, 7))
    reach = elastic * size / cells
    row = row + reach * smooth_noise(rng, size, cells)
    column = column + reach * smooth_noise(rng, size, cells)

    def move(channel: Image) -> Image:
        moved: Image = ndimage.map_coordinates(
            channel, (row, column), order=1, mode="constant", cval=_background(channel)
        )
        return moved

    return each_channel(move, image), _move_masks(masks, row, column), inside


def _offset(
    matrix: NDArray[np.float64], shift: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Source of the first pixel, so that the map turns about the shifted centre."""
    centre = (size - 1) / 2
    offset: NDArray[np.float64] = centre - matrix @ (np.array([centre, centre]) + shift * size / 2)
    return offset


def _background(image: Image) -> float:
    """The darkest corner: what the surroundings of the picture are filled with."""
    return float(min(image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]))
