"""Worlds in which the truth is known: patients, and systems whose figures follow from a formula.

A score is the separation times the label, plus noise. Part of the noise is the patient's own, the
same in all of his images, in every draw and for every system; a draw of the support set moves the
separation. Decisions come the same way from noise of their own. So AUROC, shares of right decisions
and F1 of all the patients there are, over all draws there are, can be written down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.labelled_scores import LabelledScores, labelled_scores
from sdmad.evaluation.pixel_intervals import PatientPixels, patient_capacity
from sdmad.evaluation.pixels import FPR_LIMIT, PixelScores

Rng = np.random.Generator
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
PHI = special.ndtr


@dataclass(frozen=True)
class World:
    """Images with labels, and a system on one or more draws.

    Attributes:
        patients: how many.
        shares: of the patients that show each category.
        positives: patients that show each, exactly so many; instead of shares.
        auroc: of every category and of normal against abnormal, at no wandering.
        right: share of decisions that are right, at no wandering.
        images: of each patient, all with his labels.
        draws: of the support set.
        wander: deviation of the separation over draws.
        own: share of the noise's variance that is the patient's.
        spread: deviation of the positives' noise in scores; that of the negatives is 1.
    """

    patients: int = 80
    shares: tuple[float, ...] = (0.3, 0.2)
    positives: tuple[int, ...] = ()
    auroc: float = 0.85
    right: float = 0.8
    images: int = 1
    draws: int = 1
    wander: float = 0.0
    own: float = 0.5
    spread: float = 1.0

    @property
    def categories(self) -> int:
        """How many."""
        return len(self.positives or self.shares)

    @property
    def separation(self) -> float:
        """Of scores."""
        return float(special.ndtri(self.auroc) * np.hypot(1, self.spread))

    @property
    def distance(self) -> float:
        """Of decisions, from either side."""
        return float(special.ndtri(self.right))

    def truth(self, labels: FloatArray) -> dict[str, float]:
        """Every metric with all patients and draws there are.

        Args:
            labels: of the patients drawn, ``(P, K)``: macro F1 is over the categories that any of
                them shows.
        """
        auroc = float(PHI(self.separation / np.sqrt(1 + self.spread**2 + self.wander**2)))
        rights = PHI(self.distance + self.wander / 2 * NODES)
        weights = NODE_WEIGHTS / NODE_WEIGHTS.sum()
        right = float(weights @ rights)
        shares = np.array(() if self.positives else self.shares)
        shown = shares[labels.any(axis=0)] if shares.size else shares
        f1 = [weights @ _f1(share, rights) for share in shown]
        return {
            "mean_auroc": auroc,
            "image_auroc": auroc,
            "hamming_score": right,
            "subset_accuracy": float(weights @ rights**self.categories),
            "sensitivity": right,
            "specificity": right,
            **({"macro_f1": float(np.mean(f1))} if f1 else {}),
        }

    def draw(self, rng: Rng, systems: int = 1) -> Drawn:
        """Patients, and one or more systems that are as good as each other."""
        labels = self._labels(rng)
        rows = np.repeat(np.arange(self.patients), self.images)
        truth = labels[rows]
        shape = (self.patients, self.categories)
        score_noise, decision_noise = rng.normal(size=shape)[rows], rng.normal(size=shape)[rows]
        moves = rng.normal(size=self.draws)
        found: list[list[LabelledScores]] = [[] for _ in range(systems)]
        for move in moves:
            for place in found:
                # Of two systems on one support set half of what it moves is common to both.
                moved = move if systems == 1 else (move + rng.normal()) / 2**0.5
                noise = self._noise(rng, score_noise) * np.where(truth == 1, self.spread, 1.0)
                separation = self.separation + self.wander * moved
                scores = separation * truth + noise
                margin = self.distance + self.wander / 2 * moved
                correct = margin + self._noise(rng, decision_noise) > 0
                ill: NDArray[np.bool_] = np.asarray(truth.any(axis=1))
                abnormality = self._abnormality(rng, separation, ill, score_noise[:, 0])
                called = np.where(correct, truth == 1, truth == 0)
                ids = rows.tolist()
                place.append(labelled_scores(truth, scores, called, abnormality, ~ill, ids))
        return Drawn(self, labels, moves, decision_noise, found)

    def _labels(self, rng: Rng) -> FloatArray:
        if not self.positives:
            return (rng.random((self.patients, len(self.shares))) < self.shares).astype(float)
        labels = np.zeros((self.patients, len(self.positives)))
        for k, count in enumerate(self.positives):
            labels[rng.permutation(self.patients)[:count], k] = 1
        return labels

    def _noise(self, rng: Rng, own: FloatArray) -> FloatArray:
        mixed: FloatArray = self.own**0.5 * own + (1 - self.own) ** 0.5 * rng.normal(size=own.shape)
        return mixed

    def _abnormality(
        self, rng: Rng, separation: float, ill: NDArray[np.bool_], own: FloatArray
    ) -> FloatArray:
        noise = self._noise(rng, own) * np.where(ill, self.spread, 1.0)
        return separation * ill + noise


@dataclass(frozen=True)
class Drawn:
    """What a world gave once.

    Attributes:
        world: which.
        labels: of the patients, ``(P, K)``.
        moves: of each draw, in deviations.
        noise: the patients' own in decisions, ``(n, K)``.
        systems: of each, the draws.
    """

    world: World
    labels: FloatArray
    moves: FloatArray
    noise: FloatArray
    systems: list[list[LabelledScores]]

    @property
    def of_these_patients(self) -> float:
        """The share of right decisions on these very patients, over all draws there are."""
        world = self.world
        deviation = np.sqrt(1 - world.own + world.wander**2 / 4)
        return float(PHI((world.distance + world.own**0.5 * self.noise) / deviation).mean())

    @property
    def of_these_draws(self) -> float:
        """The AUROC of these very draws, with all patients there are."""
        separations = self.world.separation + self.world.wander * self.moves
        return float(PHI(separations / np.hypot(1, self.world.spread)).mean())


def _f1(share: float, right: FloatArray) -> FloatArray:
    found = share * right
    result: FloatArray = 2 * found / (2 * found + 1 - right)
    return result


@dataclass(frozen=True)
class Pictures:
    """Maps of patients, half of them with one square lesion.

    A pixel's score is the patient's brightness, in a lesion its contrast, and noise.

    Attributes:
        patients: one image each.
        draws: of the support set; each moves the contrast of all lesions.
        wander: deviation of that.
    """

    patients: int = 40
    draws: int = 1
    wander: float = 0.0

    SIDE = 24
    LESION = (4, 6, 8)
    CONTRAST, OF_LESIONS, BRIGHTNESS, THRESHOLD = 1.5, 0.5, 0.4, 1.2

    def truth(self) -> dict[str, float]:
        """Each pixel metric with all patients and draws there are."""
        found = np.array([self._at(self.CONTRAST + self.wander * node) for node in NODES])
        weights = NODE_WEIGHTS / NODE_WEIGHTS.sum()
        names = ("pixel_auroc", "aupro", "dice")
        return dict(zip(names, (weights @ found).tolist(), strict=True))

    def _at(self, contrast: float) -> tuple[float, float, float]:
        normal = np.hypot(1, self.BRIGHTNESS)
        inside = np.hypot(normal, self.OF_LESIONS)
        auroc = PHI(contrast / np.hypot(normal, inside))
        rate = (np.arange(2000) + 0.5) / 2000 * FPR_LIMIT
        aupro = PHI((contrast - normal * -special.ndtri(rate)) / inside).mean()
        share = np.mean(np.square(self.LESION)) / self.SIDE**2 / 2
        hit = PHI((contrast - self.THRESHOLD) / inside) * share
        called = hit + PHI(-self.THRESHOLD / normal) * (1 - share)
        return float(auroc), float(aupro), float(2 * hit / (called + share))

    def draw(self, rng: Rng, systems: int = 1) -> list[list[PatientPixels]]:
        """The same patients' pixels of one or more systems, on each draw."""
        masks = [self._mask(rng, number % 2 == 1) for number in range(self.patients)]
        brightness = self.BRIGHTNESS * rng.normal(size=self.patients)
        lesions = self.OF_LESIONS * rng.normal(size=self.patients)
        found: list[list[PatientPixels]] = [[] for _ in range(systems)]
        capacity = patient_capacity(self.patients)
        for _ in range(self.draws):
            for place in found:
                contrast = self.CONTRAST + self.wander * rng.normal()
                people = {}
                for number, mask in enumerate(masks):
                    noise = rng.normal(size=mask.shape) + brightness[number]
                    scores = noise + (contrast + lesions[number]) * mask
                    one = PixelScores(self.THRESHOLD, capacity)
                    people[str(number)] = one.add(scores.astype(np.float32), mask)
                place.append(PatientPixels.of(people))
        return found

    def _mask(self, rng: Rng, ill: bool) -> NDArray[np.bool_]:
        mask = np.zeros((self.SIDE, self.SIDE), bool)
        if ill:
            side = int(rng.choice(self.LESION))
            row, column = rng.integers(0, self.SIDE - side, 2)
            mask[row : row + side, column : column + side] = True
        return mask


