"""Scoring images in batches, some of which may not be readable; needs no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from sdmad.data.decoding import Square, decode_all
from sdmad.data.images import ImageError, ImageSource
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError
from sdmad.progress import track

OnError = Callable[[int, ImageError], None]


def score_in_batches(
    images: Sequence[ImageSource],
    preprocessing: Preprocessing,
    score: Callable[[Sequence[Square]], ImageScores],
    size: int,
    on_error: OnError | None,
    progress: str | None,
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

    Raises:
        ImageError: if an image cannot be read and there is no ``on_error``.
        InputError: if there is no image.
    """
    if len(images) == 0:
        raise InputError("there is no image to score")
    blank = np.zeros((preprocessing.size, preprocessing.size), np.uint8)
    parts = []
    with contextlib.closing(decode_all(preprocessing, images)) as decoded:
        for start in track(range(0, len(images), size), progress):
            batch = list(islice(decoded, size))
            readable = {
                i: square for i, square in enumerate(batch) if isinstance(square, np.ndarray)
            }
            for offset, error in enumerate(batch):
                if isinstance(error, ImageError):
                    if on_error is None:
                        raise error
                    on_error(start + offset, error)
            scored = score(list(readable.values()) or [blank])
            parts.append(scored.spread(list(readable), len(batch)))
    return ImageScores.join(parts)
