"""What a fit would have said of its own support images, had it not seen them.

By it the support set tells how far the signs' words are to be trusted, and how sure a score is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

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

TRUNK_WEIGHTS = (0.5, 1.0, 2.0, 4.0)
"""Of what a trunk trained on photographs sees, tried where it is fitted."""

FULL = 1.0
"""A weight where nothing can tell it."""


@dataclass(frozen=True)
class Weights:
    """What the support set, or a person, says that parts of the evidence weigh.

    Attributes:
        prior: the signs' score in the log odds.
        trunk: the evidence's last part, of a trunk that was trained on photographs, beside the
            other parts.
    """

    prior: float = FULL
    trunk: float = FULL


def fit_head(
    bare: SignHead,
    features: ImageFeatures,
    labels: NDArray[np.float64],
    parts: Sequence[int],
    patients: Sequence[object] = (),
    has_trunk: bool = False,
) -> tuple[SignHead, Weights]:
    """All that support images teach a head: evidence, its weights, how sure a score is.

    Adapters that were trained on the images have seen them, so of such the probabilities would be
    too sure: no calibration then, and no scores held out.

    Args:
        bare: signs without image evidence.
        features: of the support images.
        labels: 1, 0 or NaN, ``(n, K)``.
        parts: sizes of the parts of the evidence.
        patients: id of each image's patient; empty where unknown.
        has_trunk: whether the last part comes from a trunk that was trained on photographs.

    Returns:
        The head, and the weights.
    """
    given = (features, labels, parts, patients)
    config = bare.config
    if config.image_evidence != "cross-modal":
        return bare.with_evidence(*given), Weights()
    weights = fitted_weights(bare, *given, has_trunk)
    head = bare.with_evidence(*given, **asdict(weights))
    scores = None
    if config.epochs == 0:
        scores = out_of_fold(bare, *given, [weights.prior], weights.trunk)
    if scores is not None:
        odds = scores[0]
        held_out = HeldOut(odds, labels, patient_numbers(patients, len(labels)))
        head = replace(head, calibration=Calibration.fit(odds, labels), held_out=held_out)
    return head, weights


def fitted_weights(
    bare: SignHead,
    features: ImageFeatures,
    labels: NDArray[np.float64],
    parts: Sequence[int],
    patients: Sequence[object],
    has_trunk: bool,
) -> Weights:
    """Weights by the labels of images that a fit did not see, where the settings say fitted.

    The prior's is the mean of :data:`PRIOR_WEIGHTS`, each weighed by how likely the labels are
    under the scores of cross-fitting with it, brought to one scale by a line (:func:`fit_line`): a
    weight must not win for having the right loudness. The trunk's is found then, likewise, as the
    geometric mean of :data:`TRUNK_WEIGHTS`; before an image is seen its logarithm to the base 2 is
    normal about 0, with deviation 1.

    Returns:
        :data:`FULL` of what is fitted if all images are of one patient.
    """
    given, config = (features, labels, parts, patients), bare.config
    prior = FULL if config.prior_weight == FITTED else float(config.prior_weight)
    trunk = FULL if config.trunk_weight == FITTED or not has_trunk else float(config.trunk_weight)
    if config.prior_weight == FITTED:
        scores = out_of_fold(bare, *given, PRIOR_WEIGHTS, trunk)
        if scores is None:
            return Weights(prior, trunk)
        shares = _shares([fit_line(odds, labels)[2] for odds in scores])
        prior = float(shares @ np.array(PRIOR_WEIGHTS))
    if config.trunk_weight == FITTED and has_trunk:
        tried = [out_of_fold(bare, *given, [prior], weight) for weight in TRUNK_WEIGHTS]
        doublings = np.log2(TRUNK_WEIGHTS)
        likely = [fit_line(scores[0], labels)[2] for scores in tried if scores is not None]
        if likely:
            trunk = float(2 ** (_shares(np.array(likely) - doublings**2 / 2) @ doublings))
    return Weights(prior, trunk)


def _shares(likely: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of how likely each is, as shares of 1."""
    share = np.exp(np.array(likely) - np.max(likely))
    found: NDArray[np.float64] = share / share.sum()
    return found


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
    trunk: float = FULL,
) -> NDArray[np.float64] | None:
    """Scores ``(P, n, K)`` of each image by cross-modal evidence that was fitted on the others.

    Args:
        head: signs without image evidence.
        features: of the support images; nothing in them was trained on these images.
        labels: 1, 0 or NaN, ``(n, K)``.
        parts: sizes of the parts of the evidence.
        patients: id of each image's patient; empty where unknown.
        priors: weights of the signs' score, P of them.
        trunk: weight of the evidence's last part.

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
        told = labels[fold != number]
        for p, fitted in enumerate(head.with_priors(known, told, parts, priors, trunk)):
            scores[p, fold == number] = fitted(features.rows(judged)).scores
    return scores
