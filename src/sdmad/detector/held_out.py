"""What fits said of support images that they did not see, and what can be told from it.

Of these scores come thresholds without another image (the rule ``support``) and answers at an error
rate that a person states: yes, no, or unsure.

Answers are Mondrian conformal (Vovk et al. 2005): of each category, patients with the finding and
patients without are calibrated apart, so that the rate holds for either. A score's fits left out a
patient and the judged image's detector did not; what that costs is measured, not proved
(docs/certainty.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError

YES, NO, UNSURE = 1, 0, -1
WORDS = {YES: "yes", NO: "no", UNSURE: "unsure"}
"""How an answer is written."""

TRUST = 4.0
"""Positives of a category at which its own threshold counts as much as that of all categories."""

ROUNDING = 1e-9

Answers = Callable[[ImageScores], NDArray[np.int8]]
"""Scores of n images to :data:`YES`, :data:`NO` or :data:`UNSURE`, ``(n, K)``."""


@dataclass(frozen=True)
class HeldOut:
    """Scores of the support images by fits that did not see their patients.

    Attributes:
        scores: log odds, ``(n, K)``.
        labels: 1, 0 or NaN, ``(n, K)``.
        patients: a number for each image, the same for images of one patient, ``(n,)``.
    """

    scores: NDArray[np.float64]
    labels: NDArray[np.float64]
    patients: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.scores.shape != self.labels.shape or len(self.patients) != len(self.scores):
            raise ValueError("scores, labels and patients held out are not of one length")

    def thresholds(self) -> NDArray[np.float64]:
        """Thresholds ``(K,)`` at which F1 is largest, drawn towards one shared by all.

        With m positive images a category's own best threshold weighs ``m / (m + 4)``.
        """
        known = ~np.isnan(self.labels)
        shared = _best_f1(self.scores[known], self.labels[known] == 1)
        found = []
        for scores, labels, told in zip(self.scores.T, self.labels.T, known.T, strict=True):
            positives = int((labels == 1).sum())
            own = _best_f1(scores[told], labels[told] == 1) if positives else shared
            weight = positives / (positives + TRUST)
            found.append(weight * own + (1 - weight) * shared)
        return np.array(found)

    def answers(self, rate: float, categories: Sequence[str]) -> Answers:
        """What answers at an error rate.

        Args:
            rate: of wrong answers among images with a finding, and among images without, in (0, 1).
            categories: names of the K categories, for messages.

        Returns:
            Yes where only the finding's presence is in keeping with the score, no where only its
            absence is, else unsure.

        Raises:
            InputError: if the rate is none, or there are too few patients for it.
        """
        if not 0 < rate < 1:
            raise InputError(f"an error rate lies between 0 and 1, got {rate!r}")
        sides = [self._extremes(k) for k in range(self.scores.shape[1])]
        needed = math.ceil(1 / rate - 1 - ROUNDING)
        lacking = [
            f"{name} ({len(present)} and {len(absent)})"
            for name, (present, absent) in zip(categories, sides, strict=True)
            if min(len(present), len(absent)) < needed
        ]
        if lacking:
            raise InputError(
                f"answers at an error rate of {rate:g} need at least {needed} patients with and "
                f"{needed} without each finding among the support images; too few have "
                f"{', '.join(lacking)}: state a larger rate or fit on more"
            )

        def answer(scored: ImageScores) -> NDArray[np.int8]:
            found = np.full(scored.scores.shape, UNSURE, np.int8)
            for k, (present, absent) in enumerate(sides):
                scores = scored.scores[:, k]
                yes = _share_beyond(present, scores) > rate + ROUNDING
                no = _share_beyond(-absent, -scores) > rate + ROUNDING
                found[yes & ~no, k], found[no & ~yes, k] = YES, NO
            return found

        return answer

    def _extremes(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each patient with a finding the lowest score, of each without the highest."""
        found = []
        for value, least in ((1, np.minimum), (0, np.maximum)):
            rows = np.flatnonzero(self.labels[:, k] == value)
            by_patient: dict[int, float] = {}
            for patient, score in zip(self.patients[rows], self.scores[rows, k], strict=True):
                by_patient[int(patient)] = float(least(by_patient.get(int(patient), score), score))
            found.append(np.array(list(by_patient.values())))
        return found[0], found[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an unknown label is None."""
        labels = [[None if math.isnan(v) else v for v in row] for row in self.labels.tolist()]
        return {
            "scores": self.scores.tolist(),
            "labels": labels,
            "patients": self.patients.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from :meth:`to_dict`'s values.

        Raises:
            ValueError: if a value is missing or of another shape.
        """
        try:
            scores = np.array(values["scores"], np.float64)
            labels = np.array(values["labels"], np.float64)
            patients = np.array(values["patients"], np.int64)
        except (KeyError, TypeError) as error:
            raise ValueError(f"scores held out: {error}") from error
        if scores.ndim != 2 or not np.isfinite(scores).all():
            raise ValueError("scores held out are no finite table")
        return cls(scores, labels, patients)


def answering(held_out: HeldOut | None, categories: Sequence[str], rate: float) -> Answers:
    """What answers scored images at an error rate.

    Args:
        held_out: of the detector or export that scores them.
        categories: its categories.
        rate: as :meth:`HeldOut.answers`.

    Raises:
        InputError: if nothing was held out, or the rate cannot be kept.
    """
    if held_out is None:
        raise InputError(
            "this model gives no answers at an error rate: they need cross-modal evidence on "
            "frozen embeddings (epochs=0), and support images of two patients at least"
        )
    return held_out.answers(rate, categories)


def _share_beyond(calibration: NDArray[np.float64], scores: NDArray[np.float64]) -> Any:
    """Conformal p-values: the share of calibration scores, the new one among them, up to it."""
    up_to = np.searchsorted(np.sort(calibration), scores, side="right")
    return (1 + up_to) / (len(calibration) + 1)


def _best_f1(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The threshold of the largest F1; of several the one nearest 0, where log odds are even."""
    if not truth.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(truth[order])
    called = np.arange(1, len(scores) + 1)
    f1 = 2 * hits / (called + truth.sum())
    below = np.append(ordered[1:], ordered[-1] - 1)
    f1[ordered == below] = -1  # equal scores are called together
    between = (ordered + below) / 2
    best = between[f1 >= f1.max() - ROUNDING]
    return float(best[np.abs(best).argmin()])
