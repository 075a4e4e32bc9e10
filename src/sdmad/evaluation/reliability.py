"""Do probabilities hold? Of the cells called 30%, are three in ten positive?

The expected calibration error (Naeini et al. 2015): cells (image x category) of known label fall
into bins by their probability, equally many in each, and the gap between mean probability and share
of positives is averaged over the bins, weighted by their cells.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.errors import InputError
from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.limits import LEVEL
from sdmad.evaluation.resampling import patient_index, ratio, resample_weights

BINS = 10
CHANCES = 100
MOST, STEPS = 1e6, 40


@dataclass(frozen=True)
class Reliability:
    """How far probabilities are from shares.

    Attributes:
        error: expected calibration error, 0 to 1.
        interval: 95%: the errors that would not make the seen one rare, by resampling patients,
            for noise alone makes every gap wider; from 0 where chance may have made it all; NaN
            with fewer than two patients.
        by_chance: what 95 in 100 sets of labels drawn from the probabilities themselves stay below.
        predicted: mean probability of each bin, ascending.
        observed: share of positives of each bin.
        cells: how many each bin has.
    """

    error: float
    interval: tuple[float, float]
    by_chance: float
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    cells: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def reliability(
    probabilities: FloatArray,
    labels: FloatArray,
    patients: Sequence[Hashable],
    resamples: int = 1000,
    seed: int = 0,
) -> Reliability:
    """Hold probabilities to labels.

    Args:
        probabilities: shape ``(n, K)``.
        labels: 1, 0 or NaN, ``(n, K)``; unknown ones count neither way.
        patients: of each image.
        resamples: of the bootstrap over patients.
        seed: same seed, same interval.

    Raises:
        InputError: if no label is known.
    """
    known = ~np.isnan(labels)
    if not known.any():
        raise InputError("no label is known: probabilities cannot be held to anything")
    (patient,), count = patient_index(patients)
    whose = np.broadcast_to(patient[:, None], labels.shape)[known]
    likely, truth = probabilities[known], labels[known]
    bin_of = _bins(likely)
    bins = int(bin_of.max()) + 1
    sums = np.zeros((3, bins, count))
    for total, values in zip(sums, (likely, truth, np.ones(len(truth))), strict=True):
        np.add.at(total, (bin_of, whose), values)
    predicted, observed, cells = sums.sum(axis=2)
    error = float(_error(predicted, observed, cells))
    rng = np.random.default_rng(seed)
    chance = _by_chance(likely, bin_of, predicted, cells, rng)
    resamples = resamples if count > 1 else 0
    gaps = [_gaps(*(sums @ weights)) for weights in resample_weights(count, resamples, rng)]
    own = _gaps(predicted[:, None], observed[:, None], cells[:, None])
    return Reliability(
        error,
        _inverted(own, np.concatenate(gaps, axis=1) - own) if gaps else (np.nan, np.nan),
        chance,
        tuple((predicted / cells).tolist()),
        tuple((observed / cells).tolist()),
        tuple(int(cell) for cell in cells),
    )


def _bins(likely: FloatArray) -> NDArray[np.int64]:
    """Bin of each cell: ranks in as many parts; equal probabilities stay together."""
    edges = np.unique(np.quantile(likely, np.arange(1, BINS) / BINS, method="higher"))
    place = np.searchsorted(edges, likely, side="right")
    return np.unique(place, return_inverse=True)[1].astype(np.int64)


def _error(predicted: FloatArray, observed: FloatArray, cells: FloatArray) -> FloatArray:
    """Of sums over the cells of each bin, ``(B, ...)``."""
    return np.asarray(np.abs(_gaps(predicted, observed, cells)).sum(axis=0))


def _gaps(predicted: FloatArray, observed: FloatArray, cells: FloatArray) -> FloatArray:
    """What each bin adds to the error, with its sign; of sums over its cells, ``(B, ...)``."""
    gap = predicted - observed
    return ratio(gap, np.broadcast_to(cells.sum(axis=0), gap.shape))


def _by_chance(
    likely: FloatArray,
    bin_of: NDArray[np.int64],
    predicted: FloatArray,
    cells: FloatArray,
    rng: np.random.Generator,
) -> float:
    """The error that labels drawn from the probabilities have, in 95 of 100 sets at most."""
    errors = []
    for _ in range(CHANCES):
        drawn = np.bincount(bin_of, rng.random(likely.size) < likely, len(cells))
        errors.append(float(_error(predicted, drawn.astype(np.float64), cells)))
    return float(np.quantile(errors, LEVEL))


def _inverted(gaps: FloatArray, noise: FloatArray) -> tuple[float, float]:
    """The errors that would not make the seen one a rare one.

    Were the true gaps the seen ones, all times one factor, the seen error would be that of such
    gaps with noise. An end is where the seen one is at its tail, 2.5%.

    Args:
        gaps: of each bin, ``(B, 1)``.
        noise: of the gaps, by resampling patients, ``(B, R)``.
    """
    seen = float(np.abs(gaps).sum())

    def above(factor: float) -> float:
        return float((np.abs(factor * gaps + noise).sum(axis=0) >= seen).mean())

    tail = (1 - LEVEL) / 2
    low, high = (min(1.0, _crossing(above, level) * seen) for level in (tail, 1 - tail))
    return min(low, seen), max(high, seen)  # the seen error is told beside it


def _crossing(share: Callable[[float], float], level: float) -> float:
    """The least factor whose share exceeds a level; the share rises with the factor."""
    low, high = 0.0, 1.0
    if share(0.0) > level:
        return 0.0
    while share(high) <= level and high < MOST:
        high *= 2
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if share(middle) > level else (middle, high)
    return high
