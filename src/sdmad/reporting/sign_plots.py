"""A picture of a sign bank: how near its signs are to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sdmad.errors import InputError
from sdmad.evaluation.checks import score_array
from sdmad.reporting.plots import (
    DROPPED,
    INK,
    ImageFormat,
    cosine_bar,
    new_figure,
    save_figure,
    short,
    spans,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SIGNS_NAMED = 120
_SIGN_LENGTH = 60
_NAME_LENGTH = 26


def sign_matrix(
    cosine: ArrayLike,
    signs: Sequence[str],
    categories: Sequence[str],
    kept: ArrayLike,
    image_format: ImageFormat = "png",
) -> bytes:
    """The sign-by-sign cosine matrix, category by category.

    Signs stand in the order in which their categories first occur; lines part the categories, whose
    names stand below. Up to 120 signs are written out; discarded ones are grey and marked.

    Args:
        cosine: shape ``(S, S)``, finite.
        signs: the S sentences.
        categories: the category of each sign, S of them.
        kept: shape ``(S,)``: whether the selection keeps the sign.
        image_format: ``png`` or ``svg``.

    Returns:
        The picture.

    Raises:
        InputError: if the shapes disagree or there is no sign.
    """
    count = len(signs)
    values = score_array(cosine, (count, count), "cosines of the signs")
    marks = np.asarray(kept, dtype=bool)
    if count == 0 or len(categories) != count or marks.shape != (count,):
        raise InputError(
            f"sign matrix: expected as many categories and marks as the {count} signs, at least "
            f"one, got {len(categories)} and shape {marks.shape}"
        )
    rank = {name: number for number, name in enumerate(dict.fromkeys(categories))}
    order = sorted(range(count), key=lambda s: rank[categories[s]])
    side = min(14.0, max(4.0, 0.14 * count))
    figure = new_figure(side + 5.0, side + 1.4)
    axes = figure.add_subplot()
    image = axes.imshow(
        values[np.ix_(order, order)], cmap="cividis", interpolation="nearest", vmax=1.0
    )
    _signs(axes, [signs[s] for s in order], marks[order].tolist())
    _categories(axes, [categories[s] for s in order])
    cosine_bar(figure, image, axes)
    return save_figure(figure, image_format)


def _signs(axes: Axes, signs: Sequence[str], kept: Sequence[bool]) -> None:
    """The sentences on the left, if they can be read at all."""
    axes.tick_params(length=0)
    if len(signs) > MOST_SIGNS_NAMED:
        axes.set_yticks([])
        return
    shown = [
        f"{short(sign, _SIGN_LENGTH)}{'' if keep else ' (discarded)'}"
        for sign, keep in zip(signs, kept, strict=True)
    ]
    axes.set_yticks(range(len(signs)))
    labels = axes.set_yticklabels(shown, fontsize=7, parse_math=False)
    for label, keep in zip(labels, kept, strict=True):
        label.set_color(INK if keep else DROPPED)


def _categories(axes: Axes, categories: Sequence[str]) -> None:
    """Names below, lines between."""
    runs = spans(categories)
    axes.set_xticks([(start + end - 1) / 2 for _, start, end in runs])
    names = [short(name, _NAME_LENGTH) for name, _, _ in runs]
    axes.set_xticklabels(names, rotation=40, ha="right", fontsize=8.5, color=INK, parse_math=False)
    for _, start, _ in runs[1:]:
        axes.axhline(start - 0.5, color="white", linewidth=1.4)
        axes.axvline(start - 0.5, color="white", linewidth=1.4)
    for spine in axes.spines.values():
        spine.set_visible(False)
