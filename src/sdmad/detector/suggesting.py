"""Which unlabelled images to label next: those that the model is unsure of, spread over the rest.

Greedy, one image after the other: the next is the one whose doubt, times its distance from what was
chosen before it, is largest (a weighted farthest-first traversal, as in k-center active learning;
Sener and Savarese 2018). So ten pictures of one doubtful kind do not take the whole budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.data.decoding import decode_all
from sdmad.data.images import ImageError, content_hash
from sdmad.detector.base import BATCH_SIZE, OnError
from sdmad.detector.scores import ImageScores
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.progress import track


@dataclass(frozen=True)
class Suggestion:
    """An image to label.

    Attributes:
        file: where it is.
        doubt: how unsure the model is of its most doubtful category, 0 to 1.
        category: which that is.
        unfamiliar: whether the image is unlike those that the model was fitted on.
    """

    file: Path
    doubt: float
    category: str
    unfamiliar: bool


def suggest(
    detector: SignDetector, files: Sequence[Path], budget: int, on_error: OnError | None = None
) -> list[Suggestion]:
    """Rank the images that are most worth a label.

    Args:
        detector: fitted, with scores that are log odds.
        files: unlabelled images; those that the model was fitted on are passed over.
        budget: how many to suggest.
        on_error: called with the position and the error of an unreadable image, which is left out.

    Raises:
        ImageError: if an image cannot be read and there is no ``on_error``.
        InputError: if the scores are no log odds, the budget is below 1, or nothing can be read.
    """
    if detector.config_.image_evidence != "cross-modal":
        raise InputError(
            "suggesting needs scores that are log odds: fit with cross-modal evidence "
            f"(this model has {detector.config_.image_evidence})"
        )
    if budget < 1:
        raise InputError(f"the budget must be 1 or more, got {budget}")
    seen = {*detector.support_hashes_, *detector.threshold_hashes_}
    files = [file for file in files if _hash_or_none(file) not in seen]
    if not files:
        raise InputError("every image is one that the model was fitted on")
    places, scored, evidence = _look(detector, files, on_error)
    doubts = doubt(scored.scores)
    chosen = spread(doubts.max(axis=1), evidence, budget)
    return [
        Suggestion(
            files[places[row]],
            float(doubts[row].max()),
            detector.categories[int(doubts[row].argmax())],
            bool(scored.unfamiliar[row]),
        )
        for row in chosen
    ]


def doubt(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """How near each decision is to a toss-up, 0 to 1: ``4 p (1 - p)`` of log odds ``(n, K)``.

    >>> import numpy as np
    >>> doubt(np.array([[0.0, 2.0, -20.0]])).round(2)
    array([[1.  , 0.42, 0.  ]])
    """
    likely = 1 / (1 + np.exp(-odds))
    return np.asarray(4 * likely * (1 - likely))


def spread(doubts: NDArray[np.float64], evidence: Tensor, budget: int) -> list[int]:
    """Choose images one after the other by doubt times distance from those chosen before.

    Args:
        doubts: shape ``(n,)``, 0 or more.
        evidence: what lies near is alike, ``(n, E)``.
        budget: how many; all where there are fewer.
    """
    directions = normalize((evidence - evidence.mean(dim=0)).double(), dim=-1).cpu().numpy()
    distance = np.full(len(doubts), 2.0)
    chosen: list[int] = []
    for _ in range(min(budget, len(doubts))):
        worth = doubts * distance
        worth[chosen] = -1.0
        best = int(worth.argmax())
        chosen.append(best)
        distance = np.minimum(distance, 1 - directions @ directions[best])
    return chosen


def _hash_or_none(file: Path) -> str | None:
    try:
        return content_hash(file)
    except ImageError:
        return None  # reported when it is read


@torch.no_grad()
def _look(
    detector: SignDetector, files: Sequence[Path], on_error: OnError | None
) -> tuple[list[int], ImageScores, Tensor]:
    """Places of the readable images, their scores and their evidence."""
    preprocessing, places, parts, known = detector.preprocessing, [], [], []
    with closing(decode_all(preprocessing, files)) as decoded:
        for start in track(range(0, len(files), BATCH_SIZE), "looking"):
            squares = []
            for place, found in enumerate(islice(decoded, BATCH_SIZE), start):
                if isinstance(found, ImageError):
                    if on_error is None:
                        raise found
                    on_error(place, found)
                    continue
                places.append(place)
                squares.append(found)
            if squares:
                features = detector.image_features(preprocessing.standardise(squares))
                parts.append(detector.head_(features))
                told = features.embedding if features.evidence is None else features.evidence
                known.append(told)
    if not parts:
        raise InputError(f"none of the {len(files)} images could be read")
    return places, ImageScores.join(parts), torch.cat(known)
