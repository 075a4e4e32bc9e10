"""Intervals of every metric over patients and draws, and differences between systems.

Images of one patient are not independent, so patients are resampled and not images. Resampling
gives variances and correlations (:mod:`sdmad.evaluation.spread`), the kind of metric its limits
(:mod:`sdmad.evaluation.limits`). A paired difference is symmetric, with Student's t: both systems
are resampled together, so that what is common to them cancels.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sdmad.errors import InputError
from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.labelled_scores import SUMMARY_METRICS, LabelledScores
from sdmad.evaluation.limits import Basis, Interval
from sdmad.evaluation.resampling import Each, ResampledMetrics, patient_index, resample_weights
from sdmad.evaluation.spread import Spread, difference, joint_basis

NONE = (float("nan"), float("nan"))
MANY = 1000
"""Patients from which on threads save more time than they cost."""


@dataclass(frozen=True)
class EvaluationIntervals:
    """95% intervals of an evaluation over its patients.

    Attributes:
        summary: lower and upper end of each of :data:`.SUMMARY_METRICS`.
        category_auroc: lower and upper end of each category's AUROC, in the categories' order.
        patients: number of patients.
        resamples: number of resamples.
    """

    summary: dict[str, Interval]
    category_auroc: tuple[Interval, ...]
    patients: int
    resamples: int


def evaluation_intervals(
    scored: LabelledScores, resamples: int = 1000, seed: int = 0
) -> EvaluationIntervals:
    """Intervals for every metric of an evaluation.

    Args:
        scored: the images and the system's output.
        resamples: number of resamples; 0 gives NaN intervals.
        seed: same seed, same intervals.

    Returns:
        95% intervals. They are NaN with fewer than two patients. A mean over categories is over
        those that have a value on all patients.

    Raises:
        InputError: if ``resamples`` is negative.
    """
    systems, patients = _prepared([[scored]])
    found = _spreads(systems, patients, resamples, seed, "resampling")[0]
    categories = found["mean_auroc"]
    return EvaluationIntervals(
        {name: found[name].interval() for name in SUMMARY_METRICS},
        tuple(categories.part(k).interval() for k in range(scored.labels.shape[1])),
        patients,
        resamples if patients > 1 else 0,
    )


class Resampled(Protocol):
    """What can be resampled: the output of one system on one draw."""

    @property
    def bases(self) -> Mapping[str, tuple[Basis, ...]]:
        """What each part of each metric rests on."""
        ...

    def __call__(self, weights: FloatArray, each: Each) -> Mapping[str, FloatArray]:
        """The parts of every metric ``(m, R)``, of patients drawn as weights ``(P, R)`` say."""
        ...


@contextmanager
def _threads(patients: int) -> Iterator[Each]:
    """What applies a function to many things: in threads, where it is worth it."""
    if patients < MANY:
        yield map
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        yield pool.map


def _resample(
    systems: Sequence[Resampled],
    patients: int,
    resamples: int,
    seed: int,
    progress: str | None = None,
) -> list[dict[str, FloatArray]]:
    """Compute every metric of every system on the same resamples, resamples last."""
    if resamples < 0:
        raise InputError(f"resamples: expected 0 or more, got {resamples}")
    parts: list[list[Mapping[str, FloatArray]]] = [[] for _ in systems]
    rng = np.random.default_rng(seed)
    with _threads(patients) as each:
        for weights in resample_weights(patients, resamples, rng, progress):
            for part, system in zip(parts, systems, strict=True):
                part.append(system(weights, each))
        if resamples == 0:
            for part, system in zip(parts, systems, strict=True):
                part.append(system(np.ones((patients, 0)), each))
    return [
        {name: np.concatenate([chunk[name] for chunk in part], axis=-1) for name in part[0]}
        for part in parts
    ]


@dataclass(frozen=True)
class DrawSummary:
    """One metric of one system over several draws of the support set.

    Attributes:
        mean: mean over the draws.
        deviation: standard deviation over the draws (divisor: draws less one); NaN for one draw.
        low: lower end of the 95% interval over draws and patients together.
        high: upper end.
        draws: 95% interval over the draws alone (Student's t of the mean, cut to what a metric
            can be, 0 to 1); NaN for one draw.
        cases: 95% interval over the patients alone, the draws held as they are.
    """

    mean: float
    deviation: float
    low: float
    high: float
    draws: tuple[float, float] = (float("nan"), float("nan"))
    cases: tuple[float, float] = (float("nan"), float("nan"))


@dataclass(frozen=True)
class PairedDifference:
    """One metric of system a less that of system b, on the same images and draws.

    Attributes:
        difference: mean over the draws of a less b.
        low: lower end of the 95% interval over draws and patients together; NaN where neither moves
            the difference, as where both systems rank few patients alike.
        high: upper end.
    """

    difference: float
    low: float
    high: float


def summarise_draws(
    draws: LabelledScores | Sequence[LabelledScores], resamples: int = 1000, seed: int = 0
) -> dict[str, DrawSummary]:
    """Mean, deviation and interval of every metric over one or more draws.

    Args:
        draws: one system's output, one a draw of the support set. The patients of the draws are
            the same people where their ids are equal; where a table has no patients, give the
            images' names as ids, since row numbers change with what a draw leaves out.
        resamples: number of resamples.
        seed: same seed, same intervals.

    Returns:
        A summary for each of :data:`.SUMMARY_METRICS`.

    Raises:
        InputError: if there is no draw or ``resamples`` is negative.
    """
    systems, patients = _prepared([_as_draws(draws)])
    found = summaries_over_draws(systems[0], patients, resamples, seed)
    return {name: found[name] for name in SUMMARY_METRICS}


def summarise_categories(
    draws: LabelledScores | Sequence[LabelledScores], resamples: int = 1000, seed: int = 0
) -> tuple[DrawSummary, ...]:
    """Mean, deviation and intervals of each category's AUROC over one or more draws.

    Args:
        draws: as in :func:`summarise_draws`.
        resamples: number of resamples.
        seed: same seed, same intervals.

    Returns:
        One summary a category; NaN where no draw has an AUROC.

    Raises:
        InputError: if there is no draw or ``resamples`` is negative.
    """
    tables = _as_draws(draws)
    systems, patients = _prepared([tables])
    found = _spreads(systems, patients, resamples, seed)[0]["mean_auroc"]
    return tuple(_summary(found.part(k)) for k in range(tables[0].labels.shape[1]))


def summaries_over_draws(
    draws: Sequence[Resampled], patients: int, resamples: int, seed: int
) -> dict[str, DrawSummary]:
    """Mean, deviation and intervals of every metric of one system over its draws.

    Args:
        draws: one a draw of the support set, at least one.
        patients: how many they have together.
        resamples: number of resamples.
        seed: same seed, same intervals.

    Raises:
        InputError: if ``resamples`` is negative.
    """
    found = _spreads([draws], patients, resamples, seed)[0]
    return {name: _summary(spread) for name, spread in found.items()}


def _summary(spread: Spread) -> DrawSummary:
    mean, over_draws = spread.mean, NONE
    if not np.isnan(spread.deviation):
        reach = spread.draws_reach
        over_draws = (max(0.0, mean - reach), min(1.0, mean + reach))
    low, high = spread.interval()
    cases = spread.interval(draws=False)
    return DrawSummary(mean, spread.deviation, low, high, over_draws, cases)


def paired_difference(
    a: LabelledScores | Sequence[LabelledScores],
    b: LabelledScores | Sequence[LabelledScores],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, PairedDifference]:
    """Difference of two systems in every metric, with its interval.

    Both systems see the same draws and the same resampled patients: what is common to them cancels.

    Args:
        a: one system's output, one a draw of the support set; patients as in
            :func:`summarise_draws`.
        b: the other system's output for the same images and draws, in the same order.
        resamples: number of resamples.
        seed: same seed, same intervals.

    Returns:
        The difference a less b for each of :data:`.SUMMARY_METRICS`, its interval as that of a
        single system.

    Raises:
        InputError: if the systems were not scored on the same images, there is no draw, or
            ``resamples`` is negative.
    """
    first, second = _as_draws(a), _as_draws(b)
    if len(first) != len(second):
        raise InputError(f"paired difference: {len(first)} draws of a, {len(second)} of b")
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        _check_same_images(one, other, number)
    systems, patients = _prepared([first, second])
    found = differences_over_draws(systems[0], systems[1], patients, resamples, seed)
    return {name: found[name] for name in SUMMARY_METRICS}


def differences_over_draws(
    a: Sequence[Resampled], b: Sequence[Resampled], patients: int, resamples: int, seed: int
) -> dict[str, PairedDifference]:
    """Difference of two systems in every metric, with its interval.

    Args:
        a: one system's draws, at least one.
        b: the other's, of the same patients in the same order.
        patients: how many they have together.
        resamples: number of resamples.
        seed: same seed, same intervals.

    Raises:
        InputError: if ``resamples`` is negative.
    """
    first, second = _spreads([a, b], patients, resamples, seed)
    result = {}
    for name, spread in first.items():
        gap = difference(spread, second[name])
        low, high = gap.difference_interval()
        result[name] = PairedDifference(gap.mean, low, high)
    return result


def _as_draws(draws: LabelledScores | Sequence[LabelledScores]) -> list[LabelledScores]:
    tables = [draws] if isinstance(draws, LabelledScores) else list(draws)
    if not tables:
        raise InputError("no draw given: expected one or more scored sets of images")
    return tables


def _check_same_images(one: LabelledScores, other: LabelledScores, draw: int) -> None:
    same = (
        np.array_equal(one.labels, other.labels, equal_nan=True)
        and np.array_equal(one.normal, other.normal)
        and one.patients == other.patients
    )
    if not same:
        raise InputError(
            f"paired difference, draw {draw} (counted from 0): the two systems have different "
            "labels, normal images or patients; score both on the same images in the same order"
        )


def _prepared(systems: Sequence[Sequence[LabelledScores]]) -> tuple[list[list[Resampled]], int]:
    """Every draw of every system, ready to be resampled, and the number of patients."""
    index, patients = patient_index(*[table.patients for table in systems[0]])
    ready: list[list[Resampled]] = [
        [ResampledMetrics(table, rows, patients) for table, rows in zip(system, index, strict=True)]
        for system in systems
    ]
    return ready, patients


def _spreads(
    systems: Sequence[Sequence[Resampled]],
    patients: int,
    resamples: int,
    seed: int,
    progress: str | None = None,
) -> list[dict[str, Spread]]:
    """How every metric of each system varies, of its draws together."""
    count = len(systems[0])
    every = [draw for system in systems for draw in system]
    whole = [one(np.ones((patients, 1)), map) for one in every]
    resamples = resamples if patients > 1 else min(resamples, 0)
    flat = _resample(every, patients, resamples, seed, progress)
    found = []
    for system, start in zip(systems, range(0, len(every), count), strict=True):
        own = slice(start, start + count)
        found.append(
            {
                name: Spread(
                    np.concatenate([draw[name] for draw in whole[own]], axis=1),
                    np.stack([draw[name] for draw in flat[own]], axis=1),
                    tuple(
                        joint_basis(bases)
                        for bases in zip(*(draw.bases[name] for draw in system), strict=True)
                    ),
                )
                for name in whole[start]
            }
        )
    return found
