"""Intervals of the pixel metrics: a bootstrap over patients on a common grid of scores.

Each patient needs pixel scores of his own, so this is for sets of some thousand patients: with
:data:`PATIENT_CAPACITY` entries a patient with some images of 240 x 240 takes about 0.2 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdmad.errors import InputError
from sdmad.evaluation.intervals import percentile_interval
from sdmad.evaluation.metrics import FloatArray
from sdmad.evaluation.pixels import FPR_LIMIT, PixelScores, mean_left
from sdmad.evaluation.quantiles import Values, ValueSummary
from sdmad.evaluation.resampling import ratio, resample_weights

PATIENT_CAPACITY = 1024
"""Entries of a summary that are enough for one patient among several."""

_STEPS = 512


@dataclass(frozen=True)
class PixelIntervals:
    """95% percentile intervals of the pixel metrics; NaN where one is not defined.

    Attributes:
        auroc: lower and upper end.
        aupro: lower and upper end.
        dice: lower and upper end, at the threshold of the pixel scores; NaN without one.
    """

    auroc: tuple[float, float]
    aupro: tuple[float, float]
    dice: tuple[float, float]


def bootstrap_pixels(
    patients: Sequence[PixelScores], resamples: int = 1000, seed: int = 0
) -> PixelIntervals:
    """Intervals of AUROC, AUPRO and Dice, resampled by patients.

    The scores are put on a grid of about a thousand steps, quantiles of the normal and of the
    abnormal pixels, so that the ends are right to some 0.001; Dice is exact.

    Args:
        patients: pixel scores of each patient's images, made with one threshold or none, for
            instance ``PixelScores(threshold, PATIENT_CAPACITY)``.
        resamples: number of resamples.
        seed: same seed, same intervals.

    Returns:
        The intervals; NaN with fewer than two patients.

    Raises:
        InputError: if the thresholds differ or ``resamples`` is negative.
    """
    if resamples < 0:
        raise InputError(f"resamples: expected 0 or more, got {resamples}")
    if len({one.threshold for one in patients}) > 1:
        raise InputError("pixel scores with different thresholds cannot be resampled together")
    nothing = (float("nan"), float("nan"))
    if len(patients) < 2 or not resamples:
        return PixelIntervals(nothing, nothing, nothing)
    normal, abnormal = _histograms(patients)
    counts = None
    if patients[0].threshold is not None:
        counts = np.array([one.dice_counts() for one in patients], dtype=np.float64)
    values: list[list[FloatArray]] = [[], [], []]
    for weights in resample_weights(len(patients), resamples, np.random.default_rng(seed)):
        rate = normal.T @ weights
        for place, limit in enumerate((1.0, FPR_LIMIT)):
            values[place].append(_areas(rate, abnormal[:, :, place].T @ weights, limit))
        if counts is not None:
            found, called, inside = counts.T @ weights
            values[2].append(np.where(inside > 0, ratio(2 * found, called + inside), np.nan))
    ends = [percentile_interval(np.concatenate(one)) if one else nothing for one in values]
    return PixelIntervals(*ends)


def _histograms(patients: Sequence[PixelScores]) -> tuple[FloatArray, FloatArray]:
    """Normal ``(P, B)`` and abnormal masses ``(P, B, 2)`` of each patient on a common grid."""
    grids = [_quantiles([one.normal for one in patients])]
    grids.append(_quantiles([one.abnormal for one in patients]))
    grid = np.unique(np.concatenate(grids))
    normal = np.zeros((len(patients), len(grid)))
    abnormal = np.zeros((len(patients), len(grid), 2))
    for row, one in enumerate(patients):
        normal[row] = _histogram(one.normal, grid)[:, 0]
        abnormal[row] = _histogram(one.abnormal, grid)
    return normal, abnormal


def _quantiles(summaries: Sequence[ValueSummary]) -> Values:
    """Values that cut the first mass of all summaries into equal steps, the largest among them."""
    entries = [entry for summary in summaries for entry in summary.entries()]
    if not entries:
        return np.zeros(0)
    values = np.concatenate([values for values, _ in entries])
    order = np.argsort(values)
    mass = np.concatenate([masses[:, 0] for _, masses in entries])[order].cumsum()
    steps = np.linspace(0, mass[-1], _STEPS + 1)[1:]
    rank = np.minimum(np.searchsorted(mass, steps), len(values) - 1)
    return values[order][rank]


def _histogram(summary: ValueSummary, grid: Values) -> FloatArray:
    """Masses ``(B, c)`` above the step before and not above each step of the grid."""
    result = np.zeros((len(grid), len(summary.total)))
    for values, masses in summary.entries():
        np.add.at(result, np.searchsorted(grid, values), masses)
    return result


def _areas(normal: FloatArray, abnormal: FloatArray, limit: float) -> FloatArray:
    """Area up to a rate, over it, of each resample: masses by step ``(B, R)``."""
    all_normal, all_abnormal = normal.sum(axis=0), abnormal.sum(axis=0)
    at_or_above = normal[::-1].cumsum(axis=0)[::-1]
    before = limit - ratio(at_or_above - normal, np.broadcast_to(all_normal, normal.shape))
    after = limit - ratio(at_or_above, np.broadcast_to(all_normal, normal.shape))
    return ratio((abnormal * mean_left(before, after)).sum(axis=0), limit * all_abnormal)
