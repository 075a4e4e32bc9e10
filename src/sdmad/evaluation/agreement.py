"""How far readers agree beyond chance, with an interval over patients.

Two readers: Cohen's kappa (Educational and Psychological Measurement 20, 1960, 37-46). More: its
mean over their pairs (Light, Psychological Bulletin 76, 1971, 365-377).

Where readers agree nearly always, or seldom say yes, resampling hardly changes kappa and tells
nothing of its variance. So the interval is a score interval, as a share's is
(:mod:`sdmad.evaluation.limits`): all kappas from which the seen one is no further than their own
variance lets it be, by the formula of Bloch and Kraemer (Biometrics 45, 1989, 269-287). Resampling
says how far that formula is off: where readers differ in how often they say yes, of several pairs,
of several images a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from sdmad.errors import InputError
from sdmad.evaluation.checks import FloatArray, label_matrix
from sdmad.evaluation.limits import MODEL, student
from sdmad.evaluation.resampling import (
    IntArray,
    patient_index,
    ratio,
    resample_weights,
)

STEPS = 40
"""Halvings in which an end is found."""


@dataclass(frozen=True)
class Agreement:
    """Kappa with its interval.

    Attributes:
        kappa: 1 is full agreement, 0 what chance gives; NaN where every verdict is the same.
        low: lower end of the 95% interval, -1 at least; NaN with fewer than two patients.
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
        resamples: of the patients; 0 for no interval.
        seed: same seed, same interval.

    Returns:
        Kappa and its interval.

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
    whole = np.sum(tables, axis=0)
    people = int((whole > 0).any(axis=0).sum())
    if people < 2 or resamples == 0 or np.isnan(kappa):
        return Agreement(kappa, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [_mean(tables, weights) for weights in resample_weights(count, resamples, rng)]
    )
    both, first, second, _ = whole.sum(axis=1)
    yes = float((both + (first + second) / 2) / whole.sum())
    model = _variance(kappa, yes) / people
    off = _off(drawn[~np.isnan(drawn)], model, _telling(whole)) if model > 0 else 1.0
    reach = student(people - 1) ** 2 * off / people

    def possible(other: float) -> bool:
        return (kappa - other) ** 2 <= reach * _variance(other, yes)

    return Agreement(kappa, _furthest(possible, kappa, -1.0), _furthest(possible, kappa, 1.0))


def _variance(kappa: float, yes: float) -> float:
    """Of kappa over one patient, of two readers who say yes as often as each other.

    Args:
        kappa: with all patients there are; below what such readers can have the variance is 0.
        yes: share of yes, above 0 and below 1.
    """
    differ = 1 - kappa
    told = differ * (1 - 2 * kappa) + kappa * (2 - kappa) / (2 * yes * (1 - yes))
    return max(0.0, differ * told)


def _off(drawn: FloatArray, model: float, telling: int) -> float:
    """What the variance of the formula is to be multiplied by.

    Args:
        drawn: kappa on resampled patients.
        model: variance by the formula; it counts as :data:`.MODEL` patients would.
        telling: patients who count for what resampling shows.
    """
    seen = telling * float(np.var(drawn)) if len(drawn) else 0.0
    return (seen / model + MODEL) / (telling + MODEL)


def _telling(whole: FloatArray) -> int:
    """Patients of whom resampling can learn: those who are fewest of agreed yes, no, and neither.

    Args:
        whole: cells of each patient, as :func:`_table` has them, of all pairs together.
    """
    both, first, second, none = whole > 0
    return int(min(one.sum() for one in (both, none, first | second)))


def _furthest(possible: Callable[[float], bool], inside: float, outside: float) -> float:
    """How far towards a limit kappas stay possible."""
    for _ in range(STEPS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if possible(middle) else (inside, middle)
    return inside


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
