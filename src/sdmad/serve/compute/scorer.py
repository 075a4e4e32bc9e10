"""Files to plain findings, through the decoder processes and the shared batches of a model."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data.decoding import MOST_WORKERS, Square
from sdmad.data.images import ImageError
from sdmad.data.limits import limits
from sdmad.detector.base import resize_map
from sdmad.detector.calibration import Prevalence
from sdmad.detector.findings import CategoryFinding, Explanation, SignFinding
from sdmad.detector.maps import check_gives_maps, sign_index
from sdmad.detector.scores import ImageScores
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.reporting.predictions import Prediction, Predictions
from sdmad.serve.compute.batching import BusyError, OverdueError
from sdmad.serve.compute.models import ServedModel

PATIENCE = 60.0
"""Seconds that a request's scores may take, beside what reading its files may take."""

COSINES = 100.0
"""What differences of cosines are multiplied by before they count as log odds, as CLIP does."""

MOST_MAPS = 16
"""Maps that are asked for at once, at most."""

Map = NDArray[np.float32]
Result = TypeVar("Result")


class NoMapsError(InputError):
    """A model that cannot say where."""


@dataclass(frozen=True)
class Sign:
    """What speaks for a category.

    Attributes:
        name: the category and the sign's number in the bank, from 1.
        sentence: in words.
        contribution: cosine of the image with the sign, less that with the normal anchor.
        kept: whether selection kept it.
        decided: whether it is the one that decided.
    """

    name: str
    sentence: str
    contribution: float
    kept: bool
    decided: bool


@dataclass(frozen=True)
class Finding:
    """What a model says of one category in one image.

    Attributes:
        category: its name.
        score: larger is more likely.
        probability: at the stated prevalence; None where none was.
        threshold: the score above which it is found; None of a rule of signs alone.
        decision: whether it is found.
        rule: how that was decided.
        sign: the deciding sign.
        answer: yes, no or unsure at the stated error rate; None where none was.
        signs: all signs of the category, the most similar first.
    """

    category: str
    score: float
    probability: float | None
    threshold: float | None
    decision: bool
    rule: str
    sign: Sign
    answer: str | None
    signs: tuple[Sign, ...]


@dataclass(frozen=True)
class Scored:
    """What a model says of one image, or why it cannot be read.

    Attributes:
        file: the image.
        error: why it cannot be read; None of an image that can.
        unfamiliar: whether it is unlike those that the model was fitted on.
        abnormal: how abnormal, 0 to 1: .5 where the most likely category is just found.
        unsure: how near to its threshold the least certain category is, 0 to 1.
        findings: one a category, in the bank's order; none of an image that cannot be read.
    """

    file: Path
    error: str | None = None
    unfamiliar: bool | None = None
    abnormal: float | None = None
    unsure: float | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Stated:
    """What a person states about the images.

    Attributes:
        prevalence: how common findings are; probabilities need it.
        error_rate: at which answers are given.
    """

    prevalence: Prevalence | None = None
    error_rate: float | None = None


NOTHING_STATED = Stated()


