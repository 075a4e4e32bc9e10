"""Every metric under the patient weights of a bootstrap, for many resamples at once.

A resample draws as many patients as there are, with replacement; all images of a patient come
along, as often as the patient was drawn. Only the multiplicities matter, so a resample is a
vector of weights:

- decisions: the counts of a patient are added up beforehand, a resample is a matrix product;
- AUROC: the scores are sorted once. With ``u_1 < u_2 < ...`` the distinct scores of the
  positives, a negative below ``u_g`` counts 1 for it and a tie counts 1/2, so a sparse matrix
  (score step by patient) times the weights, summed up along the steps, gives the exact weighted
  rank sum (the Mann-Whitney form of the area under the ROC curve).
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.evaluation.limits import Basis
from sdmad.evaluation.metrics import MINIMUM_FOR_AUROC
from sdmad.progress import track

IntArray = NDArray[np.int64]
Each = Callable[
    [Callable[["WeightedAUROC"], FloatArray], Iterable["WeightedAUROC"]], Iterable[FloatArray]
]
"""``map``, or that of a pool of threads."""

_CHUNK_BYTES = 16_000_000
_CHUNK_RESAMPLES = 64


class WeightedAUROC:
    """AUROC of one category under any number of patient weights.

    Args:
        labels: shape ``(n,)``, 1, 0 or NaN.
        scores: shape ``(n,)``.
        patient: index of each image's patient, shape ``(n,)``.
        patients: number of patients ``P``.

    Attributes:
        basis: patients with a positive, and with a negative image, and whether scores differ.
    """

    def __init__(self, labels: FloatArray, scores: FloatArray, patient: IntArray, patients: int):
        few, many = labels == 1, labels == 0
        of_few, of_many = (
            np.bincount(patient[side], minlength=patients).astype(np.float64)
            for side in (few, many)
        )
        sides = tuple(int(np.count_nonzero(side)) for side in (of_few, of_many))
        self.basis = Basis("auroc", sides, np.unique(scores[few | many]).size == 1)
        if few.sum() > many.sum():  # fewer steps: the AUROC is the same with both sides swapped
            few, many, of_few, of_many, scores = many, few, of_many, of_few, -scores
        steps, step = np.unique(scores[few], return_inverse=True)
        low = np.searchsorted(steps, scores[many], side="left")
        high = np.searchsorted(steps, scores[many], side="right")
        row, column = np.concatenate([low, high]), np.tile(patient[many], 2)
        inside = row < steps.size
        shape = (steps.size, patients)
        self._below = _sums(row[inside], column[inside], shape, 0.5)
        self._at = _sums(step, patient[few], shape)
        self._few, self._many = of_few, of_many

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Compute the AUROC of each resample.

        Args:
            weights: how often each patient was drawn, shape ``(P, R)``.

        Returns:
            Shape ``(R,)``; NaN where fewer than two positives or two negatives were drawn.
        """
        few, many = self._few @ weights, self._many @ weights
        below = self._below @ weights
        np.cumsum(below, axis=0, out=below)
        below *= self._at @ weights
        defined = np.minimum(few, many) >= MINIMUM_FOR_AUROC
        return np.where(defined, below.sum(axis=0) / np.where(defined, few * many, 1), np.nan)


