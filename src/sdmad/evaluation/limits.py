"""Limits of a metric between 0 and 1: where it would lie with all patients there are, at 95%.

The percentiles of a bootstrap cover too seldom where a metric is near 1 or few patients decide it.
So resampling patients gives variances alone. A metric's variance says of how many patients it is
worth a plain share, and such a share has Wilson's score interval (Journal of the American
Statistical Association 22, 1927; with a size so found: Kish 1965), which stays between 0 and 1 and
is never a point. Where few patients can tell the variance, something is added:

- to an AUROC's that of Hanley and McNeil (Radiology 143, 1982), which rests on the AUROC and the
  numbers of patients alone: it counts as if one misranked patient had shown it, and that of
  resampling as if those had that were misranked;
- a share without an error, or without anything right, is worth as many as its patients;
- with pixels, Student's t.

What all this covers stands in ``docs/coverage.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan, sqrt
from typing import Literal

from scipy import special

LEVEL = 0.95
"""Coverage of every interval."""

FEW = 15
"""Patients with a positive image below which a category's AUROC is said to rest on few."""

SHRUNK = 0.25
"""Patients that are added at either end of a metric where variances are taken."""

MODEL = 1
"""Patients as which a variance by formula counts: of an AUROC misranked ones."""

TAIL = (1 + LEVEL) / 2
NORMAL = float(special.ndtri(TAIL))

Interval = tuple[float, float]


@dataclass(frozen=True)
class Basis:
    """What a figure rests on.

    Attributes:
        kind: of figure; a share may be an F1.
        patients: who count in it; of an AUROC those with a positive image and those with a
            negative one, of pixels those with abnormal and those with normal ones.
        flat: whether the scores behind an AUROC are all the same, and so is its every sample.
    """

    kind: Literal["auroc", "share", "pixels"]
    patients: tuple[int, ...]
    flat: bool = False

    @property
    def fewer(self) -> int:
        """Patients of the side that has fewer, at least one."""
        return max(1, min(self.patients))

    @property
    def quantile(self) -> float:
        """Of the figure's errors, in deviations."""
        return student(max(1, self.fewer - 1)) if self.kind == "pixels" else NORMAL

    def variance(self, value: float, resampled: float, whole: Whole, gain: float = 1.0) -> float:
        """The variance of a figure over patients, as at :attr:`Whole.shrunk`.

        Args:
            value: the figure, 0 to 1.
            resampled: its variance by resampling; NaN where that gives none.
            whole: the metric that it is a part of.
            gain: of the mean over draws: its variance over that of one draw.
        """
        few, about = self.fewer, whole.shrunk
        if self.kind == "auroc":
            if self.flat:
                return 0.0  # scores that tell no image from another
            model = gain * hanley_mcneil(about, *self.patients)
            misranked = 0.0 if isnan(resampled) else few * min(value, 1 - value)
            seen = misranked * resampled if misranked else 0.0
            return (seen + MODEL * model) / (misranked + MODEL)
        if not resampled > 0:
            return about * (1 - about) / few
        stretch = about * (1 - about) / (whole.value * (1 - whole.value))
        return resampled * stretch


@dataclass(frozen=True)
class Whole:
    """A metric, the mean of one or more figures.

    Attributes:
        value: 0 to 1.
        patients: behind its figures together, of the side that has fewer.
    """

    value: float
    patients: int

    @property
    def shrunk(self) -> float:
        """A little nearer to .5; what variances are taken at."""
        return (self.value * self.patients + SHRUNK) / (self.patients + 2 * SHRUNK)

    def interval(self, variance: float, quantile: float = NORMAL) -> Interval:
        """95%.

        Args:
            variance: as at :attr:`shrunk`.
            quantile: of its errors, in deviations.
        """
        spread = self.shrunk * (1 - self.shrunk)
        return score_interval(self.value, spread / variance if variance > 0 else inf, quantile)


def hanley_mcneil(auroc: float, *patients: int) -> float:
    """The variance of an AUROC between 0 and 1 that scores of a usual kind would give it.

    The formula is one of positives whose scores spread more than the negatives'. The side that has
    fewer patients is taken for them, and an AUROC below .5 for that of scores turned round: this
    makes the variance the larger one.

    Args:
        auroc: between 0 and 1.
        patients: of either side.
    """
    fewer, more = sorted(patients)
    auroc = max(auroc, 1 - auroc)
    of_more = auroc / (2 - auroc) - auroc**2
    of_fewer = 2 * auroc**2 / (1 + auroc) - auroc**2
    spread = auroc * (1 - auroc) + (fewer - 1) * of_more + (more - 1) * of_fewer
    return spread / (fewer * more)


def student(freedom: float) -> float:
    """Quantile of Student's t that 95% lie within, with degrees of freedom."""
    return float(special.stdtrit(freedom, TAIL))


def score_interval(value: float, worth: float, quantile: float = NORMAL) -> Interval:
    """Wilson's 95% interval of a share.

    >>> low, high = score_interval(0.9, 50)
    >>> round(low, 3), round(high, 3)
    (0.786, 0.957)

    Args:
        value: the share, 0 to 1.
        worth: of how many, above 0; not necessarily whole, perhaps infinite.
        quantile: of the errors, in deviations.
    """
    if worth == inf:
        return value, value
    centre = value + quantile**2 / (2 * worth)
    reach = quantile * sqrt(value * (1 - value) / worth + quantile**2 / (4 * worth**2))
    whole = 1 + quantile**2 / worth
    low, high = (centre - reach) / whole, (centre + reach) / whole
    return max(0.0, min(value, low)), min(1.0, max(value, high))  # which rounding may miss