class Scorer:
    """Reads files in decoder processes and scores them in shared batches."""

    def __init__(self) -> None:
        count = min(MOST_WORKERS, max(2, os.cpu_count() or 1))
        self._readers = ThreadPoolExecutor(count, thread_name_prefix="reading")
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="reading-behind")
        self._maps = ThreadPoolExecutor(1, thread_name_prefix="maps")
        self._mapped = threading.BoundedSemaphore(MOST_MAPS)

    def close(self) -> None:
        """End the threads."""
        for pool in (self._readers, self._behind, self._maps):
            pool.shutdown(cancel_futures=True)

    def score(
        self, model: ServedModel, files: Sequence[Path], stated: Stated = NOTHING_STATED
    ) -> list[Scored]:
        """Score files that somebody waits for, each row as ``sdmad predict`` gives it.

        Args:
            model: what scores them.
            files: one at least.
            stated: what is known of where they come from.

        Raises:
            BusyError: if more is asked for than can wait.
            OverdueError: if it takes too long.
            InputError: if the model gives no probabilities or answers.
        """
        told = _Telling(model, stated)
        with model.batcher.places(len(files)):
            patience = PATIENCE + limits().clock * len(files)
            return told(files, *self._scores(model, files, time.monotonic() + patience, False))

    def prediction(self, model: ServedModel, file: Path, stated: Stated) -> Prediction:
        """What a model says of one file, as ``sdmad predict`` would write it.

        Raises:
            ImageError: if it cannot be read.
            BusyError, OverdueError, InputError: as `score`.
        """
        told = _Telling(model, stated)
        with model.batcher.places(1):
            due = time.monotonic() + PATIENCE + limits().clock
            scores, errors = self._scores(model, [file], due, False)
        if errors:
            raise errors[0]
        return next(told.rows([file], scores, errors))

    def score_behind(
        self, model: ServedModel, files: Sequence[Path], stated: Stated = NOTHING_STATED
    ) -> list[Scored]:
        """Score files that nobody waits for: whatever else is asked goes first."""
        told = _Telling(model, stated)
        return told(files, *self._scores(model, files, float("inf"), True))

    def category_map(self, model: ServedModel, file: Path, category: str) -> Map:
        """Where one image looks like a category, cosines ``(H, W)``, as ``sdmad predict --maps``.

        Raises:
            BusyError: if too many maps are asked for.
            ImageError: if the image cannot be read.
            NoMapsError: if the model gives no maps.
            InputError: if it has no such category.
        """
        detector, k = _mapping(model, category)
        small, shape = self.in_turn(lambda: detector.image_maps(file))
        return resize_map(small.categories[0, k], shape)

    def sign_map(self, model: ServedModel, file: Path, category: str, sentence: str) -> Map:
        """Where one image looks like a sign of a category, cosines ``(H, W)``.

        Raises:
            BusyError, ImageError, NoMapsError: as `category_map`.
            InputError: if there is no such category or sign.
        """
        detector, k = _mapping(model, category)
        if sentence not in model.bank.categories[category]:
            raise NoMapsError(f"{category} has no sign {sentence!r}")
        small, shape = self.in_turn(lambda: detector.image_maps(file))
        return resize_map(small.signs[0, sign_index(detector.bank_, k, sentence)], shape)

    def deciding_map(self, model: ServedModel, file: Path, category: str) -> Map:
        """Where one image looks like the sign that decided on a category, cosines ``(H, W)``.

        Raises:
            BusyError, ImageError, NoMapsError, InputError: as `category_map`.
        """
        _, k = _mapping(model, category)
        (row,) = self.score(model, [file])
        if row.error is not None:
            raise ImageError(row.error, file)
        return self.sign_map(model, file, category, row.findings[k].sign.sentence)

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """Do what needs the tower apart from its batches, one thing after the other.

        Raises:
            BusyError: if too much waits; and whatever the work raises.
        """
        if not self._mapped.acquire(blocking=False):
            raise BusyError(f"{MOST_MAPS} maps are being made already; ask again in a moment")
        try:
            return self._maps.submit(work).result()
        finally:
            self._mapped.release()

    def _scores(
        self, model: ServedModel, files: Sequence[Path], due: float, behind: bool
    ) -> tuple[ImageScores, dict[int, ImageError]]:
        """Scores of files, NaN where one cannot be read, and why."""
        readers = self._behind if behind else self._readers
        square = model.judge.preprocessing.square
        reading = [readers.submit(square, file) for file in files]
        errors: dict[int, ImageError] = {}
        size = model.batcher.size
        waiting: list[tuple[list[int], int, Future[ImageScores] | None]] = []
        try:
            for first in range(0, len(files), size):
                group = reading[first : first + size]
                squares: dict[int, Square] = {}
                for offset, job in enumerate(group):
                    try:
                        squares[offset] = job.result(_left(due))
                    except ImageError as error:
                        errors[first + offset] = error
                answer = (
                    model.batcher.submit(list(squares.values()), due, behind) if squares else None
                )
                waiting.append((list(squares), len(group), answer))
            parts = [
                _blank(model, count)
                if answer is None
                else answer.result(_left(due)).spread(rows, count)
                for rows, count, answer in waiting
            ]
        except Late:
            raise OverdueError("not answered in time; ask again in a moment") from None
        finally:
            for job in reading:
                job.cancel()
            for _, _, answer in waiting:
                if answer is not None:
                    answer.cancel()
        return ImageScores.join(parts), errors


