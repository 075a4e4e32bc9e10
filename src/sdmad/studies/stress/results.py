"""What the levels of noise show: figures with intervals, tables, a plot, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.evaluation.intervals import (
    DrawSummary,
    PairedDifference,
    paired_difference,
    summarise_draws,
)
from sdmad.output import write_bytes, write_csv, write_json, write_text
from sdmad.reporting.draw_tables import METRICS, cell, difference_cell
from sdmad.reporting.noise_plot import NoisePoint, noise_plot
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.signs.noise import DUPLICATE, KINDS, OWN, VAGUE, WRONG
from sdmad.studies.stress.runs import CLEAN, COUNTS, STRESSED, Level, Study, key
from sdmad.table import MISSING, Table

RESAMPLES = 500
NAME = "stress"
MAIN = "mean_auroc"
FIELDS = (
    *("noise", "added", "system", "metric"),
    *("none", "none_deviation", "none_low", "none_high"),
    *("paper", "paper_deviation", "paper_low", "paper_high"),
    *("difference", "difference_low", "difference_high", "draws"),
    *("signs_bad", "bad_discarded", "signs_repeated", "repeated_discarded"),
    *("signs_own", "own_discarded"),
)
SORTS = {OWN: "own", VAGUE: "bad", WRONG: "bad", DUPLICATE: "repeated"}
DISCARD_TITLES = (
    *("Bad discarded", "recall", "Own discarded", "share", "Duplicates discarded"),
    *("precision", "by chance"),
)
INTRODUCTION = """
Sentences are added to every category of the bank: **vague** ones, which are true of almost any
abnormal image; **wrong** ones, half of them words of another category (the first half of one of its
signs and the second of another), half findings that no image shows; **duplicates**, signs of the
category once more in a frame that adds nothing; a **mixture** of the three in turn. Each draw has
sentences of its own, and more noise keeps the sentences of less.

Every system is fitted on all sentences of a draw, and judged with selection *none* and with
selection *paper* (Eq. 6 on the text features as they then are), so the two differ in nothing else.
Percent; mean over the draws ± their standard deviation; 95% intervals from a bootstrap over draws
and patients together. Differences are paired: both rules see the same resamples.
"""


@dataclass(frozen=True)
class Discards:
    """What Eq. 6 discards at one level, summed over the draws.

    Attributes:
        bad: vague and wrong signs.
        bad_discarded: how many of them it discards.
        repeated: duplicates, which are not false.
        repeated_discarded: how many of them it discards.
        own: signs of the clean bank.
        own_discarded: how many of them it discards.
    """

    bad: int
    bad_discarded: int
    repeated: int
    repeated_discarded: int
    own: int
    own_discarded: int

    @property
    def recall(self) -> float:
        """Share of the bad signs that is discarded; NaN where there is none."""
        return _share(self.bad_discarded, self.bad)

    @property
    def own_share(self) -> float:
        """Share of the bank's own signs that is discarded."""
        return _share(self.own_discarded, self.own)

    @property
    def precision(self) -> float:
        """Share of what is discarded that is bad; NaN where nothing is bad or discarded."""
        discarded = self.bad_discarded + self.repeated_discarded + self.own_discarded
        return _share(self.bad_discarded, discarded) if self.bad else float("nan")

    @property
    def chance(self) -> float:
        """The precision of discarding at random: the share of all signs that is bad."""
        return _share(self.bad, self.bad + self.repeated + self.own) if self.bad else float("nan")