class ResampledMetrics:
    """Every metric of one system's output under any number of patient weights.

    A metric is the mean of its parts: of a figure a category, or of one.

    Args:
        scored: the images and the system's output.
        patient: index of each image's patient, shape ``(n,)``.
        patients: number of patients ``P``.

    Attributes:
        bases: what each part of each of :data:`.SUMMARY_METRICS` rests on.
    """

    def __init__(self, scored: LabelledScores, patient: IntArray, patients: int) -> None:
        self._auroc = [
            WeightedAUROC(scored.labels[:, k], scored.scores[:, k], patient, patients)
            for k in range(scored.labels.shape[1])
        ]
        self._auroc.append(WeightedAUROC(scored.abnormal, scored.abnormality, patient, patients))
        present, absent = scored.labels == 1, scored.labels == 0
        called, known = scored.decisions, ~np.isnan(scored.labels)
        right = ~(known & (called != present)).any(axis=1, keepdims=True)
        row_known = known.any(axis=1, keepdims=True)
        columns = [present & called, absent & called, present & ~called, absent & ~called]
        table = np.concatenate([*columns, right & row_known, row_known], axis=1)
        gather = _sums(patient, np.arange(patient.size), (patients, patient.size))
        self._counts = np.asarray(gather @ table.astype(np.float64)).T
        self.bases = self._rests_on()
        self._without = np.isnan(self._aurocs(np.ones((patients, 1)), map)[:, 0])

    def __call__(self, weights: FloatArray, each: Each) -> dict[str, FloatArray]:
        """Compute every part of each metric of each resample.

        Args:
            weights: how often each patient was drawn, shape ``(P, R)``.
            each: applies a function to every category, in order.

        Returns:
            Each of :data:`.SUMMARY_METRICS`, a row a part, ``(K, R)`` or ``(1, R)``; NaN where it
            has no value.
        """
        auroc = self._aurocs(weights, each)
        auroc[self._without] = np.nan
        counts = self._counts @ weights
        found, false_alarm, missed, left = np.split(counts[:-2], 4)
        f1 = ratio(2 * found, 2 * found + false_alarm + missed)
        right = (found + left).sum(axis=0, keepdims=True)
        return {
            "mean_auroc": auroc[:-1],
            "image_auroc": auroc[-1:],
            "hamming_score": ratio(right, counts[:-2].sum(axis=0, keepdims=True)),
            "subset_accuracy": ratio(counts[-2:-1], counts[-1:]),
            "macro_f1": np.where(found + missed > 0, f1, np.nan),
            "sensitivity": ratio(found, found + missed),
            "specificity": ratio(left, left + false_alarm),
        }

    def _aurocs(self, weights: FloatArray, each: Each) -> FloatArray:
        """AUROC of each category and, last, of normal against abnormal; ``(K + 1, R)``."""
        return np.stack(list(each(lambda one: one(weights), self._auroc)))

    def _rests_on(self) -> dict[str, tuple[Basis, ...]]:
        found, false_alarm, missed, left = np.split(self._counts[:-2], 4)
        aurocs = [one.basis for one in self._auroc]
        return {
            "mean_auroc": tuple(aurocs[:-1]),
            "image_auroc": (aurocs[-1],),
            "hamming_score": _shares(self._counts[:-2].sum(axis=0, keepdims=True)),
            "subset_accuracy": _shares(self._counts[-1:]),
            "macro_f1": _shares(found + missed + false_alarm),
            "sensitivity": _shares(found + missed),
            "specificity": _shares(left + false_alarm),
        }


def _sums(
    row: IntArray, column: IntArray, shape: tuple[int, int], weight: float = 1.0
) -> sparse.csr_matrix:
    """What sums entries of some columns into rows, each with a weight: a matrix of that shape."""
    order = np.argsort(row, kind="stable")
    ends = np.bincount(row, minlength=shape[0]).cumsum()
    starts = np.concatenate([np.zeros(1, ends.dtype), ends])
    return sparse.csr_matrix((np.full(row.size, weight), column[order], starts), shape=shape)


def _shares(counts: FloatArray) -> tuple[Basis, ...]:
    """The patients who have anything that counts: of each part and patient how much, ``(m, P)``."""
    return tuple(Basis("share", (int(row.astype(bool).sum()),)) for row in counts)


def ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Divide; NaN where the whole is 0.

    Args:
        part: any shape.
        whole: the same shape, 0 or more.
    """
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def patient_index(*rows: Sequence[Hashable]) -> tuple[list[IntArray], int]:
    """Number the patients of one or more tables in common.

    Args:
        rows: the patient of each image, one sequence a table.

    Returns:
        For each table the index of each image's patient, and the number of patients.
    """
    number: dict[Hashable, int] = {}
    tables = [
        np.array([number.setdefault(p, len(number)) for p in table], dtype=np.int64)
        for table in rows
    ]
    return tables, len(number)


def resample_weights(
    patients: int, resamples: int, rng: np.random.Generator, progress: str | None = None
) -> Iterator[FloatArray]:
    """Draw patients with replacement, in chunks that bound the memory.

    Args:
        patients: number of patients ``P``.
        resamples: number of resamples.
        rng: source of the draws; the draws do not depend on the size of a chunk.
        progress: what to call the work on a progress bar; none when not given.

    Yields:
        How often each patient was drawn, shape ``(P, R)``, R at most a chunk.
    """
    chunk = max(1, min(_CHUNK_RESAMPLES, _CHUNK_BYTES // (8 * patients)))
    for start in track(range(0, resamples, chunk), progress):
        size = min(chunk, resamples - start)
        draws = [rng.integers(0, patients, patients) for _ in range(size)]
        rows = [np.bincount(draw, minlength=patients) for draw in draws]
        yield np.ascontiguousarray(np.stack(rows).T, dtype=np.float64)
