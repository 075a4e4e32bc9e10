"""The three protocols of an evaluation, with everything that stands beside a number.

Protocol 1 (general): is the image abnormal at all, as an AUROC of normal against abnormal
images. Protocol 2 (integrated): are all categories decided rightly, as Hamming score and subset
accuracy. Protocol 3 (category-wise): AUROC of each category, and their mean.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sdmad.errors import InputError
from sdmad.evaluation import metrics
from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.delong import DeLongAUROC, delong_intervals
from sdmad.evaluation.intervals import evaluation_intervals
from sdmad.evaluation.labelled_scores import (
    SUMMARY_METRICS,
    LabelledScores,
    labelled_scores,
    people_told,
)
from sdmad.evaluation.limits import FEW, Interval
from sdmad.evaluation.trivial import TRIVIAL_PREDICTORS, trivial_predictor

DECISION_METRICS = ("hamming_score", "subset_accuracy", "macro_f1", "sensitivity", "specificity")
"""The metrics of protocol 2, which need decisions and no scores."""


@dataclass(frozen=True)
class CategoryResult:
    """What was measured for one category.

    Attributes:
        auroc: area under the ROC curve; NaN when not defined.
        interval: its 95% interval; NaN when not defined.
        positives: images with the label 1.
        negatives: images with the label 0.
        unknown: images without a label.
        f1: F1 of the decisions; NaN without a positive.
        sensitivity: share of the positives found; NaN without a positive.
        specificity: share of the negatives left alone; NaN without a negative.
        note: why a number is missing or weak; empty otherwise.
        delong: 95% interval of the AUROC after DeLong; None where it is not defined or a patient
            has several images.
    """

    auroc: float
    interval: Interval
    positives: int
    negatives: int
    unknown: int
    f1: float
    sensitivity: float
    specificity: float
    note: str = ""
    delong: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; NaN becomes None."""
        return {
            "auroc": _number(self.auroc),
            "interval": _ends(self.interval),
            "delong": None if self.delong is None else list(self.delong),
            "positives": self.positives,
            "negatives": self.negatives,
            "unknown": self.unknown,
            "f1": _number(self.f1),
            "sensitivity": _number(self.sensitivity),
            "specificity": _number(self.specificity),
            "note": self.note,
        }


@dataclass(frozen=True)
class Evaluation:
    """One system judged by the three protocols. All metrics lie between 0 and 1 or are NaN.

    Attributes:
        mean_auroc: mean AUROC of the categories that have one (protocol 3).
        image_auroc: AUROC of normal against abnormal images (protocol 1).
        hamming_score: share of known cells decided rightly (protocol 2).
        subset_accuracy: share of images decided rightly in every category (protocol 2).
        macro_f1: mean F1 of the categories with a positive.
        sensitivity: mean over the categories with a positive.
        specificity: mean over the categories with a negative.
        intervals: 95% interval of each of the above, by name.
        categories: the result of each category, by name, in the order given.
        trivial: the metrics of protocol 2 for each trivial predictor, by name.
        images: number of images.
        normal_images: images declared normal, the negatives of protocol 1.
        abnormal_images: images with a positive label, the positives of protocol 1.
        patients: number of known patients.
        unknown_patients: images whose patient is unknown; each is resampled by itself.
        resamples: number of bootstrap resamples behind the intervals.
        notes: what a reader has to know about the numbers.
        delong: 95% interval of the image AUROC after DeLong; None where it is not defined or a
            patient has several images.
    """

    mean_auroc: float
    image_auroc: float
    hamming_score: float
    subset_accuracy: float
    macro_f1: float
    sensitivity: float
    specificity: float
    intervals: dict[str, Interval]
    categories: dict[str, CategoryResult]
    trivial: dict[str, dict[str, float]]
    images: int
    normal_images: int
    abnormal_images: int
    patients: int
    resamples: int
    notes: tuple[str, ...] = ()
    delong: Interval | None = None
    unknown_patients: int = 0

    @property
    def people(self) -> str:
        """Whom the images are of, in words."""
        return people_told(self.patients, self.unknown_patients)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``metrics.json``; NaN becomes None."""
        return {
            **{name: _number(getattr(self, name)) for name in SUMMARY_METRICS},
            "intervals": {name: _ends(ends) for name, ends in self.intervals.items()},
            "delong": None if self.delong is None else list(self.delong),
            "categories": {name: one.to_dict() for name, one in self.categories.items()},
            "trivial": {
                name: {metric: _number(value) for metric, value in row.items()}
                for name, row in self.trivial.items()
            },
            "images": self.images,
            "normal_images": self.normal_images,
            "abnormal_images": self.abnormal_images,
            "patients": self.patients,
            "unknown_patients": self.unknown_patients,
            "resamples": self.resamples,
            "notes": list(self.notes),
        }


def evaluate(
    labels: ArrayLike,
    scores: ArrayLike,
    decisions: ArrayLike,
    abnormality: ArrayLike,
    normal: ArrayLike,
    categories: Sequence[str],
    patients: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Judge one system by the three protocols.

    Args:
        labels: shape ``(n, K)``, 1, 0 or NaN (unknown, never counted).
        scores: shape ``(n, K)``, finite; larger means more likely present.
        decisions: shape ``(n, K)``, 1 or 0.
        abnormality: shape ``(n,)``, finite; larger means more likely abnormal.
        normal: shape ``(n,)``, boolean: images that their data set declares normal. An image
            that is neither normal nor has a positive label is left out of protocol 1.
        categories: the ``K`` names.
        patients: an id a row, for the bootstrap; None makes every image its own patient.
        resamples: bootstrap resamples; 0 for no intervals.
        seed: seed of the bootstrap.

    Returns:
        The evaluation.

    Raises:
        InputError: if a shape or a value does not fit, no label is known, or a name is given
            twice.
    """
    scored = labelled_scores(labels, scores, decisions, abnormality, normal, patients)
    names = tuple(categories)
    if len(names) != scored.labels.shape[1]:
        raise InputError(
            f"categories: expected {scored.labels.shape[1]} names, one a column of the labels, "
            f"got {len(names)}"
        )
    if len(set(names)) != len(names):
        raise InputError(f"categories: a name is given twice in {', '.join(names)}")
    return evaluate_scored(scored, names, resamples, seed)