@dataclass(frozen=True)
class Chances:
    """Probabilities of three categories, and labels that hold to other ones.

    Attributes:
        patients: how many.
        bent: what true log odds are multiplied by in what is said; 1 is right.
        images: of each patient, which share half of what makes the odds differ.
    """

    patients: int = 150
    bent: float = 1.0
    images: int = 1

    def draw(self, rng: Rng) -> tuple[FloatArray, FloatArray, list[int]]:
        """What was said ``(n, 3)``, the labels ``(n, 3)``, and whose the images are."""
        rows = np.repeat(np.arange(self.patients), self.images)
        own = rng.normal(size=(self.patients, 3))[rows]
        mixed = (own + rng.normal(size=own.shape)) / 2**0.5 if self.images > 1 else own
        odds = -1 + 1.5 * mixed
        truth = (rng.random(odds.shape) < _logistic(odds)).astype(float)
        return _logistic(self.bent * odds), truth, rows.tolist()

    def truth(self) -> float:
        """The error of ten bins of as many images each, without noise."""
        odds = -1 + 1.5 * special.ndtri((np.arange(1_000_000) + 0.5) / 1_000_000)
        gaps = (_logistic(self.bent * odds) - _logistic(odds)).reshape(10, -1).mean(axis=1)
        return float(np.abs(gaps).mean())


def _logistic(odds: FloatArray) -> FloatArray:
    found: FloatArray = 1 / (1 + np.exp(-odds))
    return found


Draw = Callable[[Rng, int], dict[str, tuple[float, float, float]]]
"""From a source of chance and a seed: truth, lower and upper end of each kind of interval."""
