"""Do answers keep the error rate that was asked for?"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.limits import Basis
from sdmad.evaluation.resampling import patient_index, ratio, resample_weights
from sdmad.evaluation.spread import Spread


@dataclass(frozen=True)
class AnswerRates:
    """How answers came out, over images with a finding or without.

    Attributes:
        count: answers.
        wrong: share that says the contrary.
        interval: of it, 95%, over patients; NaN with fewer than two.
        unsure: share that leaves it open.
    """

    count: int
    wrong: float
    interval: tuple[float, float]
    unsure: float


def answer_rates(
    answers: NDArray[np.int8],
    labels: FloatArray,
    patients: Sequence[Hashable],
    present: bool,
    resamples: int = 1000,
    seed: int = 0,
) -> AnswerRates:
    """Hold answers to the labels.

    Args:
        answers: 1 yes, 0 no, -1 unsure, ``(n, K)``.
        labels: 1, 0 or NaN, ``(n, K)``; unknown ones count neither way.
        patients: of each image.
        present: whether images with a finding count, or images without.
        resamples: of the bootstrap over patients.
        seed: same seed, same interval.
    """
    asked = labels == (1 if present else 0)
    wrong = asked & (answers == (0 if present else 1))
    (patient,), people = patient_index(patients)
    sums = np.zeros((2, people))
    for total, cells in zip(sums, (wrong, asked), strict=True):
        np.add.at(total, patient, cells.sum(axis=1))
    rng = np.random.default_rng(seed)
    drawn = [
        ratio(*(sums @ weights))
        for weights in resample_weights(people, resamples if people > 1 else 0, rng)
    ]
    values = np.concatenate(drawn) if drawn else np.zeros(0)
    basis = Basis("share", (int((sums[1] > 0).sum()),))
    rate = Spread(ratio(*sums.sum(axis=1)).reshape(1, 1), values[None, None], (basis,))
    count = int(asked.sum())
    unsure = float((asked & (answers == -1)).sum() / count) if count else float("nan")
    return AnswerRates(count, rate.mean, rate.interval(), unsure)
