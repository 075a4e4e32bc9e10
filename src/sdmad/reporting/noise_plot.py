"""A plot of two rules against growing noise, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdmad.reporting.plots import DASHES, FAINT, INK, PALETTE, new_figure, save_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPREAD = 0.36


@dataclass(frozen=True)
class NoisePoint:
    """A value in percent with its 95% interval."""

    value: float
    low: float
    high: float


Lines = Mapping[str, Sequence[NoisePoint]]
"""By name, one point an amount of noise."""


def noise_plot(
    values: Mapping[str, Lines],
    differences: Mapping[str, Lines],
    amounts: Sequence[int],
    axis: str,
    titles: tuple[str, str],
) -> bytes:
    """A column a kind of noise: values above, paired differences below.

    Args:
        values: by kind, then by line; the lines come in pairs, one colour a pair, the first of a
            pair dashed.
        differences: by kind, then by system, in the order of the pairs.
        amounts: of noise, as many as each line has points.
        axis: what the amounts are.
        titles: of the values' axis and of the differences'.

    Returns:
        The picture, PNG.
    """
    figure = new_figure(3.0 * len(values) + 2.6, 5.6)
    grid = figure.subplots(2, len(values), sharex=True, sharey="row", squeeze=False)
    for column, kind in enumerate(values):
        above, below = grid[0, column], grid[1, column]
        above.set_title(kind, fontsize=10, color=INK)
        for number, (name, points) in enumerate(values[kind].items()):
            look = {"linestyle": DASHES[1 - number % 2], "color": PALETTE[number // 2]}
            _draw(above, points, _place(number, len(values[kind])), name, look)
        below.axhline(0, color=FAINT, linewidth=1)
        for number, (name, points) in enumerate(differences[kind].items()):
            look = {"linestyle": DASHES[0], "color": PALETTE[number]}
            _draw(below, points, _place(number, len(differences[kind])), name, look)
        for axes in (above, below):
            axes.set_xticks(range(len(amounts)), [str(amount) for amount in amounts])
            style_axes(axes)
        below.set_xlabel(axis)
    for row, title in enumerate(titles):
        grid[row, 0].set_ylabel(title)
        style_axes(grid[row, 0])
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside right center", frameon=False, fontsize=9, labelcolor=INK,
        handlelength=3.4,
    )  # fmt: skip
    return save_figure(figure, "png")


def _place(number: int, count: int) -> float:
    """How far a line's points stand beside the tick, so that intervals do not hide each other."""
    return _SPREAD * (number / max(1, count - 1) - 0.5)


def _draw(
    axes: Axes, points: Sequence[NoisePoint], shift: float, name: str, look: Mapping[str, Any]
) -> None:
    places = np.arange(len(points)) + shift
    axes.plot(places, [p.value for p in points], marker="o", markersize=4, label=name, **look)
    axes.vlines(
        places, [p.low for p in points], [p.high for p in points], color=look["color"], alpha=0.45
    )
