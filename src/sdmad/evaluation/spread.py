"""How a metric varies with patients and with draws, and the reach of its interval.

A metric is the mean of its parts, a figure a category or just one, over one or more draws of the
support set. Its variance over patients comes of those of its parts
(:mod:`sdmad.evaluation.limits`) and of the correlations that resampling shows. Over several draws
Student's reach of the draws and the patients' are added as squares, each side for itself: MOVER,
the method of variance estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008). What
patients and draws do together is in both, and is taken out of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sdmad.evaluation.checks import BoolArray, FloatArray
from sdmad.evaluation.limits import Basis, Interval, Whole, student


@dataclass(frozen=True, eq=False)
class Spread:
    """One metric of one system, or of one less another, on one or more draws.

    Attributes:
        points: of each of m parts on each of D draws, ``(m, D)``; NaN where it has none.
        values: the same on resampled patients, the same ones in every draw, ``(m, D, R)``.
        bases: what each part rests on.
    """

    points: FloatArray
    values: FloatArray
    bases: tuple[Basis, ...]

    @cached_property
    def of_draws(self) -> FloatArray:
        """The metric on each draw, ``(D,)``: the mean of the parts that it has there."""
        return _mean(self.points, 0)

    @cached_property
    def mean(self) -> float:
        """Over the draws that have a value; NaN where none has."""
        return float(_mean(self.of_draws, 0))

    @cached_property
    def deviation(self) -> float:
        """Over the draws, divisor: draws less one; NaN for one."""
        known = self.of_draws[~np.isnan(self.of_draws)]
        return float(known.std(ddof=1)) if known.size > 1 else float("nan")

    @property
    def draws_reach(self) -> float:
        """How far the mean may be off for want of draws; 0 for one."""
        count = int((~np.isnan(self.of_draws)).sum())
        return student(count - 1) * self.deviation / count**0.5 if count > 1 else 0.0

    def interval(self, draws: bool = True) -> Interval:
        """95%, of patients and of draws together unless these are left as they are.

        Returns:
            Lower and upper end, cut to 0 and 1; NaN where nothing was resampled.
        """
        down, up = self._patients_reaches()
        if draws and self.draws_reach > 0:
            own, moved = self._patients_alone, self.draws_reach
            down, up = (float(np.hypot(moved, own * reach)) for reach in (down, up))
        return max(self.mean - down, 0.0), min(self.mean + up, 1.0)

    def difference_interval(self) -> Interval:
        """95%, of one system less another: symmetric, Student's t, cut to -1 and 1.

        Returns:
            Lower and upper end; NaN where nothing was resampled, or neither patients nor draws move
            the difference: as few as these tell nothing of others.
        """
        reach = self._difference_reach()
        if self.draws_reach > 0:
            reach = float(np.hypot(self.draws_reach, self._patients_alone * reach))
        elif reach == 0:
            return float("nan"), float("nan")
        return max(self.mean - reach, -1.0), min(self.mean + reach, 1.0)

    def part(self, number: int) -> Spread:
        """One of the parts as a metric of its own."""
        one = slice(number, number + 1)
        return Spread(self.points[one], self.values[one], self.bases[one])

    @property
    def _resampled(self) -> bool:
        return self.values.shape[2] > 1 and not np.isnan(self.mean)

    @property
    def _there(self) -> BoolArray:
        """Which parts have a value on any draw, ``(m,)``."""
        return np.asarray((~np.isnan(self.points)).any(axis=1))

    @cached_property
    def _known(self) -> tuple[FloatArray, FloatArray, list[Basis]]:
        """Parts that have a value: the mean over the draws, by resamples ``(m, R)``, and bases."""
        there = self._there
        bases = [basis for basis, kept in zip(self.bases, there, strict=True) if kept]
        return _mean(self.points[there], 1), _mean(self.values[there], 1), bases

    @cached_property
    def _variances(self) -> FloatArray:
        """Of each known part over patients, ``(m,)``; NaN where resampling gives none."""
        return _variance(self._known[1])

    @cached_property
    def _correlations(self) -> FloatArray:
        """Of the known parts over patients, ``(m, m)``; 0 with one that does not vary."""
        values, whole = self._known[1], self._known[0]
        off = np.where(np.isnan(values), whole[:, None], values) - whole[:, None]
        off -= off.mean(axis=1, keepdims=True)
        length = np.sqrt((off**2).sum(axis=1, keepdims=True))
        off = np.divide(off, length, out=np.zeros_like(off), where=length > 0)
        found = off @ off.T
        np.fill_diagonal(found, 1.0)
        return found

    @cached_property
    def _gains(self) -> FloatArray:
        """Variance of the mean over draws over that of a single draw, of each known part."""
        single = _mean(_variance(self.values[self._there]), 1)
        sure = (single > 0) & ~np.isnan(self._variances)
        return np.where(sure, self._variances / np.where(sure, single, 1), 1.0)

    @cached_property
    def _patients_alone(self) -> float:
        """Share of the patients' reach that is not of patients and draws together."""
        filled = np.where(np.isnan(self.values), self.points[:, :, None], self.values)
        by_draw = _mean(filled, 0)
        count = len(by_draw)
        each, both = float(_mean(_variance(by_draw), 0)), float(_variance(_mean(by_draw, 0)))
        if not both > 0:
            return 1.0
        together = (each - both) / (count - 1)
        return float(np.sqrt(np.clip(1 - together / both, 0, 1)))

    def _patients_reaches(self) -> Interval:
        if not self._resampled:
            return float("nan"), float("nan")
        means, _, bases = self._known
        low, high = mean_interval(bases, means, self._variances, self._correlations, self._gains)
        mean = float(means.mean())
        return mean - low, high - mean

    def _difference_reach(self) -> float:
        if not self._resampled:
            return float("nan")
        variances = np.nan_to_num(self._variances)
        if not variances.any():
            return 0.0
        freedoms = np.array([max(1, basis.fewer - 1) for basis in self._known[2]])
        freedom = variances.sum() ** 2 / (variances**2 / freedoms).sum()
        return student(freedom) * _of_mean(variances, self._correlations) ** 0.5


