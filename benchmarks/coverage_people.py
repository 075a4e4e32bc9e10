"""Worlds of readers, of answers and of archives, whose truth is known.

As in :mod:`benchmarks.coverage_worlds` part of the noise is the patient's own, the same in all of
his images and to every reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from benchmarks.coverage_worlds import NODE_WEIGHTS, NODES, PHI, Rng
from sdmad.evaluation.checks import FloatArray
from sdmad.evaluation.drift import Sample
from sdmad.serve.reader_study import Answer, Truth

WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()


def own_noise(rng: Rng, rows: NDArray[np.int64], share: float) -> FloatArray:
    """Of images, with deviation 1, of which the patient's own has a share of the variance.

    Args:
        rng: source of chance.
        rows: the patient of each image, ``(n,)``.
        share: 0 to 1.
    """
    people = rng.normal(size=int(rows.max()) + 1)[rows]
    mixed: FloatArray = share**0.5 * people + (1 - share) ** 0.5 * rng.normal(size=len(rows))
    return mixed


@dataclass(frozen=True)
class Verdicts:
    """Readers who say yes or no of images and agree as much as is asked for.

    Attributes:
        patients: how many.
        kappa: of any two readers, with all patients there are.
        readers: how many.
        images: of each patient, half of whose own part is the patient's.
        yes: share of yes of every reader.
    """

    patients: int
    kappa: float
    readers: int = 2
    images: int = 1
    yes: float = 0.3

    def draw(self, rng: Rng) -> tuple[FloatArray, list[int]]:
        """Verdicts ``(readers, n)``, and whose the images are."""
        rows = np.repeat(np.arange(self.patients), self.images)
        common = own_noise(rng, rows, 0.5 if self.images > 1 else 0.0)
        shared = common_variance(self.kappa, self.yes)
        noise = rng.normal(size=(self.readers, len(rows)))
        seen = shared**0.5 * common + (1 - shared) ** 0.5 * noise
        return (seen > -special.ndtri(self.yes)).astype(float), rows.tolist()


@lru_cache
def common_variance(kappa: float, yes: float) -> float:
    """Share of the variance that two readers have in common whose kappa is this.

    Args:
        kappa: 0 to 1.
        yes: share of yes of either.
    """
    cut, chance = float(special.ndtri(yes)), yes**2 + (1 - yes) ** 2
    grid = (np.arange(4000) + 0.5) / 4000

    def gap(shared: float) -> float:
        sure = PHI((cut + shared**0.5 * special.ndtri(grid)) / (1 - shared) ** 0.5)
        agree = float((sure**2 + (1 - sure) ** 2).mean())
        return (agree - chance) / (1 - chance) - kappa

    return float(optimize.brentq(gap, 0.0, 1 - 1e-9))


@dataclass(frozen=True)
class Readers:
    """A study of one finding: readers who say how likely it is, without and with help.

    What a reader sees is a separation times the label, and noise of variance 1: the image's own,
    the same to all; the reader's own of this image, the same both times; and the rest. He answers
    in steps of 5%, so answers tie.

    Attributes:
        patients: how many.
        readers: how many.
        images: of each patient, all with his label and his noise.
        separations: of the average reader, without and with help.
        wander: deviation of the separation over readers.
        ill: share of the patients with the finding.
    """

    patients: int = 60
    readers: int = 4
    images: int = 1
    separations: tuple[float, float] = (1.2, 1.5)
    wander: float = 0.3
    ill: float = 0.4

    OWN, HABIT = 0.4, 0.2
    STEP = 5
    SECONDS, PACE, SAVED, SPREAD = 30.0, 0.3, 0.15, 0.4

    def draw(self, rng: Rng) -> Study:
        """Readers and patients, once."""
        rows = np.repeat(np.arange(self.patients), self.images)
        labels = (rng.random(self.patients) < self.ill).astype(float)[rows]
        moves, paces = rng.normal(size=(2, self.readers))
        own = rng.normal(size=self.patients)[rows]
        long = rng.normal(size=self.patients)[rows]
        answers = []
        for reader in range(self.readers):
            habit = rng.normal(size=len(rows))
            for help_, separation in enumerate(self.separations):
                fresh = rng.normal(size=len(rows))
                noise = self.OWN**0.5 * own + self.HABIT**0.5 * habit
                noise = noise + (1 - self.OWN - self.HABIT) ** 0.5 * fresh
                seen = (separation + self.wander * moves[reader]) * (labels - 0.5) + noise
                likely = self.STEP * np.floor(100 / self.STEP * PHI(seen))
                busy = self.SPREAD / 2**0.5 * (long + rng.normal(size=len(rows)))
                pace = self.SECONDS * np.exp(self.PACE * paces[reader]) * (1 - self.SAVED * help_)
                seconds = pace * np.exp(busy)
                for image, values in enumerate(zip(likely, seconds, strict=True)):
                    percent = {"finding": float(values[0])}
                    answers.append(
                        Answer(str(reader), image, bool(help_), percent, float(values[1]))
                    )
        truths = {
            image: Truth({"finding": label}, label == 0, str(patient))
            for image, (label, patient) in enumerate(zip(labels.tolist(), rows, strict=True))
        }
        return Study(self, answers, truths, moves, paces)

    def auroc(self, separation: FloatArray) -> FloatArray:
        """Of answers in steps, of readers with these separations, with all patients there are."""
        edges = special.ndtri(np.arange(1, 100 // self.STEP) * self.STEP / 100)
        well, ill = (
            np.diff(PHI(edges[:, None] - sign * separation / 2), axis=0, prepend=0, append=1)
            for sign in (-1, 1)
        )
        below = np.cumsum(well, axis=0) - well / 2
        found: FloatArray = (below * ill).sum(axis=0)
        return found

    def aurocs(self) -> tuple[float, float]:
        """Without and with help, over all readers and patients there are."""
        without, shown = (
            float(WEIGHTS @ self.auroc(separation + self.wander * NODES))
            for separation in self.separations
        )
        return without, shown


@dataclass(frozen=True)
class Study:
    """What a world of readers gave once.

    Attributes:
        world: which.
        answers: of every reader.
        truths: of every image.
        moves: of each reader's separation, in deviations.
        paces: of each reader's time, in deviations.
    """

    world: Readers
    answers: list[Answer]
    truths: dict[int, Truth]
    moves: FloatArray
    paces: FloatArray

    @property
    def aurocs_of_first(self) -> tuple[float, float]:
        """Of the first reader, with all patients there are."""
        world = self.world
        separations = np.array(world.separations) + world.wander * self.moves[0]
        without, shown = world.auroc(separations).tolist()
        return without, shown

    def kappa(self, help_: bool) -> float:
        """The mean over pairs of these very readers, with all patients there are."""
        world = self.world
        separation = world.separations[help_] + world.wander * self.moves
        rest = (1 - world.OWN) ** 0.5
        cells = np.zeros((2, 2, world.readers, world.readers))
        for sign, share in ((-1, 1 - world.ill), (1, world.ill)):
            yes = PHI((sign * separation[:, None] / 2 + world.OWN**0.5 * NODES) / rest)
            said = (1 - yes, yes)
            for a, b in np.ndindex(2, 2):
                cells[a, b] += share * (said[a] * WEIGHTS) @ said[b].T
        agree = cells[0, 0] + cells[1, 1]
        first = cells[1].sum(axis=0)
        chance = first * first.T + (1 - first) * (1 - first.T)
        kappas = (agree - chance) / (1 - chance)
        return float(kappas[np.triu_indices(world.readers, 1)].mean())

    @property
    def saved(self) -> float:
        """Seconds an image with help less those without: of these readers, all patients."""
        world = self.world
        pace = np.exp(world.PACE * self.paces).mean() * np.exp(world.SPREAD**2 / 2)
        return float(-world.SAVED * world.SECONDS * pace)


@dataclass(frozen=True)
class Answered:
    """Answers of three categories, of which some say the contrary and some nothing.

    Attributes:
        patients: how many.
        wrong: share of the answers that says the contrary.
        images: of each patient, half of whose noise is the patient's.
        asked: share of the labels that are what is asked about.
    """

    patients: int
    wrong: float
    images: int = 1
    asked: float = 0.8

    UNSURE, KINDS = 0.2, 3

    def draw(self, rng: Rng) -> tuple[NDArray[np.int8], FloatArray, list[int]]:
        """Answers ``(n, 3)`` to images without the findings, labels, and whose the images are."""
        rows = np.repeat(np.arange(self.patients), self.images)
        shape = (self.patients, self.KINDS)
        labels = (rng.random(shape) >= self.asked).astype(float)[rows]
        noise = np.stack([own_noise(rng, rows, 0.5) for _ in range(self.KINDS)], axis=1)
        level = PHI(noise)
        answers = np.where(level < self.wrong, 1, np.where(level < self.wrong + self.UNSURE, -1, 0))
        return answers.astype(np.int8), labels, rows.tolist()


@dataclass(frozen=True)
class Periods:
    """Two periods of an archive of one category.

    Attributes:
        images: of either.
        share: of the images in which it is found, in both.
        above: how often a score of the second lies above one of the first.
        each: images of a patient, half of whose noise is the patient's.
    """

    images: int
    share: float = 0.1
    above: float = 0.5
    each: int = 1

    def draw(self, rng: Rng) -> tuple[Sample, Sample]:
        """Both."""
        move = 2**0.5 * float(special.ndtri(self.above))
        before, after = (self._sample(rng, moved) for moved in (0.0, move))
        return before, after

    def _sample(self, rng: Rng, move: float) -> Sample:
        rows = np.arange(self.images) // self.each
        kept = 0.5 if self.each > 1 else 0.0
        scores, odds, strange = (own_noise(rng, rows, kept) for _ in range(3))
        cut = special.ndtri(self.share)
        found, unfamiliar = (int((noise < cut).sum()) for noise in (odds, strange))
        return Sample([scores + move], [found], unfamiliar, self.images)
