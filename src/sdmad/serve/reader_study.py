"""A blinded reader study: in which order a reader sees what, and what came out.

Every image is shown twice, once with the model's findings and once without; half of the images come
first with them, drawn at random for each reader. Between an image's two showings lie at least half
of the study's images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.errors import InputError
from sdmad.evaluation.agreement import agreement
from sdmad.evaluation.intervals import paired_difference, summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores, labelled_scores, people_told
from sdmad.evaluation.limits import FEW, student

YES = 50.0
"""Probability in percent from which on a reader says that a finding is there."""

LEAST = 2
"""Images of a study at least: others must lie in between."""

NO_TRUTH = (
    "nothing is known of what these images show, so readers are held to nothing: start the server "
    "with --table LABELS.csv"
)


@dataclass(frozen=True)
class Showing:
    """An image as a reader sees it."""

    image: int
    with_findings: bool


@dataclass(frozen=True)
class Answer:
    """What a reader said of a showing.

    Attributes:
        reader: who.
        image: its number.
        with_findings: whether the model's findings were shown.
        percent: how likely each category is.
        seconds: from the image to the answer.
    """

    reader: str
    image: int
    with_findings: bool
    percent: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Truth:
    """What is known of an image.

    Attributes:
        labels: 1 or 0 of each category, None where it is not known.
        normal: whether it shows no abnormality at all.
        patient: whose it is; "" where nobody knows.
    """

    labels: Mapping[str, float | None]
    normal: bool = False
    patient: str = ""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; each NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Accuracy:
    """AUROC of readers.

    Attributes:
        reader: whose; None of all, over readers and patients together.
        category: of which; None of their mean.
        without: without the model's findings.
        with_findings: with them.
        difference: with less without, paired.
    """

    reader: str | None
    category: str | None
    without: Estimate
    with_findings: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Kappa:
    """How far readers agree; `category` is None of all categories together."""

    category: str | None
    with_findings: bool
    kappa: Estimate


@dataclass(frozen=True)
class Time:
    """Seconds an image; `reader` is None of all. The difference is with less without, paired."""

    reader: str | None
    without: float
    with_findings: float
    difference: Estimate


@dataclass(frozen=True)
class Results:
    """What came out of a study, of the images that a reader has seen both ways."""

    accuracy: tuple[Accuracy, ...] = ()
    kappa: tuple[Kappa, ...] = ()
    time: tuple[Time, ...] = ()
    notes: tuple[str, ...] = field(default=())


def showings(images: Sequence[int], seed: int, reader: str) -> list[Showing]:
    """The order in which a reader sees the images; the same whenever it is asked for.

    >>> order = showings([1, 2, 3, 4], 0, "Ada")
    >>> [sorted(one.image for one in part) for part in (order[:4], order[4:])]
    [[1, 2, 3, 4], [1, 2, 3, 4]]

    Args:
        images: their numbers, :data:`LEAST` at least.
        seed: of the study.
        reader: who sees them.

    Raises:
        InputError: if there are too few images.
    """
    if len(images) < LEAST:
        raise InputError(f"a study needs {LEAST} images at least, got {len(images)}")
    whose = int.from_bytes(sha256(reader.encode("utf-8", "surrogateescape")).digest()[:8], "big")
    rng = np.random.default_rng([seed, whose])
    first = rng.permutation(np.asarray(images)).tolist()
    helped = set(rng.permutation(first)[: len(first) // 2].tolist())
    half = len(first) // 2
    # The images of the first half come again before those of the second.
    again = [*rng.permutation(first[:half]).tolist(), *rng.permutation(first[half:]).tolist()]
    return [
        *(Showing(image, image in helped) for image in first),
        *(Showing(image, image not in helped) for image in again),
    ]


def results(
    answers: Iterable[Answer],
    truths: Mapping[int, Truth],
    categories: Sequence[str],
    resamples: int = 1000,
) -> Results:
    """What came out.

    Args:
        answers: of every reader.
        truths: of each image.
        categories: in their order.
        resamples: of the patients.
    """
    reads = _reads(answers, categories)
    if not reads:
        return Results(notes=("no reader has seen an image both ways yet",))
    accuracy = _accuracy(reads, truths, categories, resamples)
    return Results(
        accuracy,
        _kappas(reads, truths, categories, resamples),
        _times(reads, truths),
        (*(_few(reads, truths, categories) if accuracy else [NO_TRUTH]), *_nobodys(reads, truths)),
    )


def _few(
    reads: Mapping[str, _Reads], truths: Mapping[int, Truth], categories: Sequence[str]
) -> list[str]:
    """Which findings rest on few patients."""
    images = sorted({image for one in reads.values() for image in one.images})
    found = []
    for name in categories:
        ill = {person for image, person in zip(images, _people(images, truths), strict=True)
               if truths[image].labels.get(name) == 1}  # fmt: skip
        if 0 < len(ill) < FEW:
            unknown = sum(kind == "image" for kind, _ in ill)
            whom = people_told(len(ill) - unknown, unknown)
            found.append(f"{name}: positives from {whom} only: few to go by")
    return found


def _nobodys(reads: Mapping[str, _Reads], truths: Mapping[int, Truth]) -> list[str]:
    """Told where images stand for patients."""
    images = {image for one in reads.values() for image in one.images}
    unknown = sum(not truths[image].patient for image in images)
    if not unknown:
        return []
    which = "the images'" if unknown == len(images) else f"of {unknown} images the"
    told = "each image counts as one, and intervals are too narrow where patients have several"
    return [f"{which} patients are unknown: {told}"]


@dataclass(frozen=True)
class _Reads:
    """What a reader said of the n images that he has seen both ways, without and with findings.

    Attributes:
        images: their numbers.
        percent: ``(2, n, K)``.
        seconds: ``(2, n)``.
    """

    images: tuple[int, ...]
    percent: NDArray[np.float64]
    seconds: NDArray[np.float64]


def _reads(answers: Iterable[Answer], categories: Sequence[str]) -> dict[str, _Reads]:
    given: dict[str, dict[tuple[int, bool], Answer]] = {}
    for one in answers:
        given.setdefault(one.reader, {})[one.image, one.with_findings] = one
    found = {}
    for reader in sorted(given):
        mine = given[reader]
        images = tuple(sorted(i for i, shown in mine if shown and (i, False) in mine))
        if images:
            both = [[mine[image, shown] for image in images] for shown in (False, True)]
            percent = [[[a.percent[c] for c in categories] for a in row] for row in both]
            seconds = [[a.seconds for a in row] for row in both]
            found[reader] = _Reads(images, np.array(percent, float), np.array(seconds, float))
    return found


def _accuracy(
    reads: Mapping[str, _Reads],
    truths: Mapping[int, Truth],
    categories: Sequence[str],
    resamples: int,
) -> tuple[Accuracy, ...]:
    everything = [None, *categories] if len(categories) > 1 else [*categories]
    found = []
    for category, reader in product(everything, [None, *reads] if len(reads) > 1 else [*reads]):
        kinds = [k for k, name in enumerate(categories) if category in (None, name)]
        readers = [reader] if reader is not None else list(reads)
        pairs = [_pair(reads[name], truths, categories, kinds) for name in readers]
        if any(np.isnan(one.labels).all() for one, _ in pairs):
            continue
        sides = [[pair[side] for pair in pairs] for side in (0, 1)]
        each = [summarise_draws(side, resamples)["mean_auroc"] for side in sides]
        gap = paired_difference(sides[1], sides[0], resamples)["mean_auroc"]
        values = [Estimate(one.mean, one.low, one.high) for one in each]
        difference = Estimate(gap.difference, gap.low, gap.high)
        found.append(Accuracy(reader, category, values[0], values[1], difference))
    return tuple(found)


def _pair(
    reads: _Reads, truths: Mapping[int, Truth], categories: Sequence[str], kinds: Sequence[int]
) -> tuple[LabelledScores, LabelledScores]:
    """A reader's percentages of some categories without and with findings, beside the truth."""
    known = [truths[image] for image in reads.images]
    labels = np.array([[_number(one.labels.get(categories[k])) for k in kinds] for one in known])
    normal = [one.normal for one in known]
    people = _people(reads.images, truths)

    def side(place: int) -> LabelledScores:
        percent = reads.percent[place][:, kinds]
        return labelled_scores(labels, percent, percent >= YES, percent.max(axis=1), normal, people)

    return side(0), side(1)