def evaluate_scored(
    scored: LabelledScores, categories: Sequence[str], resamples: int = 1000, seed: int = 0
) -> Evaluation:
    """Judge one system by the three protocols; the same as :func:`evaluate` on checked arrays.

    Args:
        scored: the images and the system's output.
        categories: the ``K`` names, each once.
        resamples: bootstrap resamples; 0 for no intervals.
        seed: seed of the bootstrap.

    Returns:
        The evaluation.

    Raises:
        InputError: if no label is known.
    """
    if np.isnan(scored.labels).all():
        raise InputError("nothing to evaluate: every label is unknown")
    intervals = evaluation_intervals(scored, resamples, seed)
    delong = delong_intervals(scored)
    results = _category_results(
        scored, categories, intervals.category_auroc, delong.categories if delong else ()
    )
    abnormal = scored.abnormal
    values = decision_metrics(scored.labels, scored.decisions)
    trivial: dict[str, dict[str, float]] = {
        name: decision_metrics(
            scored.labels, trivial_predictor(name, scored.labels, len(scored.labels))[1]
        )
        for name in TRIVIAL_PREDICTORS
    }
    return Evaluation(
        mean_auroc=metrics.mean_of_defined([one.auroc for one in results.values()]),
        image_auroc=metrics.image_auroc(abnormal, scored.abnormality),
        **values,
        intervals=intervals.summary,
        categories=results,
        trivial=trivial,
        images=len(scored.labels),
        normal_images=int((abnormal == 0).sum()),
        abnormal_images=int((abnormal == 1).sum()),
        patients=intervals.patients - scored.unknown_patients,
        resamples=intervals.resamples,
        notes=evaluation_notes(
            results,
            abnormal,
            intervals.patients,
            scored.unknown_patients,
            "resampled" if resamples else "",
        ),
        delong=_defined(delong.image) if delong else None,
        unknown_patients=scored.unknown_patients,
    )


