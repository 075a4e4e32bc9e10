"""The variance of an AUROC after DeLong, its interval, and the difference of two AUROCs.

Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), 837-845; computed from midranks
in ``n log n`` steps after Sun and Xu, IEEE Signal Processing Letters 21 (2014), 1389-1393. The
method takes the images for independent, so it stands beside the bootstrap over patients only
where every patient has one image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from sdmad.errors import InputError
from sdmad.evaluation.checks import BoolArray, FloatArray, label_matrix, score_array
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.evaluation.limits import NORMAL
from sdmad.evaluation.metrics import MINIMUM_FOR_AUROC


@dataclass(frozen=True)
class DeLongAUROC:
    """An AUROC with the interval of DeLong.

    Attributes:
        auroc: area under the ROC curve; NaN with fewer than two positives or negatives.
        variance: DeLong's variance of it; NaN with fewer than two positives or negatives.
        low: lower end of the 95% interval, normal on the logit of the AUROC, so that it stays
            between 0 and 1 (Pepe, The statistical evaluation of medical tests, 2003, 5.2).
            NaN where the variance is 0, as with a perfect AUROC: it says nothing there.
        high: upper end.
    """

    auroc: float
    variance: float
    low: float
    high: float


@dataclass(frozen=True)
class DeLongDifference:
    """The AUROC of system a less that of system b on the same images.

    Attributes:
        difference: a less b; NaN with fewer than two positives or negatives.
        variance: DeLong's variance of it, the covariance of both AUROCs taken into account.
        low: lower end of the 95% interval, normal on the difference itself.
        high: upper end.
    """

    difference: float
    variance: float
    low: float
    high: float


@dataclass(frozen=True)
class DeLongIntervals:
    """The DeLong intervals of an evaluation.

    Attributes:
        categories: one a category, in the categories' order (protocol 3).
        image: normal against abnormal images (protocol 1).
    """

    categories: tuple[DeLongAUROC, ...]
    image: DeLongAUROC


def delong_auroc(y_true: ArrayLike, scores: ArrayLike) -> DeLongAUROC:
    """AUROC of one category with DeLong's interval.

    Two positives with .8 and .4 against the negatives .6 and .2: the first beats both, the second
    one of two, and the negatives are beaten by one and two of two. Both sets of shares have the
    variance 1/8, so that of the AUROC is (1/8) / 2 + (1/8) / 2.

    >>> found = delong_auroc([1, 1, 0, 0], [0.8, 0.4, 0.6, 0.2])
    >>> found.auroc, found.variance
    (0.75, 0.125)

    Args:
        y_true: shape ``(n,)``, 1, 0 or NaN (left out).
        scores: shape ``(n,)``, finite; larger means more likely present.

    Returns:
        The AUROC, its variance and its interval.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    positive, (values,) = _known(y_true, scores)
    if not _enough(positive):
        nan = float("nan")
        return DeLongAUROC(nan, nan, nan, nan)
    of_positives, of_negatives = placements(positive, values)
    auroc = float(of_positives.mean())
    variance = _variance(of_positives, of_negatives)
    if variance == 0:
        return DeLongAUROC(auroc, variance, float("nan"), float("nan"))
    reach = NORMAL * variance**0.5 / (auroc * (1 - auroc))
    low, high = special.expit(special.logit(auroc) + np.array([-reach, reach]))
    return DeLongAUROC(auroc, variance, float(low), float(high))


def delong_difference(y_true: ArrayLike, a: ArrayLike, b: ArrayLike) -> DeLongDifference:
    """Difference of two systems' AUROCs on the same images, one image a patient.

    Args:
        y_true: shape ``(n,)``, 1, 0 or NaN (left out).
        a: scores of one system, shape ``(n,)``, finite.
        b: scores of the other, in the same order.

    Returns:
        The AUROC of a less that of b, its variance and its interval, cut to -1 and 1.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    positive, (first, second) = _known(y_true, a, b)
    if not _enough(positive):
        nan = float("nan")
        return DeLongDifference(nan, nan, nan, nan)
    gaps = [
        one - other
        for one, other in zip(
            placements(positive, first), placements(positive, second), strict=True
        )
    ]
    difference, variance = float(gaps[0].mean()), _variance(*gaps)
    reach = NORMAL * variance**0.5
    low, high = max(-1.0, difference - reach), min(1.0, difference + reach)
    return DeLongDifference(difference, variance, low, high)


def delong_intervals(scored: LabelledScores) -> DeLongIntervals | None:
    """The DeLong intervals of every category and of normal against abnormal images.

    Args:
        scored: the images and the system's output.

    Returns:
        The intervals; None where a patient has several images, since these are not independent.
    """
    if len(set(scored.patients)) < len(scored.patients):
        return None
    return DeLongIntervals(
        tuple(
            delong_auroc(scored.labels[:, k], scored.scores[:, k])
            for k in range(scored.labels.shape[1])
        ),
        delong_auroc(scored.abnormal, scored.abnormality),
    )


def _known(y_true: ArrayLike, *scores: ArrayLike) -> tuple[BoolArray, list[FloatArray]]:
    """Which of the known labels are positive, and the scores beside them."""
    flags = np.asarray(y_true, dtype=np.float64)
    if flags.ndim != 1:
        raise InputError(f"labels: expected shape (images,), got {flags.shape}")
    labels = label_matrix(flags[:, None])[:, 0]
    known = ~np.isnan(labels)
    return labels[known] == 1, [score_array(one, labels.shape)[known] for one in scores]


def _enough(positive: BoolArray) -> bool:
    positives = int(positive.sum())
    return min(positives, positive.size - positives) >= MINIMUM_FOR_AUROC


def placements(positive: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Share of the negatives below each positive, of the positives above each negative.

    A tie counts one half. The midrank of a score among all less that among its own side is the
    number of scores of the other side below it.
    """
    rank = stats.rankdata(scores)
    above, below = scores[positive], scores[~positive]
    beaten = rank[positive] - stats.rankdata(above)
    lost = above.size - (rank[~positive] - stats.rankdata(below))
    return beaten / below.size, lost / above.size


def _variance(of_positives: FloatArray, of_negatives: FloatArray) -> float:
    return float(
        of_positives.var(ddof=1) / of_positives.size + of_negatives.var(ddof=1) / of_negatives.size
    )
