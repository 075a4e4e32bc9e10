"""The predictors that look at no image: what any method has to beat.

``none`` predicts no category, ``all`` predicts every category, ``prevalence`` gives each
category its share of positives as score and decides positive where that share exceeds one half.
All of them give every image the same scores, so their AUROC is .5 wherever one is defined.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sdmad.errors import InputError
from sdmad.evaluation.checks import BoolArray, FloatArray, label_matrix

TrivialName = Literal["none", "all", "prevalence"]
TRIVIAL_PREDICTORS: tuple[TrivialName, ...] = ("none", "all", "prevalence")


def prevalence(labels: ArrayLike) -> FloatArray:
    """Share of positives among the known labels of each category.

    Args:
        labels: shape ``(n, K)``, 1, 0 or NaN.

    Returns:
        Shape ``(K,)``; 0 for a category without a known label.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    array = label_matrix(labels)
    known = (~np.isnan(array)).sum(axis=0)
    positives = (array == 1).sum(axis=0)
    return np.asarray(positives / np.maximum(known, 1), dtype=np.float64)


def trivial_predictor(name: str, reference: ArrayLike, images: int) -> tuple[FloatArray, BoolArray]:
    """Scores and decisions of one of the trivial predictors.

    Args:
        name: ``none``, ``all`` or ``prevalence``.
        reference: labels from which ``prevalence`` takes its shares, shape ``(m, K)``. The
            evaluation gives its own labels: the best a constant decision a category can do for
            the Hamming score, a stricter rival than shares taken from elsewhere.
        images: number of images ``n`` to predict.

    Returns:
        Scores ``(n, K)`` and decisions ``(n, K)``.

    Raises:
        InputError: if the name is unknown or the reference is not a label matrix.
    """
    share = prevalence(reference)
    if name == "none":
        share = np.zeros_like(share)
    elif name == "all":
        share = np.ones_like(share)
    elif name != "prevalence":
        raise InputError(
            f"trivial predictor {name!r}: expected one of {', '.join(TRIVIAL_PREDICTORS)}"
        )
    scores = np.tile(share, (images, 1))
    return scores, scores > 0.5
