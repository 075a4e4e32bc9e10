"""Images with their labels and what one system said about them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sdmad.errors import InputError
from sdmad.evaluation.checks import (
    BoolArray,
    FloatArray,
    decision_matrix,
    label_matrix,
    score_array,
)

SUMMARY_METRICS = (
    "mean_auroc",
    "image_auroc",
    "hamming_score",
    "subset_accuracy",
    "macro_f1",
    "sensitivity",
    "specificity",
)
"""The metrics that are one number an evaluation, in the order in which they are shown."""


@dataclass(frozen=True, eq=False)
class LabelledScores:
    """Evaluated images and one system's output for them; made by :func:`labelled_scores`.

    Attributes:
        labels: shape ``(n, K)``, 1, 0 or NaN.
        scores: shape ``(n, K)``; larger means more likely present.
        decisions: shape ``(n, K)``, boolean.
        abnormality: shape ``(n,)``; larger means more likely abnormal.
        normal: shape ``(n,)``, boolean: images that their data set declares normal.
        patients: the patient of each image, length ``n``.
    """

    labels: FloatArray
    scores: FloatArray
    decisions: BoolArray
    abnormality: FloatArray
    normal: BoolArray
    patients: tuple[Hashable, ...]

    @property
    def unknown_patients(self) -> int:
        """Images whose patient is unknown: each counts as a patient of its own."""
        return self.people(np.ones(len(self.patients), dtype=np.bool_))[1]

    def people(self, chosen: BoolArray) -> tuple[int, int]:
        """Of how many patients some images are, and how many are of unknown patients.

        Args:
            chosen: which images, ``(n,)``.
        """
        rows = np.flatnonzero(chosen).tolist()
        known = [self.patients[row] for row in rows if not _is_own_id(self.patients[row], row)]
        return len(set(known)), len(rows) - len(known)

    @property
    def abnormal(self) -> FloatArray:
        """1 for a row with a positive label, 0 for a normal image, NaN for the rest; ``(n,)``."""
        positive = (self.labels == 1).any(axis=1)
        return np.where(positive, 1.0, np.where(self.normal, 0.0, np.nan))


def labelled_scores(
    labels: ArrayLike,
    scores: ArrayLike,
    decisions: ArrayLike,
    abnormality: ArrayLike,
    normal: ArrayLike,
    patients: Sequence[Hashable] | None = None,
) -> LabelledScores:
    """Check the parts of an evaluation and put them together.

    Args:
        labels: shape ``(n, K)``, 1, 0 or NaN.
        scores: shape ``(n, K)``, finite.
        decisions: shape ``(n, K)``, 1 or 0.
        abnormality: shape ``(n,)``, finite.
        normal: shape ``(n,)``, boolean: images declared normal.
        patients: an id a row. None, or an id that is None or empty, makes the image its own
            patient.

    Returns:
        The checked arrays.

    Raises:
        InputError: if there is no image, a shape or a value does not fit, or an image is
            declared normal and has a positive label.
    """
    truth = label_matrix(labels)
    images = truth.shape[0]
    if truth.size == 0:
        raise InputError(f"nothing to evaluate: the label matrix has shape {truth.shape}")
    flags = decision_matrix(np.asarray(normal)[:, None], (images, 1))[:, 0]
    both = np.flatnonzero(flags & (truth == 1).any(axis=1))
    if both.size:
        raise InputError(
            f"row {both[0]} (counted from 0) is declared normal and has a positive label"
        )
    ids = tuple(patients) if patients is not None else (None,) * images
    if len(ids) != images:
        raise InputError(f"patients: expected {images} ids, one an image, got {len(ids)}")
    return LabelledScores(
        labels=truth,
        scores=score_array(scores, truth.shape),
        decisions=decision_matrix(decisions, truth.shape),
        abnormality=score_array(abnormality, (images,), "abnormality"),
        normal=flags,
        patients=tuple(_own_id(i) if _is_missing(p) else p for i, p in enumerate(ids)),
    )


def people_told(patients: int, unknown: int) -> str:
    """Whom images are of, in words: an image of an unknown patient is told as an image.

    >>> people_told(2, 0), people_told(0, 1), people_told(1, 5)
    ('2 patients', '1 image of an unknown patient', '1 patient and 5 images of unknown patients')
    """
    told = [f"{patients} patient{'s' if patients != 1 else ''}"] if patients or not unknown else []
    if unknown:
        told.append(
            "1 image of an unknown patient"
            if unknown == 1
            else f"{unknown} images of unknown patients"
        )
    return " and ".join(told)


def _is_missing(patient: Hashable) -> bool:
    return patient is None or patient == "" or patient != patient


def _own_id(row: int) -> tuple[str, int]:
    """An id that no table can hold, so that it never meets a real one."""
    return ("image", row)


def _is_own_id(patient: Hashable, row: int) -> bool:
    return isinstance(patient, tuple) and patient == _own_id(row)  # NumPy compares by element
