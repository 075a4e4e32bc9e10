"""A forest plot: differences and their intervals, a panel a metric, a colour a modality."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from benchmarks.results_tables import SPREAD
from sdmad.reporting.plots import INK, PALETTE, new_figure, save_figure, style_axes
from sdmad.table import Table

REACH = 0.5
"""How much of the height of a row its marks take."""


def forest_plot(tables: Mapping[str, Table]) -> bytes:
    """Draw differences, a panel a column, a row a row.

    Args:
        tables: by what its marks are called in the legend; cells such as "+1.2 [-0.3, +2.7]".

    Returns:
        The picture, PNG.
    """
    first = next(iter(tables.values()))
    names = [re.sub("^minus ", "", row[0]) for row in first.rows]
    columns = len(first.header) - 1
    figure = new_figure(max(2.1 * columns, 4.0) + 3.2, 0.42 * len(names) + 1.4)
    panels = np.atleast_1d(figure.subplots(1, columns, sharey=True))
    places = np.linspace(-REACH / 2, REACH / 2, len(tables))
    for column, axes in enumerate(panels, 1):
        axes.axvline(0, color=INK, lw=0.8)
        for number, (name, table) in enumerate(tables.items()):
            marks = [SPREAD.fullmatch(row[column]).groups() for row in table.rows]
            middle, low, high = np.array([[float(m[i]) for i in (0, 2, 3)] for m in marks]).T
            heights = np.arange(len(names)) + places[number]
            axes.hlines(heights, low, high, color=PALETTE[number], lw=1.4)
            axes.plot(middle, heights, "o", color=PALETTE[number], markersize=4, label=name)
        style_axes(axes)
        axes.set_title(first.header[column], fontsize=10, color=INK)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel("points of percent, to the right of 0: better", fontsize=9, color=INK)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper right", ncols=len(tables), frameon=False, fontsize=9)
    return save_figure(figure, "png")
