"""What a fit would have said of its own support images, had it not seen them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sdmad.detector.features import ImageFeatures
from sdmad.detector.head import SignHead
from sdmad.detector.patients import patient_numbers

MOST_FOLDS = 20
"""Patients up to which each is left out by himself; more are left out in a tenth at a time."""

FOLDS = 10


def folds(patients: Sequence[object], count: int) -> NDArray[np.int64]:
    """A number for each image, the same for images of one patient.

    Patients take turns in their order, so that neighbours in a sorted table are parted.

    Args:
        patients: id of each image's patient, ``""`` if unknown: a patient of its own; may be empty.
        count: images.
    """
    number = patient_numbers(patients, count)
    most = int(number.max()) + 1
    return number % (most if most <= MOST_FOLDS else FOLDS)


def out_of_fold(
    head: SignHead,
    features: ImageFeatures,
    labels: NDArray[np.float64],
    parts: Sequence[int],
    patients: Sequence[object],
) -> NDArray[np.float64] | None:
    """Scores ``(n, K)`` of each image by evidence that was fitted on the others.

    Args:
        head: signs without image evidence, under settings that ask for some.
        features: of the support images; nothing in them was trained on these images.
        labels: 1, 0 or NaN, ``(n, K)``.
        parts: sizes of the parts of the evidence.
        patients: id of each image's patient; empty where unknown.

    Returns:
        None if all images are of one patient.
    """
    fold = folds(patients, len(features))
    if fold.max() == 0:
        return None
    scores = np.zeros(labels.shape)
    for number in range(fold.max() + 1):
        judged = torch.from_numpy(fold == number)
        others = head.with_evidence(features.rows(~judged), labels[fold != number], parts)
        scores[fold == number] = others(features.rows(judged)).scores
    return scores
