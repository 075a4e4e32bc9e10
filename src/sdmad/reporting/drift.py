"""A report on an archive period after period: tables, plots, and one self-contained page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.evaluation.drift import LEAST_DISTANCE, LEAST_SHARE, Change
from sdmad.evaluation.limits import Interval
from sdmad.output import write_json, write_text
from sdmad.reporting.plots import (
    DASHES,
    PALETTE,
    new_figure,
    save_figure,
    short,
    style_axes,
)
from sdmad.reporting.report import environment, uri
from sdmad.reporting.tables import percent_interval
from sdmad.table import Table
from sdmad.text import without_surrogates

QUANTILES = (0.05, 0.5, 0.95)
"""Of the scores, that are shown."""


@dataclass(frozen=True)
class PeriodSummary:
    """A period of an archive.

    Attributes:
        name: such as 2024-03.
        images: how many.
        unfamiliar: share of images unlike those of the fit, and its 95% interval.
        findings: of each category the share of images in which it was found, with its interval.
        quantiles: of each category's scores, at :data:`QUANTILES`.
        changes: against the reference; empty of the reference itself and of too few images.
    """

    name: str
    images: int
    unfamiliar: tuple[float, Interval]
    findings: tuple[tuple[float, Interval], ...]
    quantiles: tuple[tuple[float, ...], ...]
    changes: tuple[Change, ...]

    @property
    def alarms(self) -> tuple[Change, ...]:
        """What changed for sure and enough to matter."""
        return tuple(one for one in self.changes if one.alarm)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "changes": [one.to_dict() for one in self.changes]}


@dataclass(frozen=True)
class Drift:
    """An archive period after period.

    Attributes:
        categories: their names.
        reference: what periods are held to.
        periods: in the order of time; the reference's own row comes first.
        rate: of false alarms a period, at most.
        expected: share of unfamiliar images that the fit expects among images of its kind.
        notes: what was left out, and why.
    """

    categories: tuple[str, ...]
    reference: str
    periods: tuple[PeriodSummary, ...]
    rate: float
    expected: float
    notes: tuple[str, ...] = ()

    @property
    def alarmed(self) -> bool:
        """Whether any period alarms."""
        return any(one.alarms for one in self.periods)

    def tables(self) -> tuple[Table, ...]:
        """Shares a period, and every change that alarms."""
        return (_shares(self), _alarms(self))

    def summary(self) -> tuple[str, ...]:
        """What a person should know first."""
        judged = [one for one in self.periods if one.changes]
        alarmed = [one for one in judged if one.alarms]
        told = [f"{len(alarmed)} of {len(judged)} periods differ from {self.reference}."]
        told += [
            f"{one.name}: {', '.join(_named(change) for change in one.alarms)}." for one in alarmed
        ]
        told.append(
            f"A period in which nothing changed alarms with a chance of {self.rate:.1%} at most, "
            "if images are independent; with several images a patient, more often."
        )
        return (*told, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **vars(self),
            "alarm": self.alarmed,
            "periods": [one.to_dict() for one in self.periods],
        }


def _named(change: Change) -> str:
    if change.what == "unfamiliar":
        return "unfamiliar images"
    return f"{change.what} of {change.category}"


def _shares(drift: Drift) -> Table:
    header = ("Period", "Images", "Unfamiliar", *drift.categories, "Alarms")
    rows = tuple(
        (
            one.name,
            f"{one.images:,}",
            percent_interval(*one.unfamiliar),
            *(percent_interval(*found) for found in one.findings),
            str(len(one.alarms)) if one.changes else "not judged",
        )
        for one in drift.periods
    )
    caption = (
        "Percent of the images that are unfamiliar, and in which each category was found; in "
        f"brackets 95%. Of images of its own kind the fit expects {drift.expected:.1%} to be "
        "unfamiliar."
    )
    return Table("Shares", header, rows, caption)


def _alarms(drift: Drift) -> Table:
    rows = tuple(
        (
            one.name,
            _named(change),
            f"{change.before:.3f}",
            f"{change.after:.3f}",
            f"{change.size:.3f}",
            f"{change.p:.1e}",
        )
        for one in drift.periods
        for change in one.alarms
    )
    caption = (
        "Before and after: the median score, or the share. Change: the distance of the two "
        f"distributions (from {LEAST_DISTANCE:g} on it matters), or that of the shares "
        f"(from {LEAST_SHARE:g})."
    )
    return Table("Alarms", ("Period", "What", "Before", "After", "Change", "p"), rows, caption)


def shares_plot(drift: Drift) -> bytes:
    """Shares of unfamiliar images and of findings, period after period, as SVG."""
    figure = new_figure(8.2, 3.4)
    axes = figure.add_subplot()
    places = np.arange(len(drift.periods))
    named = [("unfamiliar", [one.unfamiliar for one in drift.periods])]
    named += [
        (short(name, 26), [one.findings[k] for one in drift.periods])
        for k, name in enumerate(drift.categories)
    ]
    for number, (name, shares) in enumerate(named):
        values = 100 * np.array([value for value, _ in shares])
        ends = 100 * np.array([interval for _, interval in shares])
        style = {
            "color": PALETTE[number % len(PALETTE)],
            "linestyle": DASHES[number // len(PALETTE) % len(DASHES)],
        }
        axes.plot(places, values, marker="o", markersize=3, linewidth=1.6, label=name, **style)
        axes.fill_between(places, *ends.T, color=style["color"], alpha=0.12, linewidth=0)
    return _finished(figure, axes, drift, "Percent of the images")


def scores_plot(drift: Drift) -> bytes:
    """Each category's median score and where 90% of its scores lie, as SVG."""
    figure = new_figure(8.2, 3.4)
    axes = figure.add_subplot()
    places = np.arange(len(drift.periods))
    for k, name in enumerate(drift.categories):
        low, middle, high = np.array([one.quantiles[k] for one in drift.periods]).T
        style = {
            "color": PALETTE[k % len(PALETTE)],
            "linestyle": DASHES[k // len(PALETTE) % len(DASHES)],
        }
        axes.plot(places, middle, marker="o", markersize=3, label=short(name, 26), **style)
        axes.fill_between(places, low, high, color=style["color"], alpha=0.08, linewidth=0)
    return _finished(figure, axes, drift, "Score")


def _finished(figure: Any, axes: Any, drift: Drift, label: str) -> bytes:
    style_axes(axes)
    axes.set_ylabel(label)
    names = [one.name for one in drift.periods]
    step = max(1, len(names) // 12)
    axes.set_xticks(np.arange(len(names))[::step], names[::step], parse_math=False)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return save_figure(figure, "svg")


def write_drift(drift: Drift, folder: Path, title: str) -> None:
    """Write ``drift.json``, the tables and ``report.html`` into a folder.

    Raises:
        SDMADError: if something cannot be written.
    """
    tables = drift.tables()
    write_json(folder / "drift.json", drift.to_dict())
    for number, table in enumerate(tables, 1):
        table.write_csv(folder / f"table{number}.csv")
    images = sum(one.images for one in drift.periods)
    page = (
        environment()
        .get_template("drift.html.j2")
        .render(
            title=title,
            subtitle=f"{images:,} images, {len(drift.categories)} categories; reference: "
            f"{drift.reference}",
            summary=drift.summary(),
            tables=tables,
            plots=(
                ("Unfamiliar images and findings; shaded: 95%", uri(shares_plot(drift), "svg")),
                (
                    "Median of the scores; shaded: where 90% of them lie",
                    uri(scores_plot(drift), "svg"),
                ),
            ),
        )
    )
    write_text(folder / "report.html", without_surrogates(page))