def _kappas(
    reads: Mapping[str, _Reads],
    truths: Mapping[int, Truth],
    categories: Sequence[str],
    resamples: int,
) -> tuple[Kappa, ...]:
    if len(reads) < 2:
        return ()
    images = sorted({image for one in reads.values() for image in one.images})
    people = _people(images, truths)
    place = {image: i for i, image in enumerate(images)}
    found = []
    for shown in (False, True):
        verdicts = np.full((len(reads), len(images), len(categories)), np.nan)
        for row, one in zip(verdicts, reads.values(), strict=True):
            row[[place[image] for image in one.images]] = one.percent[int(shown)] >= YES
        everything = [None, *categories] if len(categories) > 1 else [*categories]
        for category in everything:
            kinds = [k for k, name in enumerate(categories) if category in (None, name)]
            cells = verdicts[:, :, kinds].reshape(len(reads), -1)
            whose = np.repeat(np.arange(len(images)), len(kinds)).tolist()
            told = agreement(cells, [people[i] for i in whose], resamples)
            found.append(Kappa(category, shown, Estimate(told.kappa, told.low, told.high)))
    return tuple(found)


def _times(reads: Mapping[str, _Reads], truths: Mapping[int, Truth]) -> tuple[Time, ...]:
    """Mean seconds an image; the difference's interval is Student's t over patients."""
    found = []
    for reader in [None, *reads] if len(reads) > 1 else [*reads]:
        mine = [reads[reader]] if reader is not None else list(reads.values())
        seconds = np.concatenate([one.seconds for one in mine], axis=1)
        images = [image for one in mine for image in one.images]
        people = _people(images, truths)
        gaps: dict[Any, list[float]] = {}
        for person, gap in zip(people, (seconds[1] - seconds[0]).tolist(), strict=True):
            gaps.setdefault(person, []).append(gap)
        without, shown = seconds.mean(axis=1).tolist()
        found.append(Time(reader, without, shown, _mean_of([*map(np.mean, gaps.values())])))
    return tuple(found)


def _mean_of(values: Sequence[Any]) -> Estimate:
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Estimate(mean, math.nan, math.nan)
    reach = student(count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - reach, mean + reach)


def _people(images: Sequence[int], truths: Mapping[int, Truth]) -> list[tuple[str, object]]:
    """Whose images they are; one of an unknown patient is a patient of its own."""
    return [
        ("patient", truths[image].patient) if truths[image].patient else ("image", image)
        for image in images
    ]


def _number(label: float | None) -> float:
    return math.nan if label is None else float(label)
