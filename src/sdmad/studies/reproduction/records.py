"""One measured figure with everything that stands beside it, and its form in a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.evaluation.intervals import DrawSummary
from sdmad.output import write_csv, write_json, write_text
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.table import Table

FIELDS = (
    *("part", "population", "columns", "what", "system", "value", "deviation"),
    *("draws_low", "draws_high", "cases_low", "cases_high", "low", "high"),
    *("paper", "difference", "outside", "images", "positives", "negatives", "draws", "note"),
)
CAPTION = (
    "Percent, mean over the draws ± their standard deviation. Intervals are 95%: over the draws "
    "(Student's t), over the cases (patients resampled, draws held), over both. difference: "
    "ours less the paper's; * where the paper's figure lies outside our interval over both. "
    "Positives and negatives are known labels among the judged images, the least and the most of "
    "the draws. none, all and prevalence are predictors that look at no image."
)


@dataclass(frozen=True)
class Record:
    """A figure of one system on one part of the data; shares of 1, the paper's in percent.

    Attributes:
        part: of the data, such as ``"slice 5"``; may be empty.
        population: which images were judged: all, or abnormal only.
        columns: number of categories.
        what: a metric or a category, whose AUROC it then is.
        system: name of the system or trivial predictor.
        summary: mean, deviation, intervals; None where it could not be run.
        paper: the paper's figure; None where it prints none.
        images: judged, one number a draw.
        positives: label 1, one number a draw.
        negatives: label 0, one number a draw.
        note: why a figure is missing or weak.
    """

    part: str
    population: str
    columns: int
    what: str
    system: str
    summary: DrawSummary | None
    paper: float | None
    images: tuple[int, ...]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    note: str = ""

    @property
    def difference(self) -> float:
        """Ours less the paper's, in percent; NaN where either is missing."""
        if self.summary is None or self.paper is None:
            return float("nan")
        return 100 * self.summary.mean - self.paper

    @property
    def outside(self) -> bool:
        """Whether the paper's figure lies outside our interval over draws and cases."""
        if self.summary is None or self.paper is None:
            return False
        low, high = 100 * self.summary.low, 100 * self.summary.high
        return self.paper < low or self.paper > high

    def to_dict(self) -> dict[str, Any]:
        """Plain values by :data:`FIELDS`, shares in percent, None where there is none."""
        s = self.summary
        numbers: tuple[float, ...] = (float("nan"),) * 8
        if s is not None:
            numbers = (s.mean, s.deviation, *s.draws, *s.cases, s.low, s.high)
        figures = [None if isnan(v) else round(100 * v, 3) for v in numbers]
        difference = None if isnan(self.difference) else round(self.difference, 3)
        values = (
            *(self.part, self.population, self.columns, self.what, self.system),
            *figures,
            *(self.paper, difference, self.outside),
            *(_span(self.images), _span(self.positives), _span(self.negatives)),
            *(len(self.images), self.note),
        )
        return dict(zip(FIELDS, values, strict=True))

    def cells(self) -> tuple[str, ...]:
        """One row of the long table."""
        s = self.summary
        ours = self.note or "n/a"
        draws = cases = both = ""
        if s is not None and not isnan(s.mean):
            ours = f"{100 * s.mean:.1f}" + (
                "" if isnan(s.deviation) else f" ± {100 * s.deviation:.1f}"
            )
            draws, cases, both = map(_interval, (s.draws, s.cases, (s.low, s.high)))
        difference = "" if isnan(self.difference) else f"{self.difference:+.1f}"
        return (
            shown(self.what),
            self.system,
            ours,
            *(draws, cases, both),
            "" if self.paper is None else f"{self.paper:g}",
            difference + (" *" if self.outside else ""),
            f"{_span(self.positives)} / {_span(self.negatives)}",
        )


def shown(what: str) -> str:
    """A metric's title, or the category."""
    return METRIC_TITLES.get(what, what)


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low}" if low == high else f"{low}-{high}"


def _interval(ends: tuple[float, float]) -> str:
    return "" if np.isnan(ends).any() else f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def compact_table(title: str, records: Sequence[Record]) -> Table:
    """The table as the paper lays it out: a row a figure, a column a system, ours / paper's."""
    systems = list(dict.fromkeys(r.system for r in records))
    by_key = {(_row(r), r.system): r for r in records}
    rows = [
        (
            key,
            *(_pair(by_key[key, system]) if (key, system) in by_key else "" for system in systems),
        )
        for key in dict.fromkeys(map(_row, records))
    ]
    return Table(title, ("", *systems), tuple(rows), "Ours, and the paper's figure in brackets.")


def _row(record: Record) -> str:
    place = [record.part, record.population if record.population != "all" else ""]
    place += [f"{record.columns} categories"] if record.part else []
    where = ", ".join(p for p in place if p)
    return f"{where}: {shown(record.what)}" if where else shown(record.what)


def _pair(record: Record | None) -> str:
    if record is None:
        return ""
    ours = record.note or "n/a"
    if record.summary is not None and not isnan(record.summary.mean):
        ours = f"{100 * record.summary.mean:.1f}"
    return ours if record.paper is None else f"{ours} ({record.paper:g})"


def long_tables(records: Sequence[Record]) -> list[Table]:
    """Every figure with its intervals; a table for each part, population and set of columns."""
    header = (
        *("What", "System", "Ours", "over draws", "over cases", "over both"),
        *("paper", "difference", "positives / negatives"),
    )
    groups = dict.fromkeys((r.part, r.population, r.columns) for r in records)
    made = []
    for part, population, columns in groups:
        rows = [
            r for r in records if (r.part, r.population, r.columns) == (part, population, columns)
        ]
        images = _span(rows[0].images)
        place = f"{part}, " if part else ""
        title = f"{place}{population} images ({images}), {columns} categories"
        made.append(Table(title, header, tuple(r.cells() for r in rows), ""))
    return made


def write_records(
    folder: Path, name: str, title: str, head: Iterable[str], records: Sequence[Record]
) -> list[Path]:
    """Write ``<name>.md``, ``.csv`` and ``.json`` into a folder.

    Args:
        folder: an existing folder.
        name: of the files.
        title: heading of the page.
        head: lines on what was run.
        records: every figure.

    Returns:
        The files.

    Raises:
        SDMADError: if one cannot be written.
    """
    told = list(head)
    tables = [compact_table("As the paper lays it out", records), *long_tables(records)]
    page = [f"# {title}", "", *(f"- {line}" for line in told), "", CAPTION, ""]
    page += [table.markdown() for table in tables]
    files = [folder / f"{name}.{ending}" for ending in ("md", "csv", "json")]
    write_text(files[0], "\n".join(page))
    rows = [list(record.to_dict().values()) for record in records]
    write_csv(files[1], list(FIELDS), rows)
    content = {"title": title, "run": told, "records": [record.to_dict() for record in records]}
    write_json(files[2], content)
    return files