@dataclass(frozen=True)
class LevelResult:
    """One system at one level of noise.

    Attributes:
        kind: of noise, or ``"clean"``.
        count: sentences added to each category.
        system: its name.
        rules: metrics by selection rule.
        difference: selection paper less none, by metric.
        discards: what the rule paper discards.
        draws: number of draws.
    """

    kind: str
    count: int
    system: str
    rules: Mapping[str, Mapping[str, DrawSummary]]
    difference: Mapping[str, PairedDifference]
    discards: Discards
    draws: int

    def records(self) -> list[dict[str, Any]]:
        """A record a metric with :data:`FIELDS`; shares in percent, None where there is none."""
        found = []
        for metric in METRICS:
            none, paper, gap = (
                self.rules["none"][metric],
                self.rules["paper"][metric],
                self.difference[metric],
            )
            figures = [
                *(none.mean, none.deviation, none.low, none.high),
                *(paper.mean, paper.deviation, paper.low, paper.high),
                *(gap.difference, gap.low, gap.high),
            ]
            values = (
                *(self.kind, self.count, self.system, metric),
                *(None if isnan(value) else round(100 * value, 3) for value in figures),
                self.draws,
                *asdict(self.discards).values(),
            )
            found.append(dict(zip(FIELDS, values, strict=True)))
        return found


def level_results(level: Level) -> list[LevelResult]:
    """Every system at one level, with intervals over draws and patients."""
    found = []
    for system in STRESSED:
        none, paper = level.draws[key(system, "none")], level.draws[key(system, "paper")]
        rules = {
            rule: {metric: summary[metric] for metric in METRICS}
            for rule, summary in (
                ("none", summarise_draws(none, RESAMPLES)),
                ("paper", summarise_draws(paper, RESAMPLES)),
            )
        }
        gaps = paired_difference(paper, none, RESAMPLES)
        found.append(
            LevelResult(
                level.kind, level.count, system, rules, {m: gaps[m] for m in METRICS},
                count_discards(level, system), len(none),
            )
        )  # fmt: skip
    return found


def count_discards(level: Level, system: str) -> Discards:
    """Count what a system's selection discards of each sort of sign, over all draws."""
    sorts = np.array([SORTS[mark] for mark in level.marks])
    counts = []
    for sort in ("bad", "repeated", "own"):
        mine = sorts == sort
        discarded = sum(int((~keep & mine).sum()) for keep in level.keep[system])
        counts += [len(level.keep[system]) * int(mine.sum()), discarded]
    return Discards(*counts)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _percent(value: float) -> str:
    return MISSING if isnan(value) else f"{100 * value:.0f}%"


def signed(gap: PairedDifference) -> str:
    """A difference in percent with its interval; a star where the interval leaves out 0."""
    star = " *" if gap.low > 0 or gap.high < 0 else ""
    return difference_cell(gap) + star


def _of(results: Sequence[LevelResult], kind: str, system: str) -> list[LevelResult]:
    """One system without noise and with growing noise of a kind."""
    return [r for r in results if r.system == system and r.kind in (CLEAN, kind)]


def pay_table(results: Sequence[LevelResult], metric: str) -> Table:
    """Whether selection pays: its paired difference without noise and with the most."""
    rows = []
    for system in STRESSED:
        clean = next(r for r in results if r.system == system and r.kind == CLEAN)
        worst = [_of(results, kind, system)[-1] for kind in KINDS]
        noisy = [r.difference[metric] for r in results if r.system == system and r.kind != CLEAN]
        above = sum(gap.low > 0 for gap in noisy)
        below = sum(gap.high < 0 for gap in noisy)
        tally = f"{above} / {len(noisy) - above - below} / {below}"
        rows.append((system, *(signed(r.difference[metric]) for r in (clean, *worst)), tally))
    header = ("System", CLEAN, *(f"{kind}, {COUNTS[-1]}" for kind in KINDS), "above / with / below")
    caption = (
        f"{METRIC_TITLES[metric]}, selection paper less none, with {COUNTS[-1]} sentences added to "
        "each category. * the interval leaves out 0. Last column: at how many of the "
        "noisy levels the interval lies above 0, holds 0, lies below 0; nothing is corrected for "
        "their number."
    )
    return Table(f"Does selection pay? {METRIC_TITLES[metric]}", header, tuple(rows), caption)


def auroc_table(results: Sequence[LevelResult], kind: str) -> Table:
    """Mean AUROC by both rules against the amount of one kind of noise."""
    rows = [
        (
            str(r.count),
            r.system,
            cell(r.rules["none"][MAIN]),
            cell(r.rules["paper"][MAIN]),
            signed(r.difference[MAIN]),
        )
        for system in STRESSED
        for r in _of(results, kind, system)
    ]
    header = ("Added", "System", "selection none", "selection paper", "paper less none")
    return Table(f"{kind}: {METRIC_TITLES[MAIN]}", header, tuple(rows), "")


