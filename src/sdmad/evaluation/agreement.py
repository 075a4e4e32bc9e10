"""How far readers agree beyond chance, with an interval over patients.

Two readers: Cohen's kappa (Educational and Psychological Measurement 20, 1960, 37-46). More: its
mean over their pairs (Light, Psychological Bulletin 76, 1971, 365-377).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from sdmad.errors import InputError
from sdmad.evaluation.checks import FloatArray, label_matrix
from sdmad.evaluation.limits import student
from sdmad.evaluation.resampling import (
    IntArray,
    patient_index,
    ratio,
    resample_weights,
)


@dataclass(frozen=True)
class Agreement:
    """Kappa with its interval.

    Attributes:
        kappa: 1 is full agreement, 0 what chance gives; NaN where every verdict is the same.
        low: lower end of the 95% interval; NaN with fewer than two patients, and where resampling
            never changes kappa, as with full agreement: it says nothing there.
        high: upper end.
    """

    kappa: float
    low: float
    high: float


def agreement(
    verdicts: ArrayLike, patients: Sequence[Hashable], resamples: int = 1000, seed: int = 0
) -> Agreement:
    """Agreement of two readers or more.

    Both say yes 20 times, both no 15 times, and they differ 5 and 10 times: they agree in .7, by
    chance in .5, so kappa is .2 / .5.

    >>> one, other = [1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    >>> round(agreement([one, other], range(50)).kappa, 9)
    0.4

    Args:
        verdicts: of each reader on each case: 1, 0, or NaN where there is none; ``(R, n)``, R at
            least 2. A pair is held to the cases that both have judged.
        patients: the patient of each case.
        resamples: of the patients.
        seed: same seed, same interval.

    Returns:
        Kappa and Student's t interval on it, cut to -1 and 1.

    Raises:
        InputError: if there are fewer than two readers, or a shape does not fit.
    """
    values = label_matrix(verdicts)
    if len(values) < 2:
        raise InputError(f"agreement needs two readers at least, got {len(values)}")
    if values.shape[1] != len(patients):
        raise InputError(f"{len(patients)} patients for {values.shape[1]} cases")
    (patient,), count = patient_index(patients)
    tables = [_table(a, b, patient, count) for a, b in combinations(values, 2)]
    kappa = float(_mean(tables, np.ones((count, 1)))[0])
    if count < 2 or resamples == 0 or np.isnan(kappa):
        return Agreement(kappa, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [_mean(tables, weights) for weights in resample_weights(count, resamples, rng)]
    )
    spread = float(np.std(drawn[~np.isnan(drawn)]))
    if not spread > 0:
        return Agreement(kappa, float("nan"), float("nan"))
    reach = student(count - 1) * spread
    return Agreement(kappa, max(-1.0, kappa - reach), min(1.0, kappa + reach))


def _table(a: FloatArray, b: FloatArray, patient: IntArray, count: int) -> FloatArray:
    """Cases of each patient in which both say yes, only the first, only the second, none."""
    cells = [(1, 1), (1, 0), (0, 1), (0, 0)]
    return np.stack(
        [
            np.bincount(patient, (a == first) & (b == second), count).astype(np.float64)
            for first, second in cells
        ]
    )


def _mean(tables: Sequence[FloatArray], weights: FloatArray) -> FloatArray:
    """The pairs' mean kappa of each resample ``(R,)``; NaN where a pair has none."""
    return np.mean([_kappa(table @ weights) for table in tables], axis=0)


def _kappa(table: FloatArray) -> FloatArray:
    both, first, second, none = table
    total = table.sum(axis=0)
    agree = ratio(both + none, total)
    yes = ratio(both + first, total), ratio(both + second, total)
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return ratio(agree - chance, 1 - chance)
