"""What a fit would have said of its own support images, had it not seen them.

By it the support set tells how far the signs' words are to be trusted, and how sure a score is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sdmad.detector.calibration import Calibration, fit_line
from sdmad.detector.config import FITTED
from sdmad.detector.features import ImageFeatures
from sdmad.detector.head import SignHead
from sdmad.detector.held_out import HeldOut
from sdmad.detector.patients import patient_numbers

MOST_FOLDS = 20
"""Patients up to which each is left out by himself; more are left out in a tenth at a time."""

FOLDS = 10

PRIOR_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
"""Of the signs' score in the log odds, each as likely as the other before an image is seen."""

FULL = 1.0
"""The prior's weight where nothing can tell it."""


def fit_head(
    bare: SignHead,
    features: ImageFeatures,
    labels: NDArray[np.float64],
    parts: Sequence[int],
    patients: Sequence[object] = (),
) -> tuple[SignHead, float]:
    """All that support images teach a head: evidence, its prior's weight, how sure a score is.

    Adapters that were trained on the images have seen them, so of such the probabilities would be
    too sure: no calibration then, and no scores held out.

    Args:
        bare: signs without image evidence.
        features: of the support images.
        labels: 1, 0 or NaN, ``(n, K)``.
        parts: sizes of the parts of the evidence.
        patients: id of each image's patient; empty where unknown.

    Returns:
        The head, and what the signs' score weighs in it.
    """
    given = (features, labels, parts, patients)
    config = bare.config
    if config.image_evidence != "cross-modal":
        return bare.with_evidence(*given), FULL
    asked = config.prior_weight
    weight = fitted_prior(bare, *given) if asked == FITTED else float(asked)
    head = bare.with_evidence(*given, prior=weight)
    scores = out_of_fold(bare, *given, [weight]) if config.epochs == 0 else None
    if scores is not None:
        odds = scores[0]
        held_out = HeldOut(odds, labels, patient_numbers(patients, len(labels)))
        head = replace(head, calibration=Calibration.fit(odds, labels), held_out=held_out)
    return head, weight


def fitted_prior(
    bare: SignHead,
    features: ImageFeatures,
    labels: NDArray[np.float64],
    parts: Sequence[int],
    patients: Sequence[object],
) -> float:
    """The prior's weight by the labels of images that a fit did not see.

    The mean of :data:`PRIOR_WEIGHTS`, each weighed by how likely the labels are under the scores of
    cross-fitting with it, brought to one scale by a line (:func:`fit_line`): a weight must not win
    for having the right loudness.

    Returns:
        :data:`FULL` if all images are of one patient.
    """
    scores = out_of_fold(bare, features, labels, parts, patients, PRIOR_WEIGHTS)
    if scores is None:
        return FULL
    likely = np.array([fit_line(odds, labels)[2] for odds in scores])
    share = np.exp(likely - likely.max())
    return float(share @ np.array(PRIOR_WEIGHTS) / share.sum())


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
    priors: Sequence[float],
) -> NDArray[np.float64] | None:
    """Scores ``(P, n, K)`` of each image by cross-modal evidence that was fitted on the others.

    Args:
        head: signs without image evidence.
        features: of the support images; nothing in them was trained on these images.
        labels: 1, 0 or NaN, ``(n, K)``.
        parts: sizes of the parts of the evidence.
        patients: id of each image's patient; empty where unknown.
        priors: weights of the signs' score, P of them.

    Returns:
        None if all images are of one patient.
    """
    fold = folds(patients, len(features))
    if fold.max() == 0:
        return None
    # Scores are asked for; rules that need thresholds have none yet.
    head = replace(head, config=head.config.replace(decision="odds"))
    scores = np.zeros((len(priors), *labels.shape))
    for number in range(fold.max() + 1):
        judged = torch.from_numpy(fold == number)
        known = features.rows(~judged)
        for p, fitted in enumerate(head.with_priors(known, labels[fold != number], parts, priors)):
            scores[p, fold == number] = fitted(features.rows(judged)).scores
    return scores
