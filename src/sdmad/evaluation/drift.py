"""Has an archive changed? Scores and shares of a period beside those of a reference.

Every category's scores are held to the reference's by the distance of Kolmogorov and Smirnov, every
share (of findings, of unfamiliar images) by Fisher's exact test, of many images by chi-squared with
Yates' correction. A period alarms where one of its m tests is sure at the stated rate over m
(Bonferroni): **a period in which nothing changed alarms with a chance of the rate at most**,
whatever the categories have to do with each other. It alarms only where the change is of a size
that matters, too, or every period of a large archive would.

Images count as independent. Where patients have several, alarms come more often than stated, and
intervals are too narrow (``docs/coverage.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from sdmad.errors import InputError
from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.delong import delong_auroc
from sdmad.evaluation.limits import Interval, score_interval

RATE = 0.01
"""Chance of a false alarm a period, at most."""

LEAST_DISTANCE = 0.05
"""Of two distributions of scores, below which a change does not matter."""

LEAST_SHARE = 0.01
"""Change of a share that matters."""

FEWEST = 30
"""Images below which a period is not judged."""

EXACT = 20_000
"""Images up to which shares are compared exactly."""


@dataclass(frozen=True)
class Sample:
    """Images of a period.

    Attributes:
        scores: of each of K categories those of n images, ``(n,)``.
        found: images in which each category was found, K of them.
        unfamiliar: images unlike those of the fit.
        images: n.
    """

    scores: Sequence[FloatArray]
    found: Sequence[int]
    unfamiliar: int
    images: int


@dataclass(frozen=True)
class Change:
    """What one test found.

    Attributes:
        what: ``scores``, ``findings`` or ``unfamiliar``.
        category: its name; "" of unfamiliar images.
        before: of the reference: the median score, or the share.
        after: of the period.
        interval: 95% of the share; of scores that of `above`.
        above: how often a score of the period lies above one of the reference; None of a share.
        size: the distance of the distributions, or the change of the share without its sign.
        p: of the test.
        alarm: whether it is sure at this rate, and large enough.
    """

    what: Literal["scores", "findings", "unfamiliar"]
    category: str
    before: float
    after: float
    interval: Interval
    above: float | None
    size: float
    p: float
    alarm: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def changes(
    reference: Sample, period: Sample, categories: Sequence[str], rate: float = RATE
) -> tuple[Change, ...]:
    """Hold a period to the reference: two tests a category, and one of unfamiliar images.

    Args:
        reference: of the same categories.
        period: to be judged.
        categories: their K names.
        rate: of false alarms a period, in (0, 1).

    Raises:
        InputError: if the rate is none, or either has too few images.
    """
    if not 0 < rate < 1:
        raise InputError(f"a rate of false alarms lies between 0 and 1, got {rate!r}")
    if min(reference.images, period.images) < FEWEST:
        raise InputError(f"at least {FEWEST} images are needed on either side")
    limit = rate / (2 * len(categories) + 1)
    found = []
    for k, name in enumerate(categories):
        found.append(_scores(name, reference.scores[k], period.scores[k], limit))
        found.append(_share("findings", name, _pair(reference, k), _pair(period, k), limit))
    before, after = ((one.unfamiliar, one.images) for one in (reference, period))
    found.append(_share("unfamiliar", "", before, after, limit))
    return tuple(found)


def _pair(sample: Sample, k: int) -> tuple[int, int]:
    return sample.found[k], sample.images


def _scores(name: str, before: FloatArray, after: FloatArray, limit: float) -> Change:
    from scipy.stats import ks_2samp

    test = ks_2samp(before, after, method="asymp")
    labels = np.repeat([0.0, 1.0], [len(before), len(after)])
    area = delong_auroc(labels, np.concatenate([before, after]))
    size, p = float(test.statistic), float(test.pvalue)
    return Change(
        "scores",
        name,
        float(np.median(before)),
        float(np.median(after)),
        (area.low, area.high),
        area.auroc,
        size,
        p,
        bool(p <= limit and size >= LEAST_DISTANCE),
    )


def _share(
    what: Literal["findings", "unfamiliar"],
    name: str,
    before: tuple[int, int],
    after: tuple[int, int],
    limit: float,
) -> Change:
    old, new = before[0] / before[1], after[0] / after[1]
    size, p = abs(new - old), _same_share(before, after)
    return Change(
        what,
        name,
        old,
        new,
        score_interval(new, after[1]),
        None,
        size,
        p,
        bool(p <= limit and size >= LEAST_SHARE),
    )


def _same_share(before: tuple[int, int], after: tuple[int, int]) -> float:
    """How likely shares as far apart are, were they one and the same."""
    from scipy.stats import chi2_contingency, fisher_exact

    table = np.array([[part, whole - part] for part, whole in (before, after)])
    if (table.sum(axis=0) == 0).any():
        return 1.0
    test = fisher_exact if table.sum() <= EXACT else chi2_contingency
    return float(test(table).pvalue)