def discard_table(results: Sequence[LevelResult]) -> Table:
    """How many of the bad and of the own signs selection discards."""
    rows = tuple((r.kind, str(r.count), r.system, *discard_cells(r.discards)) for r in results)
    header = ("Noise", "Added", "System", *DISCARD_TITLES)
    caption = (
        "Signs, summed over the draws. Bad: vague or wrong; a duplicate is not false, to discard "
        "it is neither right nor wrong. Recall: share of the bad signs that Eq. 6 discards. "
        "Precision: share of what it discards that is bad; by chance: what discarding at random "
        "would give."
    )
    return Table("What selection discards", header, rows, caption)


def discard_cells(found: Discards) -> tuple[str, ...]:
    """Cells under :data:`DISCARD_TITLES`."""
    return (
        _of_all(found.bad_discarded, found.bad),
        _percent(found.recall),
        _of_all(found.own_discarded, found.own),
        _percent(found.own_share),
        _of_all(found.repeated_discarded, found.repeated),
        _percent(found.precision),
        _percent(found.chance),
    )


def _of_all(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else MISSING


def plot(results: Sequence[LevelResult]) -> bytes:
    """Mean AUROC against noise, and the paired differences; PNG."""
    values: dict[str, dict[str, list[NoisePoint]]] = {}
    gaps: dict[str, dict[str, list[NoisePoint]]] = {}
    for kind in KINDS:
        values[kind], gaps[kind] = {}, {}
        for system in STRESSED:
            levels = _of(results, kind, system)
            for rule in ("none", "paper"):
                found = [r.rules[rule][MAIN] for r in levels]
                points = [_point(s.mean, s.low, s.high) for s in found]
                values[kind][key(system, rule)] = points
            differences = [r.difference[MAIN] for r in levels]
            gaps[kind][system] = [_point(g.difference, g.low, g.high) for g in differences]
    return noise_plot(
        values,
        gaps,
        (0, *COUNTS),
        "sentences added a category",
        (f"{METRIC_TITLES[MAIN]}, percent", "selection paper less none"),
    )


def _point(value: float, low: float, high: float) -> NoisePoint:
    return NoisePoint(100 * value, 100 * low, 100 * high)


def page_parts(study: Study, results: Sequence[LevelResult], picture: str) -> list[str]:
    """The body of the page: what was run, the plot, the tables.

    Args:
        study: what was run.
        results: every system at every level.
        picture: the plot's file name.
    """
    tables = [
        pay_table(results, MAIN),
        pay_table(results, "macro_f1"),
        *(auroc_table(results, kind) for kind in KINDS),
        discard_table(results),
    ]
    return [
        *(f"- {line}" for line in study.head),
        "",
        f"![{METRIC_TITLES[MAIN]} against noise]({picture})",
        "",
        *(table.markdown() for table in tables),
    ]


def write_results(folder: Path, study: Study, results: Sequence[LevelResult]) -> list[Path]:
    """Write ``stress.md``, ``.csv``, ``.json`` and ``.png``; returns the files.

    Raises:
        SDMADError: if one cannot be written.
    """
    files = [folder / f"{NAME}.{ending}" for ending in ("md", "csv", "json", "png")]
    page = [f"# Sign selection under noise: {study.bank.name}", INTRODUCTION]
    page += page_parts(study, results, files[3].name)
    write_text(files[0], "\n".join(page))
    records = [record for result in results for record in result.records()]
    write_csv(files[1], list(FIELDS), [list(record.values()) for record in records])
    discards = [
        {"noise": r.kind, "added": r.count, "system": r.system, **asdict(r.discards)}
        for r in results
    ]
    content = {"run": study.head, "records": records, "discards": discards}
    write_json(files[2], content)
    write_bytes(files[3], plot(results))
    return files