def as_overlay(values: Map) -> bytes:
    """A map ``(H, W)`` as 8-bit grey PNG: black its smallest value, white its largest.

    It says where in this image, not how much. A map of one value is black.

    >>> from PIL import Image
    >>> png = as_overlay(np.array([[-0.5, 0], [0.25, 0.5]], np.float32))
    >>> np.asarray(Image.open(io.BytesIO(png))).tolist()
    [[0, 128], [191, 255]]
    """
    low, span = float(values.min()), float(np.ptp(values))
    grey = np.rint((values - low) * (255 / span if span else 0)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()


def _left(due: float) -> float | None:
    return None if due == float("inf") else max(0.0, due - time.monotonic())


def _blank(model: ServedModel, count: int) -> ImageScores:
    """Scores of images none of which can be read."""
    kinds, signs = len(model.bank.names), len(model.bank.sentences)
    nothing = np.full(count, np.nan)
    return ImageScores(
        np.full((count, kinds), np.nan),
        np.zeros((count, kinds), np.bool_),
        nothing,
        np.full((count, signs), np.nan),
        nothing,
    )


def _mapping(model: ServedModel, category: str) -> tuple[SignDetector, int]:
    """The detector behind a model, and the place of a category."""
    if not isinstance(model.judge, SignDetector):
        raise NoMapsError("an exported model gives no maps; serve what sdmad fit wrote")
    try:
        check_gives_maps(model.judge.backbone_)
    except InputError as error:
        raise NoMapsError(str(error)) from error
    if category not in model.bank.names:
        raise NoMapsError(f"no category {category!r}; there are: {', '.join(model.bank.names)}")
    return model.judge, model.bank.names.index(category)


class _Telling:
    """Scores as plain findings.

    Raises:
        InputError: if the model gives no probabilities or answers.
    """

    def __init__(self, model: ServedModel, stated: Stated) -> None:
        judge = model.judge
        self.model = model
        self.likely = None if stated.prevalence is None else judge.at_prevalence(stated.prevalence)
        self.answer = None if stated.error_rate is None else judge.answering(stated.error_rate)
        self.numbers = _sign_numbers(model)

    def rows(
        self, files: Sequence[Path], scores: ImageScores, errors: dict[int, ImageError]
    ) -> Iterator[Prediction]:
        likely = None if self.likely is None else self.likely(scores)
        answers = None if self.answer is None else self.answer(scores)
        return iter(
            Predictions(self.model.judge, list(files), scores, set(errors), likely, answers)
        )

    def __call__(
        self, files: Sequence[Path], scores: ImageScores, errors: dict[int, ImageError]
    ) -> list[Scored]:
        rows = self.rows(files, scores, errors)
        return [
            Scored(file, str(errors[place])) if place in errors else self._row(next(rows))
            for place, file in enumerate(files)
        ]

    def _row(self, row: Prediction) -> Scored:
        told = row.explanation
        odds = [_odds(self.model, told, entry) for entry in told.categories]
        certain = [1 / (1 + np.exp(-min(50.0, abs(value)))) for value in odds]
        return Scored(
            row.file,
            None,
            told.unfamiliar,
            float(1 / (1 + np.exp(-np.clip(max(odds), -50, 50)))),
            float(2 * (1 - min(certain))),
            tuple(self._finding(row, k) for k in range(len(told.categories))),
        )

    def _finding(self, row: Prediction, k: int) -> Finding:
        entry = row.explanation.categories[k]
        signs = tuple(self._sign(row.explanation, entry, sign) for sign in entry.signs)
        return Finding(
            entry.category,
            entry.score,
            row.probabilities[k] if row.probabilities else None,
            entry.threshold,
            entry.found,
            self.model.rule,
            next(sign for sign in signs if sign.decided),
            row.answers[k] if row.answers else None,
            signs,
        )

    def _sign(self, told: Explanation, entry: CategoryFinding, sign: SignFinding) -> Sign:
        number = self.numbers[entry.category, sign.sentence]
        above = sign.similarity - told.anchor_similarity
        name, decided = f"{entry.category} {number}", sign is entry.deciding_sign
        return Sign(name, sign.sentence, above, sign.kept, decided)


def _sign_numbers(model: ServedModel) -> dict[tuple[str, str], int]:
    """The number of each sign within its category, from 1."""
    found: dict[tuple[str, str], int] = {}
    for name, sentences in model.bank.categories.items():
        found |= {(name, sentence): number for number, sentence in enumerate(sentences, 1)}
    return found


def _odds(model: ServedModel, told: Explanation, entry: CategoryFinding) -> float:
    """How far a category lies above where it is found, as log odds."""
    if entry.threshold is None:
        above = entry.deciding_sign.similarity - told.anchor_similarity
    else:
        above = entry.score - entry.threshold
    return above if model.gives_odds and entry.threshold is not None else COSINES * above
