"""The metrics of the three protocols, as pure functions on numpy arrays.

Labels are ``(n, K)``: 1 present, 0 absent, NaN unknown. An unknown label never counts, neither
for a prediction nor against it. Predictions are ``(n, K)`` with 1 and 0 (or booleans). What
cannot be computed is NaN, never a made-up number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

from sdmad.errors import InputError
from sdmad.evaluation.checks import (
    BoolArray,
    FloatArray,
    decision_matrix,
    label_matrix,
    score_array,
)

MINIMUM_FOR_AUROC = 2
"""Positives, and negatives, that a category needs before an AUROC is given."""


def mean_of_defined(values: ArrayLike) -> float:
    """Average the values that are not NaN; NaN when there is none.

    Args:
        values: any shape.

    >>> mean_of_defined([0.5, float("nan"), 1.0])
    0.75
    """
    array = np.asarray(values, dtype=np.float64)
    defined = array[~np.isnan(array)]
    return float(defined.mean()) if defined.size else float("nan")


def hamming_score(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of the known cells (image and category) that are predicted rightly.

    On complete labels it is one minus scikit-learn's ``hamming_loss``.

    Args:
        y_true: labels, shape ``(n, K)``, 1, 0 or NaN.
        y_pred: predictions, shape ``(n, K)``, 1 or 0.

    Returns:
        Between 0 and 1; NaN when no label is known.

    Raises:
        InputError: if a shape or a value does not fit.

    >>> hamming_score([[1, 0], [0, float("nan")]], [[1, 1], [0, 1]])
    0.6666666666666666
    """
    labels = label_matrix(y_true)
    decisions = decision_matrix(y_pred, labels.shape)
    known = ~np.isnan(labels)
    if not known.any():
        return float("nan")
    return float(accuracy_score(labels[known] == 1, decisions[known]))


def subset_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of the images whose every known label is predicted rightly.

    A row with unknown labels is compared on its known cells; a row with no known label is left
    out. On complete labels it is scikit-learn's ``accuracy_score``.

    Args:
        y_true: labels, shape ``(n, K)``, 1, 0 or NaN.
        y_pred: predictions, shape ``(n, K)``, 1 or 0.

    Returns:
        Between 0 and 1; NaN when no label is known.

    Raises:
        InputError: if a shape or a value does not fit.

    >>> subset_accuracy([[1, 0], [0, float("nan")]], [[1, 1], [0, 1]])
    0.5
    """
    labels = label_matrix(y_true)
    decisions = decision_matrix(y_pred, labels.shape)
    known = ~np.isnan(labels)
    counted = known.any(axis=1)
    if not counted.any():
        return float("nan")
    wrong = known & ((labels == 1) != decisions)
    return float(1 - wrong[counted].any(axis=1).mean())


def _binary_auroc(positive: BoolArray, scores: FloatArray) -> float:
    positives = int(positive.sum())
    if min(positives, positive.size - positives) < MINIMUM_FOR_AUROC:
        return float("nan")
    return float(roc_auc_score(positive, scores))


def category_auroc(y_true: ArrayLike, scores: ArrayLike) -> FloatArray:
    """AUROC of each category over the images whose label is known.

    Args:
        y_true: labels, shape ``(n, K)``, 1, 0 or NaN.
        scores: shape ``(n, K)``, finite; larger means more likely present.

    Returns:
        Shape ``(K,)``; NaN for a category with fewer than two positives or two negatives.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    labels = label_matrix(y_true)
    values = score_array(scores, labels.shape)
    result = np.full(labels.shape[1], np.nan)
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        result[k] = _binary_auroc(labels[known, k] == 1, values[known, k])
    return result


def mean_auroc(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Mean AUROC over the categories that have one (protocol 3).

    Args:
        y_true: labels, shape ``(n, K)``, 1, 0 or NaN.
        scores: shape ``(n, K)``, finite.

    Returns:
        Between 0 and 1; NaN when no category has an AUROC.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    return mean_of_defined(category_auroc(y_true, scores))


def image_auroc(abnormal: ArrayLike, scores: ArrayLike) -> float:
    """AUROC of normal against abnormal images (protocol 1).

    Args:
        abnormal: shape ``(n,)``: 1 abnormal, 0 normal, NaN neither (left out).
        scores: abnormality of each image, shape ``(n,)``, finite.

    Returns:
        Between 0 and 1; NaN with fewer than two images on either side.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    flags = np.asarray(abnormal, dtype=np.float64)
    if flags.ndim != 1:
        raise InputError(f"abnormal: expected shape (images,), got {flags.shape}")
    return float(category_auroc(flags[:, None], score_array(scores, flags.shape)[:, None])[0])


def _per_category(
    y_true: ArrayLike, y_pred: ArrayLike, *, positive: bool, metric: Callable[..., float]
) -> FloatArray:
    """Apply a scikit-learn metric of one class to each category's known labels."""
    labels = label_matrix(y_true)
    decisions = decision_matrix(y_pred, labels.shape)
    result = np.full(labels.shape[1], np.nan)
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        truth = (labels[known, k] == 1) == positive
        if truth.any():
            result[k] = metric(truth, decisions[known, k] == positive)
    return result


def category_f1(y_true: ArrayLike, y_pred: ArrayLike) -> FloatArray:
    """F1 of each category over the known labels.

    Args:
        y_true: labels, shape ``(n, K)``, 1, 0 or NaN.
        y_pred: predictions, shape ``(n, K)``, 1 or 0.

    Returns:
        Shape ``(K,)``; NaN for a category without a positive, since nothing could be found.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    return _per_category(y_true, y_pred, positive=True, metric=f1_score)


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean F1 over the categories that have a positive.

    Args:
        y_true: labels, shape ``(n, K)``, 1, 0 or NaN.
        y_pred: predictions, shape ``(n, K)``, 1 or 0.

    Returns:
        Between 0 and 1; NaN when no category has a positive.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    return mean_of_defined(category_f1(y_true, y_pred))


def sensitivity(y_true: ArrayLike, y_pred: ArrayLike) -> FloatArray:
    """Share of each category's positives that are found.

    Args:
        y_true: labels, shape ``(n, K)``, 1, 0 or NaN.
        y_pred: predictions, shape ``(n, K)``, 1 or 0.

    Returns:
        Shape ``(K,)``; NaN for a category without a positive.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    return _per_category(y_true, y_pred, positive=True, metric=recall_score)


def specificity(y_true: ArrayLike, y_pred: ArrayLike) -> FloatArray:
    """Share of each category's negatives that are not called positive.

    Args:
        y_true: labels, shape ``(n, K)``, 1, 0 or NaN.
        y_pred: predictions, shape ``(n, K)``, 1 or 0.

    Returns:
        Shape ``(K,)``; NaN for a category without a negative.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    return _per_category(y_true, y_pred, positive=False, metric=recall_score)
