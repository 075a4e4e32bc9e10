"""A map as a NIfTI file that lies where a slice of another file lies."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.data import decoders
from sdmad.data.nifti import Placement
from sdmad.data.plane import ImageError


def like_slice(path: Path, index: int | None, values: NDArray[np.floating[Any]]) -> bytes:
    """A NIfTI file of one slice that lies in space where a slice of another file lies.

    Args:
        path: the other file.
        index: its slice, from the feet, from 0; None for the middle one.
        values: shape ``(H, W)``, as the slice is shown; stored as float32.

    Returns:
        The content of a .nii.gz file. Nothing but geometry and units is taken from the other file.

    Raises:
        ImageError: if the other file cannot be used, or its slices have another shape.
    """
    from nibabel import Nifti1Image

    at = Placement(**decoders.ask_for("placement", path, index=index))
    if values.shape != tuple(at.shape):
        height, width = at.shape
        raise ImageError(
            f"{path}: its slices are {height} x {width}, the map is {values.shape}", path
        )
    volume = np.expand_dims(_stored(values.astype(np.float32), at), at.axes[2])
    image = Nifti1Image(volume, np.array(at.affine))
    image.header.set_xyzt_units(*at.units)
    return gzip.compress(image.to_bytes(), mtime=0)


def _stored(values: NDArray[np.float32], at: Placement) -> NDArray[np.float32]:
    """Undo the turns and flips by which a slice is shown."""
    values = values.swapaxes(0, 1)
    if not at.flips[1]:
        values = values[:, ::-1]
    if not at.flips[0]:
        values = values[::-1]
    return values.swapaxes(0, 1) if at.axes[0] > at.axes[1] else values
