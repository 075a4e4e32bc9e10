"""Bootstrap over patients: intervals of every metric, and differences between systems.

Images of one patient are not independent, so patients are resampled and not images. On one draw of
the support set the interval is the central 95% of the resampled values (percentile bootstrap). Over
several draws two reaches about their mean are added as squares: Student's t of the draws, of D - 1
degrees of freedom, and the normal one of what resampling the patients does to the mean. Resampling
the draws themselves would lose D / (D - 1) of their variance and the tails of so few; with degrees
of freedom after Satterthwaite the intervals cover too seldom where both variances are alike (91% at
three draws, by simulation).
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import stats

from sdmad.errors import InputError
from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.labelled_scores import SUMMARY_METRICS, LabelledScores
from sdmad.evaluation.metrics import mean_of_defined
from sdmad.evaluation.resampling import ResampledMetrics, patient_index, ratio, resample_weights

LEVEL = 0.95
"""Coverage of every interval."""

_DEFINED_SHARE = 0.5


def percentile_interval(values: FloatArray) -> tuple[float, float]:
    """The central 95% of the resampled values.

    Args:
        values: shape ``(R,)``; NaN where a resample had no value.

    Returns:
        Lower and upper end; NaN when fewer than half of the resamples have a value.
    """
    defined = values[~np.isnan(values)]
    if defined.size == 0 or defined.size < _DEFINED_SHARE * values.size:
        return float("nan"), float("nan")
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class BootstrapIntervals:
    """95% percentile intervals of an evaluation, resampled by patients.

    Attributes:
        summary: lower and upper end of each of :data:`.SUMMARY_METRICS`.
        category_auroc: lower and upper end of each category's AUROC, in the categories' order.
        patients: number of patients.
        resamples: number of resamples.
    """

    summary: dict[str, tuple[float, float]]
    category_auroc: tuple[tuple[float, float], ...]
    patients: int
    resamples: int


def bootstrap_evaluation(
    scored: LabelledScores, resamples: int = 1000, seed: int = 0
) -> BootstrapIntervals:
    """Intervals for every metric of an evaluation.

    Args:
        scored: the images and the system's output.
        resamples: number of resamples; 0 gives NaN intervals.
        seed: same seed, same intervals.

    Returns:
        95% percentile intervals. They are NaN with fewer than two patients. A mean over
        categories is over the same categories in every resample: one that has no value in a
        resample enters with its value on all patients.

    Raises:
        InputError: if ``resamples`` is negative.
    """
    (patient,), patients = patient_index(scored.patients)
    if patients < 2:
        resamples = min(resamples, 0)
    system = ResampledMetrics(scored, patient, patients)
    values = _resample([system], patients, resamples, seed, "resampling")[0]
    return BootstrapIntervals(
        summary={name: percentile_interval(values[name]) for name in SUMMARY_METRICS},
        category_auroc=tuple(percentile_interval(row) for row in values["category_auroc"]),
        patients=patients,
        resamples=resamples,
    )


class Resampled(Protocol):
    """What a bootstrap can resample: the output of one system on one draw."""

    def __call__(self, weights: FloatArray, pool: ThreadPoolExecutor) -> Mapping[str, FloatArray]:
        """Every metric, the resamples last, of patients drawn as often as weights ``(P, R)``."""
        ...


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
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for weights in resample_weights(patients, resamples, rng, progress):
            for part, system in zip(parts, systems, strict=True):
                part.append(system(weights, pool))
        if resamples == 0:
            for part, system in zip(parts, systems, strict=True):
                part.append(system(np.ones((patients, 0)), pool))
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
        low: lower end of the 95% interval over draws and patients together.
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
    found = summaries_over_draws(systems[0], patients, resamples, seed)
    return tuple(found[name] for name in _category_names(tables[0].labels.shape[1]))


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
    points, values = _over_draws([draws], patients, resamples, seed)
    return {name: _summary(points[0][name], values[0][name]) for name in points[0]}


def _summary(point: FloatArray, values: FloatArray) -> DrawSummary:
    """Summarise a metric: point values ``(D,)``, resampled ``(D, R)``."""
    known = point[~np.isnan(point)]
    mean, deviation = mean_of_defined(point), float("nan")
    over_draws = (float("nan"), float("nan"))
    if known.size > 1:
        deviation = float(known.std(ddof=1))
        reach = float(stats.t.ppf((1 + LEVEL) / 2, known.size - 1)) * deviation / known.size**0.5
        over_draws = (max(0.0, mean - reach), min(1.0, mean + reach))
    low, high = joint_interval(point, values)
    cases = percentile_interval(_mean_over_draws(values))
    return DrawSummary(mean, deviation, max(low, 0.0), min(high, 1.0), over_draws, cases)


def joint_interval(point: FloatArray, values: FloatArray) -> tuple[float, float]:
    """95% interval of a mean over draws, of draws and patients together.

    Args:
        point: the metric of each of D draws on all patients, ``(D,)``; NaN where it has none.
        values: the same on resampled patients, the same ones in every draw, ``(D, R)``.

    Returns:
        Lower and upper end; NaN where resampling gives none.
    """
    known, resampled = point[~np.isnan(point)], _mean_over_draws(values)
    low, high = percentile_interval(resampled)
    if known.size < 2 or np.isnan(low):
        return low, high
    deviation, mean = float(known.std(ddof=1)), float(known.mean())
    if deviation == 0:
        return low, high
    tail = (1 + LEVEL) / 2
    of_draws = float(stats.t.ppf(tail, known.size - 1)) * deviation / known.size**0.5
    of_patients = float(stats.norm.ppf(tail)) * float(np.nanstd(resampled, ddof=1))
    reach = float(np.hypot(of_draws, of_patients))
    return mean - reach, mean + reach


def _category_names(categories: int) -> tuple[str, ...]:
    return tuple(f"category_auroc {k}" for k in range(categories))


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
    points, values = _over_draws([a, b], patients, resamples, seed)
    result = {}
    for name in points[0]:
        gap = points[0][name] - points[1][name]
        low, high = joint_interval(gap, values[0][name] - values[1][name])
        result[name] = PairedDifference(mean_of_defined(gap), max(low, -1.0), min(high, 1.0))
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


def _over_draws(
    systems: Sequence[Sequence[Resampled]], patients: int, resamples: int, seed: int
) -> tuple[list[dict[str, FloatArray]], list[dict[str, FloatArray]]]:
    """Point values ``(D,)`` and values on resampled patients ``(D, R)`` of each system."""
    count = len(systems[0])
    every = [draw for system in systems for draw in system]
    with ThreadPoolExecutor(max_workers=1) as pool:
        whole = [one(np.ones((patients, 1)), pool) for one in every]
    flat = _resample(every, patients, resamples if patients > 1 else min(resamples, 0), seed)
    points = [_stack(whole[i : i + count], 0) for i in range(0, len(whole), count)]
    values = [_stack(flat[i : i + count], None) for i in range(0, len(flat), count)]
    return points, values


def _stack(parts: Sequence[Mapping[str, FloatArray]], column: int | None) -> dict[str, FloatArray]:
    rows = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    if "category_auroc" in rows:
        by_category = rows.pop("category_auroc").swapaxes(0, 1)
        rows |= dict(zip(_category_names(len(by_category)), by_category, strict=True))
    return rows if column is None else {name: row[:, column] for name, row in rows.items()}


def _mean_over_draws(values: FloatArray) -> FloatArray:
    """Mean over the draws of each resample ``(D, R)``, draws without a value left out."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0).astype(float))
