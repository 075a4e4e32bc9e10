"""Intervals of the pixel metrics: a bootstrap over patients on a common grid of scores.

Each patient needs pixel scores of his own. With :func:`patient_capacity` entries a patient, those
of 10,000 patients take about 0.3 GB, those of a few hundred less than 0.1 GB; what is kept of a
draw takes at most 25 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdmad.errors import InputError
from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.intervals import (
    DrawSummary,
    PairedDifference,
    differences_over_draws,
    summaries_over_draws,
)
from sdmad.evaluation.limits import Basis
from sdmad.evaluation.pixels import FPR_LIMIT, PixelScores, mean_left
from sdmad.evaluation.quantiles import Values, ValueSummary
from sdmad.evaluation.resampling import Each, IntArray, patient_index, ratio

PIXEL_METRICS = ("pixel_auroc", "aupro", "dice")
"""Names of the pixel metrics: AUROC, AUPRO and Dice over all pixels."""

_STEPS, _FEWEST = 512, 64
_MOST, _LEAST, _TOGETHER = 1024, 128, 2**20


def patient_capacity(patients: int) -> int:
    """Entries of a patient's summaries that are enough among several, in bounded memory.

    >>> patient_capacity(200), patient_capacity(10_000)
    (1024, 128)

    Args:
        patients: how many there are.
    """
    return min(_MOST, max(_LEAST, _TOGETHER // max(1, patients)))


@dataclass(frozen=True)
class PatientPixels:
    """Pixel scores of each of P patients as masses on a common grid of B steps.

    The steps are quantiles of the normal and of the abnormal pixels, 512 of each with up to 2,048
    patients, so that a metric is right to some 0.001; Dice is exact. Made by :meth:`of`.

    Attributes:
        patients: ids, one a row.
        normal: normal pixels at each step, float32 ``(P, B)``.
        abnormal: abnormal pixels, and their shares of their regions; float32 ``(P, B, 2)``.
        called: abnormal pixels that are called, called and abnormal ones, ``(P, 3)``; NaN where no
            threshold was given.
    """

    patients: tuple[str, ...]
    normal: NDArray[np.float32]
    abnormal: NDArray[np.float32]
    called: FloatArray

    @classmethod
    def of(cls, patients: Mapping[str, PixelScores]) -> PatientPixels:
        """From the pixel scores of each patient's images.

        Args:
            patients: by patient, made with one threshold or none, for instance
                ``PixelScores(threshold, patient_capacity(200))``.

        Raises:
            InputError: if there is no patient or the thresholds differ.
        """
        scores = list(patients.values())
        if len({one.threshold for one in scores}) != 1:
            raise InputError(
                "pixel scores of no patient or with different thresholds cannot be resampled"
            )
        called = np.full((len(scores), 3), np.nan)
        if scores[0].threshold is not None:
            called = np.array([one.dice_counts() for one in scores], dtype=np.float64)
        normal, abnormal = _histograms(scores)
        return cls(tuple(patients), normal.astype(np.float32), abnormal.astype(np.float32), called)

    def metrics(self, weights: FloatArray) -> dict[str, FloatArray]:
        """The pixel metrics of each resample.

        Args:
            weights: how often each patient was drawn, ``(P, R)``.

        Returns:
            Each of :data:`PIXEL_METRICS`, ``(R,)``; NaN where one is not defined.
        """
        normal = self.normal.T.astype(np.float64) @ weights
        pixels, regions = (
            self.abnormal[:, :, place].T.astype(np.float64) @ weights for place in (0, 1)
        )
        found, called, inside = self.called.T @ weights
        dice = ratio(2 * found, called + inside)
        values = (_areas(normal, pixels, 1.0), _areas(normal, regions, FPR_LIMIT))
        return dict(zip(PIXEL_METRICS, (*values, np.where(inside > 0, dice, np.nan)), strict=True))


class _Resampled:
    """One draw's patients as rows of all patients of a bootstrap."""

    def __init__(self, pixels: PatientPixels, rows: IntArray) -> None:
        self.pixels, self.rows = pixels, rows
        sides = (pixels.abnormal[:, :, 0], pixels.normal)
        basis = Basis("pixels", tuple(int(side.any(axis=1).sum()) for side in sides))
        self.bases = dict.fromkeys(PIXEL_METRICS, (basis,))

    def __call__(self, weights: FloatArray, each: Each) -> dict[str, FloatArray]:
        del each
        found = self.pixels.metrics(weights[self.rows])
        return {name: values[None] for name, values in found.items()}


