"""Scores told in signs: which sentences speak for each category in an image; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdmad.detector.scores import ImageScores
from sdmad.signs import SignBank


@dataclass(frozen=True)
class SignFinding:
    """One sign of one image: its sentence, its cosine with the image, whether it was kept."""

    sentence: str
    similarity: float
    kept: bool


@dataclass(frozen=True)
class CategoryFinding:
    """What one category says of one image.

    Attributes:
        category: its name.
        score: larger is more likely.
        found: the decision.
        threshold: the score above which it is found; None of a rule that holds signs to
            the anchor.
        deciding_sign: the kept sign with the largest cosine (Eq. 7).
        signs: all its signs, the most similar first.
    """

    category: str
    score: float
    found: bool
    threshold: float | None
    deciding_sign: SignFinding
    signs: tuple[SignFinding, ...]


@dataclass(frozen=True)
class Explanation:
    """Why an image was judged as it was.

    Attributes:
        categories: one entry a category, in the bank's order.
        anchor_similarity: cosine of the image with the normal anchor.
        abnormality: how abnormal the image is by its best category.
        unfamiliar: whether the image is unlike those that the detector was fitted on.
    """

    categories: tuple[CategoryFinding, ...]
    anchor_similarity: float
    abnormality: float
    unfamiliar: bool = False


def explanations(
    bank: SignBank,
    keep: NDArray[np.bool_],
    scored: ImageScores,
    limits: NDArray[np.float64] | None,
) -> list[Explanation]:
    """Explanations of images that were scored.

    Args:
        bank: the signs, S of them.
        keep: those that selection kept, ``(S,)``.
        scored: n images' scores.
        limits: the score above which each category is found, ``(K,)``; None of a rule that holds
            signs to the anchor.
    """
    above = [None] * len(bank.names) if limits is None else limits.tolist()
    return [
        Explanation(
            tuple(_category(bank, keep, scored, row, k, above[k]) for k in range(len(above))),
            float(scored.anchor_similarity[row]),
            float(scored.abnormality[row]),
            bool(scored.unfamiliar[row]),
        )
        for row in range(len(scored))
    ]


def deciding_signs(
    bank: SignBank, keep: NDArray[np.bool_], similarity: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The kept sign of each category with the largest cosine, by its number, ``(n, K)``.

    Args:
        bank: the signs, S of them.
        keep: those that selection kept, ``(S,)``.
        similarity: cosine of each image with each sign, ``(n, S)``; NaN of one not read.
    """
    category = np.array(bank.category_index)
    known = np.nan_to_num(similarity, nan=-np.inf)
    columns = []
    for k in range(len(bank.names)):
        mine = np.flatnonzero((category == k) & keep)
        columns.append(mine[known[:, mine].argmax(axis=1)])
    return np.stack(columns, axis=1)


def _category(
    bank: SignBank,
    keep: NDArray[np.bool_],
    scored: ImageScores,
    row: int,
    k: int,
    threshold: float | None,
) -> CategoryFinding:
    mine = np.flatnonzero(np.array(bank.category_index) == k)
    found = [
        SignFinding(bank.sentences[s], float(scored.similarity[row, s]), bool(keep[s]))
        for s in mine
    ]
    signs = tuple(sorted(found, key=lambda sign: -sign.similarity))
    return CategoryFinding(
        bank.names[k],
        float(scored.scores[row, k]),
        bool(scored.decisions[row, k]),
        threshold,
        next(sign for sign in signs if sign.kept),
        signs,
    )