def decision_metrics(labels: ArrayLike, decisions: ArrayLike) -> dict[str, float]:
    """The metrics of protocol 2, each a mean over what is defined.

    Args:
        labels: shape ``(n, K)``, 1, 0 or NaN.
        decisions: shape ``(n, K)``, 1 or 0.

    Returns:
        A value for each of :data:`DECISION_METRICS`.

    Raises:
        InputError: if a shape or a value does not fit.
    """
    return {
        "hamming_score": metrics.hamming_score(labels, decisions),
        "subset_accuracy": metrics.subset_accuracy(labels, decisions),
        "macro_f1": metrics.macro_f1(labels, decisions),
        "sensitivity": metrics.mean_of_defined(metrics.sensitivity(labels, decisions)),
        "specificity": metrics.mean_of_defined(metrics.specificity(labels, decisions)),
    }


def _category_results(
    scored: LabelledScores,
    names: Sequence[str],
    intervals: Sequence[Interval],
    delong: Sequence[DeLongAUROC],
) -> dict[str, CategoryResult]:
    labels, decisions = scored.labels, scored.decisions
    auroc = metrics.category_auroc(labels, scored.scores)
    f1 = metrics.category_f1(labels, decisions)
    found, left = metrics.sensitivity(labels, decisions), metrics.specificity(labels, decisions)
    results = {}
    for k, name in enumerate(names):
        positives, negatives = (int((labels[:, k] == side).sum()) for side in (1, 0))
        ill = scored.people(labels[:, k] == 1)
        results[name] = CategoryResult(
            auroc=float(auroc[k]),
            interval=intervals[k],
            positives=positives,
            negatives=negatives,
            unknown=int(np.isnan(labels[:, k]).sum()),
            f1=float(f1[k]),
            sensitivity=float(found[k]),
            specificity=float(left[k]),
            note=category_note(positives, negatives, *ill),
            delong=_defined(delong[k]) if delong else None,
        )
    return results


def _defined(found: DeLongAUROC) -> Interval | None:
    return None if isnan(found.low) else (found.low, found.high)


def category_note(positives: int, negatives: int, patients: int, unknown: int) -> str:
    """Why a category's AUROC is missing, or rests on few; empty otherwise.

    Args:
        positives: images.
        negatives: images.
        patients: of how many the positives are.
        unknown: positives whose patient is unknown.
    """
    minimum = metrics.MINIMUM_FOR_AUROC
    short = [
        f"{count} {side if count == 1 else side + 's'}"
        for count, side in ((positives, "positive"), (negatives, "negative"))
        if count < minimum
    ]
    if short:
        return f"no AUROC: {' and '.join(short)}, at least {minimum} of each are needed"
    if patients + unknown < FEW:
        people = people_told(patients, unknown)
        return f"positives from {people} only: few to go by"
    return ""


def evaluation_notes(
    results: dict[str, CategoryResult],
    abnormal: FloatArray,
    people: int,
    unknown: int,
    counted: str,
) -> tuple[str, ...]:
    """What a reader has to know of an evaluation's figures and intervals.

    Args:
        results: of each category.
        abnormal: 1 for an abnormal image, 0 for a normal one, NaN for the rest, ``(n,)``.
        people: patients, each image of an unknown one among them.
        unknown: images whose patient is unknown.
        counted: what was done with patients for the intervals, such as ``resampled``; empty
            without intervals.
    """
    notes = []
    missing = [name for name, one in results.items() if isnan(one.auroc)]
    if missing:
        notes.append(
            f"No AUROC for {', '.join(missing)}: fewer than two positives or two negatives. "
            "The mean is over the other categories."
        )
    left_out = int(np.isnan(abnormal).sum())
    if left_out:
        notes.append(
            f"{left_out} of {abnormal.size} images are neither declared normal nor have a "
            "positive label: they are left out of protocol 1."
        )
    normal, ill = int((abnormal == 0).sum()), int((abnormal == 1).sum())
    if min(normal, ill) < metrics.MINIMUM_FOR_AUROC:
        notes.append(
            f"No image AUROC: {normal} normal and {ill} abnormal images, at least two of each "
            "are needed."
        )
    if counted and unknown:
        which = "Patients are" if unknown == abnormal.size else f"Of {unknown} images patients are"
        notes.append(
            f"{which} unknown: images were {counted} instead, and intervals are too narrow where "
            "patients have several."
        )
    if counted and people < 2:
        notes.append(
            f"No intervals: there is nothing but {people_told(people - unknown, unknown)}."
        )
    return tuple(notes)


def _number(value: float) -> float | None:
    return None if isnan(value) else float(value)


def _ends(interval: Interval) -> list[float | None]:
    return [_number(end) for end in interval]
