"""The three protocols of more images than fit in memory: one category's numbers at a time.

Figures are those of :func:`sdmad.evaluation.protocols.evaluate`, to the bit or nearly. Intervals
come without resampling. A figure moves by so much with each patient (its influence; of an AUROC the
placements of DeLong, summed within patients as in Obuchowski, Biometrics 53, 1997), the squares of
these add up to its variance, and their products tell how figures vary together; from there on
limits are as everywhere (:mod:`sdmad.evaluation.limits`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray

from sdmad.evaluation.checks import BoolArray, FloatArray
from sdmad.evaluation.delong import placements
from sdmad.evaluation.limits import Basis, Interval
from sdmad.evaluation.metrics import MINIMUM_FOR_AUROC, mean_of_defined
from sdmad.evaluation.protocols import CategoryResult, Evaluation, category_note, evaluation_notes
from sdmad.evaluation.spread import mean_interval

NAN = float("nan")
NONE = (NAN, NAN)


@dataclass(frozen=True)
class Column:
    """One category of n images.

    Attributes:
        labels: 1, 0 or NaN, ``(n,)``.
        scores: finite, ``(n,)``.
        found: decisions, boolean ``(n,)``.
    """

    labels: FloatArray
    scores: FloatArray
    found: BoolArray


@dataclass(frozen=True)
class Figure:
    """A figure between 0 and 1 and what it rests on.

    Attributes:
        value: NaN where it is not defined.
        influence: how far each patient moves it, ``(P,)``; sums to 0.
        basis: its kind and its patients.
    """

    value: float
    influence: FloatArray
    basis: Basis

    @property
    def interval(self) -> Interval:
        """95%."""
        return mean_and_interval([self])[1]


def share(top: FloatArray, bottom: FloatArray) -> Figure:
    """A share whose parts are summed within patients.

    Args:
        top: of each patient, ``(P,)``.
        bottom: of each patient, at least the top, ``(P,)``.
    """
    total = float(bottom.sum())
    basis = Basis("share", (int((bottom > 0).sum()),))
    if total == 0:
        return Figure(NAN, np.zeros(len(bottom)), basis)
    value = float(top.sum()) / total
    return Figure(value, (top - value * bottom) / total, basis)


def auroc(labels: FloatArray, scores: FloatArray, patient: NDArray[np.int64], count: int) -> Figure:
    """The AUROC of one category, images of a patient held together.

    Args:
        labels: 1, 0 or NaN, ``(n,)``.
        scores: ``(n,)``.
        patient: number of each image's patient, ``(n,)``.
        count: of patients.
    """
    known = ~np.isnan(labels)
    positive, values, people = labels[known] == 1, scores[known], patient[known]
    sides = tuple(len(np.unique(people[side])) for side in (positive, ~positive))
    basis = Basis("auroc", sides, np.unique(values).size == 1)
    if min(positive.sum(), (~positive).sum()) < MINIMUM_FOR_AUROC:
        return Figure(NAN, np.zeros(count), basis)
    above, below = placements(positive, values)
    value = float(above.mean())
    moved = np.zeros(count)
    moved += np.bincount(people[positive], (above - value) / len(above), count)
    moved += np.bincount(people[~positive], (below - value) / len(below), count)
    return Figure(value, moved, basis)


def mean_and_interval(figures: Sequence[Figure]) -> tuple[float, Interval]:
    """The mean of those that are defined, and its 95%.

    Args:
        figures: of the same patients, at least one.
    """
    defined = [one for one in figures if not isnan(one.value)]
    if not defined or len(defined[0].influence) < 2:
        return mean_of_defined([one.value for one in figures]), NONE
    products = np.array([[a.influence @ b.influence for b in defined] for a in defined])
    variances = products.diagonal().copy()
    scale = np.sqrt(np.outer(variances, variances))
    together = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    np.fill_diagonal(together, 1.0)
    values = np.array([one.value for one in defined])
    bases = [one.basis for one in defined]
    ends = mean_interval(bases, values, variances, together, np.ones(len(defined)))
    return float(values.mean()), ends


def evaluate_columns(
    names: Sequence[str],
    column: Callable[[str], Column],
    abnormality: FloatArray,
    normal: BoolArray,
    patient: NDArray[np.int64],
    unknown: BoolArray,
) -> Evaluation:
    """Judge one system by the three protocols, category after category.

    Args:
        names: of the K categories.
        column: reads one of them.
        abnormality: ``(n,)``.
        normal: images declared normal, boolean ``(n,)``.
        patient: number of each image's patient, from 0, ``(n,)``.
        unknown: images whose patient is unknown, each a patient of its own, boolean ``(n,)``.
    """
    images, people = len(normal), int(patient.max()) + 1
    right, known = np.zeros(people), np.zeros(people)
    wrong, told, ill = (np.zeros(images, np.bool_) for _ in range(3))
    ruled = {name: np.zeros(images, np.bool_) for name in ("none", "all", "prevalence")}
    ratios: dict[str, list[Figure]] = {"f1": [], "sensitivity": [], "specificity": []}
    areas: list[Figure] = []
    results: dict[str, CategoryResult] = {}
    trivial: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in ruled}
    for name in names:
        one = column(name)
        there, absent = one.labels == 1, one.labels == 0
        seen = there | absent
        hit = seen & (one.found == there)
        right += np.bincount(patient[hit], minlength=people)
        known += np.bincount(patient[seen], minlength=people)
        wrong |= seen & ~hit
        told |= seen
        ill |= there
        found = _ratios(one.found, there, absent, patient, people)
        for kind, figure in found.items():
            ratios[kind].append(figure)
        areas.append(auroc(one.labels, one.scores, patient, people))
        nobody = int((there & unknown).sum())
        results[name] = _result(found, areas[-1], there, absent, nobody)
        common = there.sum() > 0.5 * max(1, seen.sum())
        for rule, value in (("none", False), ("all", True), ("prevalence", bool(common))):
            ruled[rule] |= there if not value else absent
            trivial[rule].append(_trivial(value, int(there.sum()), int(absent.sum())))
        del one
    abnormal = np.where(ill, 1.0, np.where(normal, 0.0, np.nan))
    per_image = np.bincount(patient[told & ~wrong], minlength=people).astype(np.float64)
    told_by_image = np.bincount(patient[told], minlength=people).astype(np.float64)
    figures = {
        "mean_auroc": areas,
        "image_auroc": [auroc(abnormal, abnormality, patient, people)],
        "hamming_score": [share(right, known)],
        "subset_accuracy": [share(per_image, told_by_image)],
        "macro_f1": ratios["f1"],
        "sensitivity": ratios["sensitivity"],
        "specificity": ratios["specificity"],
    }
    summary = {name: mean_and_interval(parts) for name, parts in figures.items()}
    nobody = int(unknown.sum())
    return Evaluation(
        mean_auroc=summary["mean_auroc"][0],
        image_auroc=summary["image_auroc"][0],
        hamming_score=summary["hamming_score"][0],
        subset_accuracy=summary["subset_accuracy"][0],
        macro_f1=summary["macro_f1"][0],
        sensitivity=summary["sensitivity"][0],
        specificity=summary["specificity"][0],
        intervals={name: ends for name, (_, ends) in summary.items()},
        categories=results,
        trivial={
            rule: _trivial_summary(trivial[rule], ruled[rule], told, float(known.sum()))
            for rule in ruled
        },
        images=images,
        normal_images=int((abnormal == 0).sum()),
        abnormal_images=int((abnormal == 1).sum()),
        patients=people - nobody,
        resamples=0,
        notes=(
            f"{images:,} images: intervals come from how far each patient moves a figure, not from "
            "resampling.",
            *evaluation_notes(results, abnormal, people, nobody, "taken"),
        ),
        unknown_patients=nobody,
    )


def _ratios(
    found: BoolArray,
    there: BoolArray,
    absent: BoolArray,
    patient: NDArray[np.int64],
    people: int,
) -> dict[str, Figure]:
    """F1, sensitivity and specificity of one category."""

    def count(mask: BoolArray) -> FloatArray:
        return np.bincount(patient[mask], minlength=people).astype(np.float64)

    hits, positives = count(found & there), count(there)
    called = hits + count(found & absent)
    f1 = share(2 * hits, called + positives)
    if not positives.sum():
        f1 = Figure(NAN, f1.influence, f1.basis)
    left = share(count(~found & absent), count(absent))
    return {"f1": f1, "sensitivity": share(hits, positives), "specificity": left}


def _result(
    found: dict[str, Figure], area: Figure, there: BoolArray, absent: BoolArray, unknown: int
) -> CategoryResult:
    """Of one category; so many of its positives are of unknown patients."""
    positives, negatives = int(there.sum()), int(absent.sum())
    note = category_note(positives, negatives, area.basis.patients[0] - unknown, unknown)
    return CategoryResult(
        area.value,
        area.interval,
        positives,
        negatives,
        len(there) - positives - negatives,
        found["f1"].value,
        found["sensitivity"].value,
        found["specificity"].value,
        note,
    )


def _trivial(value: bool, positives: int, negatives: int) -> tuple[float, float, float, float]:
    """Of a constant decision of one category: right cells, F1, sensitivity, specificity."""
    if value:
        f1 = 2 * positives / (2 * positives + negatives) if positives else NAN
        return float(positives), f1, 1.0 if positives else NAN, 0.0 if negatives else NAN
    none = 0.0 if positives else NAN
    return float(negatives), none, none, 1.0 if negatives else NAN


def _trivial_summary(
    parts: Sequence[tuple[float, float, float, float]],
    wrong: BoolArray,
    told: BoolArray,
    known: float,
) -> dict[str, float]:
    right, f1, found, left = zip(*parts, strict=True)
    return {
        "hamming_score": sum(right) / known,
        "subset_accuracy": float((told & ~wrong).sum() / max(1, told.sum())),
        "macro_f1": mean_of_defined(f1),
        "sensitivity": mean_of_defined(found),
        "specificity": mean_of_defined(left),
    }