def summarise_pixels(
    draws: Sequence[PatientPixels], resamples: int = 1000, seed: int = 0
) -> dict[str, DrawSummary]:
    """Mean, deviation and 95% interval of the pixel metrics over one or more draws.

    As :func:`~sdmad.evaluation.intervals.summarise_draws`: same seed and patients, same resamples.

    Args:
        draws: one system's pixels, one a draw of the support set.
        resamples: number of resamples.
        seed: same seed, same intervals.

    Returns:
        A summary for each of :data:`PIXEL_METRICS`; the interval is NaN with fewer than two
        patients.

    Raises:
        InputError: if there is no draw or ``resamples`` is negative.
    """
    systems, patients = _prepared([draws])
    return summaries_over_draws(systems[0], patients, resamples, seed)


def pixel_difference(
    a: Sequence[PatientPixels], b: Sequence[PatientPixels], resamples: int = 1000, seed: int = 0
) -> dict[str, PairedDifference]:
    """Difference of two systems in every pixel metric, with its 95% interval.

    Args:
        a: one system's pixels, one a draw.
        b: the other's on the same patients and draws, in the same order.
        resamples: number of resamples.
        seed: same seed, same intervals.

    Returns:
        The difference a less b for each of :data:`PIXEL_METRICS`.

    Raises:
        InputError: if patients or draws differ, there is none, or ``resamples`` is negative.
    """
    if [one.patients for one in a] != [one.patients for one in b]:
        raise InputError("paired difference of pixels: the systems have different patients")
    systems, patients = _prepared([a, b])
    return differences_over_draws(systems[0], systems[1], patients, resamples, seed)


def _prepared(systems: Sequence[Sequence[PatientPixels]]) -> tuple[list[list[_Resampled]], int]:
    if not systems[0]:
        raise InputError("no draw given: expected the pixels of one or more draws")
    index, patients = patient_index(*[draw.patients for draw in systems[0]])
    return [list(map(_Resampled, draws, index)) for draws in systems], patients


def _histograms(patients: Sequence[PixelScores]) -> tuple[FloatArray, FloatArray]:
    """Normal ``(P, B)`` and abnormal masses ``(P, B, 2)`` of each patient on a common grid."""
    steps = min(_STEPS, max(_FEWEST, _TOGETHER // len(patients)))
    grids = [_quantiles([one.normal for one in patients], steps)]
    grids.append(_quantiles([one.abnormal for one in patients], steps))
    grid = np.unique(np.concatenate(grids))
    normal = np.zeros((len(patients), len(grid)))
    abnormal = np.zeros((len(patients), len(grid), 2))
    for row, one in enumerate(patients):
        normal[row] = _histogram(one.normal, grid)[:, 0]
        abnormal[row] = _histogram(one.abnormal, grid)
    return normal, abnormal


def _quantiles(summaries: Sequence[ValueSummary], count: int) -> Values:
    """Values that cut the first mass of all summaries into equal steps, the largest among them."""
    entries = [entry for summary in summaries for entry in summary.entries()]
    if not entries:
        return np.zeros(0)
    values = np.concatenate([values for values, _ in entries])
    order = np.argsort(values)
    mass = np.concatenate([masses[:, 0] for _, masses in entries])[order].cumsum()
    steps = np.linspace(0, mass[-1], count + 1)[1:]
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
