"""The comparison at a glance: how well each system ranks against what its fit takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.results_tables import Stored, column, figure_of
from sdmad.reporting.plots import FAINT, INK, new_figure, save_figure, style_axes
from sdmad.table import MISSING, Table

LEAST = 0.05
"""Seconds at which what takes less is drawn: the tables have tenths."""


@dataclass(frozen=True)
class Point:
    """A system of the comparison.

    Attributes:
        title: its name in tables.
        seconds: of its longest fit.
        auroc: mean AUROC of the categories, in percent.
        subset: subset accuracy, in percent; None where it is not judged.
    """

    title: str
    seconds: float
    auroc: float
    subset: float | None


def points(means: Table, costs: Iterable[Table]) -> list[Point]:
    """The systems that were asked for every category, the best AUROC first.

    Args:
        means: of the modalities, a row a system.
        costs: a table a number of shots, likewise. The longest fit counts: what was trained
            elsewhere was trained with one of them.
    """
    seconds: dict[str, float] = {}
    for table in costs:
        for title, cell in zip(column(table, "System"), column(table, "Fit, s"), strict=True):
            if cell != MISSING:
                seconds[title] = max(seconds.get(title, 0.0), figure_of(cell))
    names = ("System", "Mean AUROC", "Subset accuracy")
    found = []
    for title, auroc, subset in zip(*(column(means, name) for name in names), strict=True):
        if auroc != MISSING and title in seconds:
            judged = None if subset == MISSING else figure_of(subset)
            found.append(Point(title, seconds[title], figure_of(auroc), judged))
    return sorted(found, key=lambda one: -one.auroc)


def last(tables: Stored) -> Table:
    """The table of the most shots, the last of the keys."""
    return tables[max(tables, key=lambda keys: int(keys[-1]))]


def glance_plot(shown: list[Point]) -> bytes:
    """A numbered dot a system: AUROC against the seconds of a fit, coloured by subset accuracy.

    Args:
        shown: what :func:`points` found.

    Returns:
        The picture, PNG.
    """
    figure = new_figure(10.0, max(4.6, 0.2 * len(shown) + 0.6))
    axes, names = figure.subplots(1, 2, width_ratios=(3, 2))
    judged = [one for one in shown if one.subset is not None]
    dots = axes.scatter(
        [max(one.seconds, LEAST) for one in judged],
        [one.auroc for one in judged],
        c=[one.subset for one in judged],
        cmap="viridis",
        s=60,
    )
    rest = [one for one in shown if one.subset is None]
    axes.scatter(
        [max(one.seconds, LEAST) for one in rest],
        [one.auroc for one in rest],
        facecolors="none",
        edgecolors=FAINT,
        s=60,
    )
    for number, one in enumerate(shown, 1):
        place = (max(one.seconds, LEAST), one.auroc)
        axes.annotate(str(number), place, (5, 3), textcoords="offset points", fontsize=7, color=INK)
    style_axes(axes)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of the longest fit")
    axes.set_ylabel("mean AUROC, percent")
    figure.colorbar(dots, ax=axes, label="subset accuracy, percent", location="bottom", shrink=0.7)
    names.set_axis_off()
    told = "\n".join(f"{number}  {one.title}" for number, one in enumerate(shown, 1))
    names.text(0, 1, told, va="top", fontsize=8, color=INK, transform=names.transAxes)
    return save_figure(figure, "png")
