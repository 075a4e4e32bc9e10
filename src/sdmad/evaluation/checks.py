"""Labels, decisions and scores, checked once: every metric and every fit begins here."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdmad.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def label_matrix(labels: ArrayLike, shape: tuple[int, int] | None = None) -> FloatArray:
    """Check a label matrix and return it as float64.

    Args:
        labels: shape ``(n, K)``, values 1, 0 or NaN.
        shape: the expected shape; any when None.

    Returns:
        The same values, shape ``(n, K)``, float64, contiguous.

    Raises:
        InputError: if the array is no matrix, has another shape or holds another value.
    """
    try:
        array = np.ascontiguousarray(labels, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"labels: expected a matrix of 1, 0 or NaN ({error})") from error
    if array.ndim != 2 or shape not in (None, array.shape):
        told = "(images, categories)" if shape is None else f"{shape} (images, categories)"
        raise InputError(f"labels: expected shape {told}, got {array.shape}")
    wrong = ~(np.isnan(array) | (array == 0) | (array == 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(
            f"labels: expected 1, 0 or NaN (unknown), got {array[row, column]:g} "
            f"in row {row}, column {column} (counted from 0)"
        )
    return array


def decision_matrix(decisions: ArrayLike, shape: tuple[int, ...]) -> BoolArray:
    """Check a matrix of binary predictions and return it as booleans.

    Args:
        decisions: 1 and 0, or booleans, of the shape ``shape``.
        shape: the expected shape ``(n, K)``.

    Returns:
        Booleans, shape ``(n, K)``.

    Raises:
        InputError: if the shape differs or a value is neither 1 nor 0.
    """
    array = np.asarray(decisions)
    if array.shape != shape:
        raise InputError(
            f"predictions: expected the shape of the labels {shape}, got {array.shape}"
        )
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise InputError("predictions: expected 1 and 0 only; a decision is never unknown")
    return array.astype(np.bool_)


def score_array(scores: ArrayLike, shape: tuple[int, ...], name: str = "scores") -> FloatArray:
    """Check an array of scores and return it as float64.

    Args:
        scores: finite numbers of the shape ``shape``.
        shape: the expected shape.
        name: what the error calls the array.

    Returns:
        The same values, float64.

    Raises:
        InputError: if the shape differs or a value is NaN or infinite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"{name}: expected shape {shape}, got {array.shape}")
    wrong = ~np.isfinite(array)
    if wrong.any():
        raise InputError(f"{name}: {int(wrong.sum())} of {array.size} values are not finite")
    return array
