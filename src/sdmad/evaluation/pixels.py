"""Pixel-level metrics of anomaly maps, one image at a time: AUROC, AUPRO and Dice.

The maps of a test set are never held together: :class:`PixelScores` takes one map with its mask
and keeps two :class:`~sdmad.evaluation.quantiles.ValueSummary`, of the scores of the normal and
of the abnormal pixels. It says itself how far it may be from the exact figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from sdmad.errors import InputError
from sdmad.evaluation.checks import BoolArray, FloatArray
from sdmad.evaluation.quantiles import CAPACITY, Values, ValueSummary

FPR_LIMIT = 0.3
"""False-positive rate up to which AUPRO is integrated."""

_NEIGHBOURS = np.ones((3, 3), dtype=np.int64)


class PixelScores:
    """Pixel scores of a set of images, for the metrics over all its pixels.

    Example: the threshold comes from validation images, the figures from test images.

    >>> import numpy as np
    >>> validation, truth = np.array([[0.1, 0.2], [0.7, 0.9]]), np.array([[0, 0], [1, 1]])
    >>> threshold, _ = PixelScores().add(validation, truth).best_dice()
    >>> test = PixelScores(threshold).add(np.array([[0.1, 0.8], [0.6, 0.9]]), truth)
    >>> test.auroc(), test.aupro(), test.dice_at(threshold)
    (0.75, 0.5, 0.5)

    Args:
        threshold: a threshold whose Dice is counted exactly; any other is read off the summary.
        capacity: entries of a summary, see :class:`~sdmad.evaluation.quantiles.ValueSummary`.

    Attributes:
        images: how many images were added.
        regions: connected abnormal regions in them.
        normal: scores of the normal pixels, each of mass 1.
        abnormal: scores of the abnormal pixels with two masses: 1, and the pixel's share of its
            region.
    """

    def __init__(self, threshold: float | None = None, capacity: int = CAPACITY) -> None:
        self.threshold = threshold
        self.images = self.regions = 0
        self._found = self._called = 0
        self.normal = ValueSummary(1, capacity)
        self.abnormal = ValueSummary(2, capacity)

    def add(self, anomaly_map: ArrayLike, mask: ArrayLike) -> PixelScores:
        """Add one image.

        Args:
            anomaly_map: shape ``(H, W)``, finite; larger means more abnormal. Kept in float32 or
                float64 as it comes. Maps of one set have to be on one scale: a map that was
                stretched to [0, 1] by itself cannot be compared with another.
            mask: shape ``(H, W)``, 1 or True where the image is abnormal; nothing is set for a
                normal image.

        Returns:
            Itself.

        Raises:
            InputError: if a shape or a value does not fit.
        """
        scores = self._checked(anomaly_map)
        truth = self._checked_mask(mask, scores.shape)
        self.normal.add(scores[~truth])
        inside = scores[truth]
        if inside.size:
            region, regions = ndimage.label(truth, _NEIGHBOURS)
            number = region[truth]
            share = 1 / np.bincount(number)[number]
            self.abnormal.add(inside, np.stack([np.ones(inside.size), share], axis=1))
            self.regions += regions
        if self.threshold is not None:
            self._called += int((scores > np.float64(self.threshold)).sum())
            self._found += int((inside > np.float64(self.threshold)).sum())
        self.images += 1
        return self

    def _checked(self, anomaly_map: ArrayLike) -> Values:
        name = f"anomaly map {self.images} (counted from 0)"
        scores = np.asarray(anomaly_map)
        if scores.dtype not in (np.float32, np.float64):
            scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
        if scores.ndim != 2:
            raise InputError(f"{name}: expected shape (height, width), got {scores.shape}")
        wrong = int(scores.size - np.isfinite(scores).sum())
        if wrong:
            raise InputError(f"{name}: {wrong} of {scores.size} values are not finite")
        return scores

    def _checked_mask(self, mask: ArrayLike, shape: tuple[int, ...]) -> BoolArray:
        name = f"mask {self.images} (counted from 0)"
        truth = np.asarray(mask)
        if truth.shape != shape:
            raise InputError(f"{name}: expected the shape of its map {shape}, got {truth.shape}")
        if truth.dtype != np.bool_ and not np.isin(truth, (0, 1)).all():
            raise InputError(f"{name}: expected 1 and 0 only; give `mask > 0` for other values")
        return truth.astype(np.bool_)

    def merge(self, other: PixelScores) -> PixelScores:
        """Add every image of another set.

        Args:
            other: pixel scores with the same threshold; they keep their content.

        Returns:
            Itself.

        Raises:
            InputError: if the thresholds differ.
        """
        if self.threshold != other.threshold:
            raise InputError(
                f"pixel scores with the thresholds {self.threshold} and {other.threshold} "
                "cannot be merged: their Dice is counted at one threshold"
            )
        self.normal.merge(other.normal)
        self.abnormal.merge(other.abnormal)
        self.images += other.images
        self.regions += other.regions
        self._found += other._found
        self._called += other._called
        return self

    @property
    def pixels(self) -> tuple[int, int]:
        """Number of normal and of abnormal pixels."""
        return int(self.normal.total[0]), int(self.abnormal.total[0])

    def auroc(self) -> float:
        """AUROC of abnormal against normal pixels over all images, normal images included.

        A tie counts one half, as in scikit-learn's ``roc_auc_score``.

        Returns:
            Between 0 and 1; NaN without an abnormal or without a normal pixel.
        """
        return self._area(1.0, column=0)

    def aupro(self, limit: float = FPR_LIMIT) -> float:
        """Area under the per-region overlap (PRO) against the false-positive rate.

        At a threshold the overlap of a region, a set of abnormal pixels of one mask connected by
        an edge or a corner (8-connectivity), is the share of its pixels that are called; PRO is
        its mean over the regions of all images, each counted equally whatever its size. The
        false-positive rate is over the normal pixels of all images. PRO is integrated up to the
        rate ``limit``, linearly between the thresholds that occur, and divided by ``limit``.
        Source: Bergmann et al., The MVTec anomaly detection dataset, Int. J. Comput. Vis. 129
        (2021), section 5.1, and Uninformed students, CVPR 2020, for the limit 0.3.

        Args:
            limit: in (0, 1].

        Returns:
            Between 0 and 1; NaN without an abnormal or without a normal pixel.

        Raises:
            InputError: if the limit is not in (0, 1].
        """
        if not 0 < limit <= 1:
            raise InputError(f"AUPRO: expected a limit in (0, 1], got {limit}")
        return self._area(limit, column=1)

    def error(self, limit: float = FPR_LIMIT) -> float:
        """The most by which :meth:`auroc` and :meth:`aupro` may differ from the exact figure.

        With ``e`` and ``g`` the shares of the normal pixels and of the abnormal mass that the
        summaries may count on the wrong side of a value, the area up to a rate ``L`` divided by
        ``L`` is right to ``e / L + g``. It is 0 for sets of up to a million distinct scores, and
        below 1e-4 for 10,000 images of 240 x 240, whatever their scores.

        Args:
            limit: the limit of AUPRO.
        """
        if 0 in self.pixels:
            return 0.0
        normal = float(self.normal.error()[0] / self.normal.total[0])
        return normal / limit + float((self.abnormal.error() / self.abnormal.total).max())

    def best_dice(self) -> tuple[float, float]:
        """The threshold of the best Dice over all pixels; for validation images only.

        Returns:
            The threshold, above which a pixel is called abnormal, and the Dice there; NaN
            without an abnormal pixel.
        """
        best, threshold = float("nan"), float("nan")
        for values, _ in self.abnormal.entries():
            dice = self._dice(
                self.abnormal.above(values, inclusive=True)[:, 0],
                self.normal.above(values, inclusive=True)[:, 0],
            )
            place = int(dice.argmax())
            if not dice[place] <= best:  # also where there is no best yet
                best = float(dice[place])
                threshold = float(np.nextafter(values[place], values.dtype.type(-np.inf)))
        return threshold, best

    def dice_at(self, threshold: float) -> float:
        """Dice over all pixels of all images, those above the threshold being called abnormal.

        ``2 TP / (2 TP + FP + FN)``. Exact at the threshold that was given at the start; read off
        the summaries at any other.

        Args:
            threshold: for instance from :meth:`best_dice` of the validation images.

        Returns:
            Between 0 and 1; NaN without an abnormal pixel.
        """
        if not self.abnormal.total[0]:
            return float("nan")
        if threshold == self.threshold:
            found, wrong = np.array([self._found]), np.array([self._called - self._found])
        else:
            point = np.array([threshold])
            found, wrong = self.abnormal.above(point)[:, 0], self.normal.above(point)[:, 0]
        return float(self._dice(found, wrong)[0])

    def _dice(self, found: FloatArray, wrong: FloatArray) -> FloatArray:
        return 2 * found / (found + wrong + self.abnormal.total[0])

    def _area(self, limit: float, column: int) -> float:
        """Area under the share of an abnormal mass against the rate, up to a limit, over it.

        A score with the mass w, at which the rate goes from a to b, adds w times the mean of
        ``max(limit - rate, 0)`` over a to b: a tie is a slanted piece of the curve.
        """
        if 0 in self.pixels:
            return float("nan")
        normal, area = self.normal.total[0], 0.0
        for values, masses in self.abnormal.entries():
            before = limit - self.normal.above(values)[:, 0] / normal
            after = limit - self.normal.above(values, inclusive=True)[:, 0] / normal
            area += float(masses[:, column] @ mean_left(before, after))
        return area / (limit * float(self.abnormal.total[column]))

    def dice_counts(self) -> tuple[int, int, int]:
        """Abnormal pixels that are called, called pixels and abnormal pixels, at the threshold.

        Raises:
            InputError: if no threshold was given at the start.
        """
        if self.threshold is None:
            raise InputError("pixel scores without a threshold have no Dice counts")
        return self._found, self._called, self.pixels[1]


def mean_left(before: FloatArray, after: FloatArray) -> FloatArray:
    """Mean of ``max(x, 0)`` for x between two ends.

    Args:
        before: upper ends, any shape.
        after: lower ends, the same shape, not above the upper ones.

    >>> mean_left(np.array([0.3, 0.1, -0.1]), np.array([0.1, -0.1, -0.2]))
    array([0.2  , 0.025, 0.   ])
    """
    crossing = (before > 0) & (after < 0)
    gap = np.where(crossing, before - after, 1)
    inside = np.maximum(before, 0) + np.maximum(after, 0)
    return np.where(crossing, before**2 / gap, inside) / 2
