"""Plots of a metric against a setting, and grids of pictures, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdmad.evaluation.intervals import DrawSummary
from sdmad.reporting.plots import DASHES, INK, PALETTE, new_figure, save_figure, style_axes
from sdmad.reporting.tables import METRIC_TITLES


@dataclass(frozen=True)
class Curve:
    """One system's metric against a setting, in percent.

    Attributes:
        metric: a name of :data:`~sdmad.evaluation.labelled_scores.SUMMARY_METRICS`.
        system: whose it is.
        x: values of the setting, ascending.
        mean: one a value.
        low: lower end of the 95% interval.
        high: upper end.
    """

    metric: str
    system: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(
        cls, metric: str, system: str, x: Sequence[float], found: Sequence[DrawSummary]
    ) -> Curve:
        """Build from summaries, one a value of the setting."""
        mean, low, high = (
            tuple(100 * getattr(one, part) for one in found) for part in ("mean", "low", "high")
        )
        return cls(metric, system, tuple(x), mean, low, high)


def curve_plot(curves: Sequence[Curve], axis: str) -> bytes:
    """A panel a metric, a line a system, with 95% bands.

    Args:
        curves: what to draw.
        axis: what the setting is called.

    Returns:
        The picture, PNG.
    """
    metrics = list(dict.fromkeys(curve.metric for curve in curves))
    systems = list(dict.fromkeys(curve.system for curve in curves))
    figure = new_figure(4.6 * len(metrics) + 3.2, 3.6)
    panels = np.atleast_1d(figure.subplots(1, len(metrics)))
    for axes, metric in zip(panels, metrics, strict=True):
        for curve in (c for c in curves if c.metric == metric):
            number = systems.index(curve.system)
            colour = PALETTE[number % len(PALETTE)]
            dashes = DASHES[number // len(PALETTE) % len(DASHES)]
            axes.plot(curve.x, curve.mean, color=colour, linestyle=dashes, marker="o", markersize=4,
                      label=curve.system)  # fmt: skip
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.12, linewidth=0)
        style_axes(axes)
        axes.set_xlabel(axis)
        axes.set_ylabel(f"{METRIC_TITLES[metric]}, percent")
        axes.set_xticks(sorted({x for c in curves for x in c.x}))
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    figure.legend(
        list(lines.values()), [str(name) for name in lines],
        loc="outside right center", frameon=False, fontsize=9, labelcolor=INK,
    )  # fmt: skip
    return save_figure(figure, "png")


def picture_grid(
    pictures: Sequence[NDArray[np.uint8]], titles: Sequence[str], columns: int
) -> bytes:
    """Grey pictures side by side.

    Args:
        pictures: each ``(H, W)``, at least one.
        titles: one a picture.
        columns: pictures a row.

    Returns:
        The picture, PNG.
    """
    rows = -(-len(pictures) // columns)
    figure = new_figure(2.0 * columns, 2.2 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, picture, title in zip(panels, pictures, titles, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=9, color=INK)
    return save_figure(figure, "png")


def interval_plot(rows: Mapping[str, Sequence[DrawSummary]], titles: Sequence[str]) -> bytes:
    """A panel a metric, a row a system: its mean as a dot, its 95% interval as a line, in percent.

    Args:
        rows: summaries by system, one a metric.
        titles: of the metrics.

    Returns:
        The picture, PNG.
    """
    figure = new_figure(3.4 * len(titles) + 3.4, 0.3 * len(rows) + 1.2)
    panels = np.atleast_1d(figure.subplots(1, len(titles), sharey=True))
    for number, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        for place, summaries in enumerate(rows.values()):
            one = summaries[number]
            axes.plot([100 * one.low, 100 * one.high], [place, place], color=PALETTE[0], lw=1.4)
            axes.plot([100 * one.mean], [place], "o", color=PALETTE[0], markersize=5)
        style_axes(axes)
        axes.set_xlabel(f"{title}, percent")
    panels[0].set_yticks(range(len(rows)), list(rows))
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return save_figure(figure, "png")


def loss_plot(logs: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """A panel a system: its loss, epoch by epoch, a line a draw.

    Args:
        logs: by system, one log a draw; at least one system, and one epoch of each.

    Returns:
        The picture, PNG.
    """
    columns = min(4, len(logs))
    rows = -(-len(logs) // columns)
    figure = new_figure(3.0 * columns, 2.2 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in panels[len(logs) :]:
        axes.set_axis_off()
    for axes, (name, draws) in zip(panels, logs.items(), strict=False):
        for log in draws:
            axes.plot(range(1, len(log) + 1), log, color=PALETTE[0], lw=1.1, alpha=0.7)
        style_axes(axes)
        axes.set_title(name, fontsize=9, color=INK)
        axes.set_xlabel("epoch", fontsize=8)
    return save_figure(figure, "png")
