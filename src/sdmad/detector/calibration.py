"""Log odds as probabilities: calibrated on the support set, at a prevalence that a person states.

The support set holds as many positives as somebody picked, so its shares say nothing of how common
a finding is. Two numbers, shared by all categories, bring log odds of images that a fit did not see
(:mod:`sdmad.detector.cross_fitting`) in line with their labels; then the support's prevalence is
exchanged for the stated one (Saerens et al. 2002).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError

OF_THE_TABLE = "table"
"""Instead of a prevalence: that of the judged images of a label table."""

Prevalence = float | Mapping[str, float] | Literal["table"]
SPREAD = 0.5
"""Deviation of the normal priors: of the slope's logarithm and of the shift, both about 0."""
EDGE = 1e-3
"""Images of either kind, halved, that keep a prevalence from 0 and 1."""


@dataclass(frozen=True)
class Calibration:
    """How log odds become probabilities.

    Attributes:
        slope: what log odds are multiplied by.
        shift: what is added then.
        prevalence: that the calibrated log odds stand for, of each category: the mean probability
            of the support images. Sentences count in a fit beside images, so where a category has
            few positives it is not the share of these.
    """

    slope: float
    shift: float
    prevalence: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (self.slope, self.shift, *self.prevalence)
        if not all(isinstance(n, float) and math.isfinite(n) for n in numbers) or self.slope <= 0:
            raise InputError("calibration: slope and shift must be finite, the slope positive")
        if not all(0 < share < 1 for share in self.prevalence):
            raise InputError("calibration: prevalences must lie between 0 and 1")

    @classmethod
    def fit(cls, odds: NDArray[np.float64], labels: NDArray[np.float64]) -> Self:
        """Find slope and shift where labels are most likely, under the priors.

        Args:
            odds: of images that the fit behind them did not see, ``(n, K)``.
            labels: 1, 0 or NaN, ``(n, K)``; unknown ones count neither way.
        """
        slope, shift, _ = fit_line(odds, labels)
        known = ~np.isnan(labels)
        likely = np.where(known, 1 / (1 + np.exp(-(slope * odds + shift))), 0).sum(axis=0)
        shares = (likely + 0.5 * EDGE) / (known.sum(axis=0) + EDGE)
        return cls(slope, shift, tuple(shares.tolist()))

    def probabilities(
        self, odds: NDArray[np.float64], prevalence: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Probabilities ``(n, K)``.

        Args:
            odds: log odds of n images, ``(n, K)``.
            prevalence: stated, of each category, ``(K,)``.
        """
        here, there = np.asarray(self.prevalence), prevalence
        moved = np.log(there / (1 - there)) - np.log(here / (1 - here))
        found: NDArray[np.float64] = 1 / (1 + np.exp(-(self.slope * odds + self.shift + moved)))
        return found

    def odds_at(self, chance: float, prevalence: NDArray[np.float64]) -> NDArray[np.float64]:
        """The log odds ``(K,)`` that stand for a probability.

        Args:
            chance: the probability, in (0, 1).
            prevalence: stated, of each category, ``(K,)``.
        """
        here, there = np.asarray(self.prevalence), prevalence
        moved = np.log(there / (1 - there)) - np.log(here / (1 - here))
        wanted: NDArray[np.float64] = np.log(chance / (1 - chance)) - self.shift - moved
        return wanted / self.slope

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from :meth:`to_dict`'s values.

        Raises:
            ValueError: if a value is missing or no number.
        """
        try:
            shares = tuple(float(value) for value in values["prevalence"])
            return cls(float(values["slope"]), float(values["shift"]), shares)
        except (KeyError, TypeError, OverflowError) as error:
            raise InputError(f"calibration: {error}") from error


def fit_line(odds: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[float, float, float]:
    """Slope and shift under which labels are likeliest, and the logarithm of how likely.

    The priors count in it.

    Args:
        odds: of images that the fit behind them did not see, ``(n, K)``.
        labels: 1, 0 or NaN, ``(n, K)``; unknown ones count neither way.
    """
    from scipy.optimize import minimize

    known = ~np.isnan(labels)
    score, sign = odds[known], np.where(labels[known] == 1, 1.0, -1.0)

    def loss(line: NDArray[np.float64]) -> float:
        doubt = ((line / SPREAD) ** 2).sum() / 2
        margin = sign * (np.exp(line[0]) * score + line[1])
        return float(np.logaddexp(0, -margin).sum() + doubt)

    found = minimize(loss, np.zeros(2))
    return float(np.exp(found.x[0])), float(found.x[1]), -float(found.fun)


def stated(prevalence: Prevalence, categories: Sequence[str]) -> NDArray[np.float64]:
    """A stated prevalence of each category, ``(K,)``.

    >>> stated(0.05, ("Mass", "Effusion")), stated({"Effusion": 0.1, "Mass": 0.02}, ("Mass",))
    (array([0.05, 0.05]), array([0.02]))

    Args:
        prevalence: one of all categories, or one of each.
        categories: their names, in order.

    Raises:
        InputError: if a category is missing, or a value does not lie between 0 and 1.
    """
    if isinstance(prevalence, str):
        raise InputError("there is no label table here to take the prevalence from; state it")
    if isinstance(prevalence, Mapping):
        missing = [name for name in categories if name not in prevalence]
        if missing:
            raise InputError(f"no prevalence is stated of {', '.join(missing)}")
        values = [prevalence[name] for name in categories]
    else:
        values = [prevalence] * len(categories)
    for name, value in zip(categories, values, strict=True):
        if not 0 < value < 1:
            raise InputError(f"the prevalence of {name} must lie between 0 and 1, got {value!r}")
    return np.array(values, dtype=np.float64)


Likelihood = Callable[[ImageScores], NDArray[np.float64]]
"""Scores of n images to probabilities ``(n, K)``."""


def likelihood(
    calibration: Calibration | None, categories: Sequence[str], prevalence: Prevalence
) -> Likelihood:
    """How likely each category is in scored images, at a stated prevalence.

    Args:
        calibration: of the detector or export that scores them.
        categories: its categories.
        prevalence: one of all categories, or one of each by name.

    Raises:
        InputError: if there is no calibration, or the prevalence cannot be used.
    """
    if calibration is None:
        raise InputError(
            "this model gives no probabilities: they need cross-modal evidence on frozen "
            "embeddings (epochs=0), and support images of two patients at least"
        )
    shares = stated(prevalence, categories)
    return lambda scored: calibration.probabilities(scored.scores, shares)


def parse_prevalence(text: str) -> Prevalence:
    """Read what a person wrote: ``0.05``, ``Mass=0.02,Effusion=0.1`` or ``table``.

    >>> parse_prevalence("0.05"), parse_prevalence("Mass=0.02, Effusion=0.1")
    (0.05, {'Mass': 0.02, 'Effusion': 0.1})

    Raises:
        InputError: if it is neither.
    """
    if text == OF_THE_TABLE:
        return "table"
    try:
        if "=" not in text:
            return float(text)
        pairs = (part.rpartition("=") for part in text.split(","))
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError:
        raise InputError(
            f"a prevalence is a number between 0 and 1 or CATEGORY=NUMBER,..., got {text!r}"
        ) from None