def mean_interval(
    bases: Sequence[Basis],
    values: FloatArray,
    variances: FloatArray,
    correlations: FloatArray,
    gains: FloatArray,
) -> Interval:
    """95% of the mean of m parts over patients.

    Args:
        bases: what each part rests on.
        values: of each, ``(m,)``.
        variances: of each over patients as the data show them, ``(m,)``; NaN where they do not.
        correlations: of the parts over patients, ``(m, m)``; 0 with one that does not vary.
        gains: of each, its variance as a mean over draws over that of one draw, ``(m,)``.
    """
    whole = Whole(float(values.mean()), sum(basis.fewer for basis in bases))
    parts = zip(bases, values, variances, gains, strict=True)
    own = [
        basis.variance(float(mean), float(of), whole, float(gain))
        for basis, mean, of, gain in parts
    ]
    return whole.interval(_of_mean(np.array(own), correlations), bases[0].quantile)


def _of_mean(variances: FloatArray, correlations: FloatArray) -> float:
    """Variance of the mean of parts of these variances ``(m,)``."""
    deviations = np.sqrt(variances)
    total = float(deviations @ correlations @ deviations)
    return max(0.0, total) / len(deviations) ** 2


def difference(a: Spread, b: Spread) -> Spread:
    """System a less system b on the same patients and draws."""
    bases = tuple(
        one if one.fewer <= other.fewer else other
        for one, other in zip(a.bases, b.bases, strict=True)
    )
    return Spread(a.points - b.points, a.values - b.values, bases)


def joint_basis(bases: Sequence[Basis]) -> Basis:
    """What a part rests on over several draws, whose judged patients differ a little."""
    counts = np.mean([basis.patients for basis in bases], axis=0)
    flat = all(basis.flat for basis in bases)
    return Basis(bases[0].kind, tuple(round(float(count)) for count in counts), flat)


def _mean(values: FloatArray, axis: int) -> FloatArray:
    """Along an axis, NaN left out; NaN where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)


def _variance(values: FloatArray) -> FloatArray:
    """Along the last axis, NaN left out; NaN where fewer than two are left."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    off = np.where(known, values - _mean(values, -1)[..., None], 0)
    found = (off**2).sum(axis=-1)
    return np.where(count > 1, found / np.where(count > 1, count - 1, 1), np.nan)
