"""Scoring images in batches, some of which may not be readable; needs no torch."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from sdmad.data.decoding import Square, decode_all
from sdmad.data.images import ImageError, ImageSource
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError
from sdmad.progress import track

OnError = Callable[[int, ImageError], None]
Score = Callable[[Sequence[Square]], ImageScores]
MOST_LANES = 8

LANE_BATCH = 4
"""Images a batch of a lane on a processor: so few that what passes between the layers of a tower
stays in its caches, which is worth more than larger products."""


@dataclass(frozen=True)
class Lanes:
    """Batches that run at once, each in a thread.

    A batch that is spread over all cores waits at every layer for the slowest, which decodes an
    image at the same time; batches beside each other do not wait.

    Attributes:
        count: how many.
        start: called in each thread first.
    """

    count: int = 1
    start: Callable[[], None] | None = None


ONE_LANE = Lanes()


def lanes_on(cores: int) -> int:
    """How many lanes to run on some cores, each on its share of them."""
    return max(1, min(cores, MOST_LANES))


def score_in_batches(
    images: Sequence[ImageSource],
    preprocessing: Preprocessing,
    score: Score,
    size: int,
    on_error: OnError | None,
    progress: str | None,
    lanes: Lanes = ONE_LANE,
) -> ImageScores:
    """Score images in their order; memory does not grow with their number.

    Args:
        images: n paths, Pillow images or arrays.
        preprocessing: how an image becomes a square.
        score: of some squares, one at least.
        size: images a batch.
        on_error: called with the position and the error of an unreadable image, whose row
            becomes NaN and finds nothing; without it the error is raised.
        progress: what to call the work on a progress bar; None for no bar.
        lanes: batches that run at once.

    Raises:
        ImageError: if an image cannot be read and there is no ``on_error``.
        InputError: if there is no image.
    """
    with contextlib.closing(decode_all(preprocessing, images)) as decoded:
        return score_decoded(
            decoded, len(images), preprocessing.size, score, size, on_error, progress, lanes
        )


def score_decoded(
    decoded: Iterator[Square | ImageError],
    count: int,
    side: int,
    score: Score,
    size: int,
    on_error: OnError | None,
    progress: str | None = None,
    lanes: Lanes = ONE_LANE,
) -> ImageScores:
    """Score images that others read, as :func:`score_in_batches`.

    Args:
        decoded: of each image its square, or why it cannot be read.
        count: how many there are.
        side: of a square, in pixels.
        score: of some squares, one at least.
        size: images a batch.
        on_error: called with the position and the error of an unreadable image.
        progress: what to call the work on a progress bar; None for no bar.
        lanes: batches that run at once.

    Raises:
        ImageError: if an image cannot be read and there is no ``on_error``.
        InputError: if there is no image.
    """
    if count == 0:
        raise InputError("there is no image to score")
    batches = (list(islice(decoded, size)) for _ in range(0, count, size))
    readable = (_readable(n * size, batch, on_error) for n, batch in enumerate(batches))

    def finish(batch: Batch) -> ImageScores:
        rows, squares, total = batch
        return score(squares or [np.zeros((side, side), np.uint8)]).spread(rows, total)

    alone = lanes.count == 1 or count <= size
    scored = map(finish, readable) if alone else _beside(finish, readable, lanes)
    steps = track(range(0, count, size), progress)
    return ImageScores.join([part for _, part in zip(steps, scored, strict=True)])


Batch = tuple[list[int], list[Square], int]
"""Places and squares of the images of a batch that can be read, and how many it has."""


def _readable(first: int, batch: list[Square | ImageError], on_error: OnError | None) -> Batch:
    for offset, found in enumerate(batch):
        if isinstance(found, ImageError):
            if on_error is None:
                raise found
            on_error(first + offset, found)
    read = {i: square for i, square in enumerate(batch) if isinstance(square, np.ndarray)}
    return list(read), list(read.values()), len(batch)


def _beside(
    finish: Callable[[Batch], ImageScores],
    batches: Iterator[Batch],
    lanes: Lanes,
) -> Iterator[ImageScores]:
    """Finish batches in their order, some at once; one more is read ahead."""
    waiting: deque[Future[ImageScores]] = deque()
    with ThreadPoolExecutor(lanes.count, initializer=lanes.start) as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(finish, batch))
                if len(waiting) > lanes.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for job in waiting:
                job.cancel()
