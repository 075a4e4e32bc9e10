"""An AUROC's interval where positives are few: a bootstrap of a few patients covers too seldom.

The variance of Hanley and McNeil (Radiology 143, 1982) rests on the AUROC and both numbers alone,
not on how the few scores happen to lie. It is taken at the AUROC shrunk a little: as if a quarter
of a patient more, on the side that has fewer, had been ranked first, and another quarter last. The
interval is normal on the logit: it stays between 0 and 1, and a perfect ranking has one too. By
simulation (normal scores, 2 to 14 positives against 100 and 1000, AUROC .6 to .99) it covers 94 to
99%.
"""

from __future__ import annotations

from math import exp, log, sqrt

from scipy import stats

from sdmad.evaluation.intervals import LEVEL

FEW = 15
"""Patients of either side below which this interval stands in the bootstrap's place."""

SHRUNK = 0.25


def rare_interval(auroc: float, positives: int, negatives: int) -> tuple[float, float]:
    """95% interval of an AUROC.

    >>> low, high = rare_interval(1.0, 6, 20)
    >>> round(low, 2), round(high, 3)
    (0.55, 0.998)

    Args:
        auroc: 0 to 1.
        positives: number of patients with a positive image, 1 or more.
        negatives: number of patients with a negative one, 1 or more.
    """
    pairs, fewer = positives * negatives, min(positives, negatives)
    a = (auroc * fewer + SHRUNK) / (fewer + 2 * SHRUNK)
    of_positives, of_negatives = a / (2 - a) - a * a, 2 * a * a / (1 + a) - a * a
    spread = a * (1 - a) + (positives - 1) * of_positives + (negatives - 1) * of_negatives
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) * sqrt(spread / pairs) / (a * (1 - a))
    low, high = (1 / (1 + exp(-(log(a / (1 - a)) + side * reach))) for side in (-1, 1))
    return low, high
