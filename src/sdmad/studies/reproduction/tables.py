"""The paper's Tables 1 to 4, 6 and 7: draws, summaries, and the paper's figures beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sdmad.evaluation.intervals import DrawSummary, summarise_categories, summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.reporting.draw_tables import TRIVIAL, title_of, trivial_draws
from sdmad.studies.reproduction.material import Parts, TablePart, brains, chest_xrays, retinas
from sdmad.studies.reproduction.published import published
from sdmad.studies.reproduction.records import Record

SHOTS = 1
"""Images a category, for all of these tables (METHOD: only Table 5 has four)."""

BESIDE = ("macro_f1", "sensitivity", "specificity")
"""What stands beside Hamming score and subset accuracy."""


@dataclass(frozen=True)
class TablePlan:
    """What a table of the paper shows.

    Attributes:
        title: of the page.
        parts: reads the data.
        metrics: summary metrics that it shows, in its order.
        by_category: whether it shows the AUROC of each category too.
        six: whether slices without the sixth category are also judged with its column.
    """

    title: str
    parts: Parts
    metrics: tuple[str, ...]
    by_category: bool = False
    six: bool = False


TABLES = {
    "table1": TablePlan(
        "Table 1: ChestX-ray8, mean AUROC and integrated detection",
        chest_xrays,
        ("mean_auroc", "hamming_score", "subset_accuracy", *BESIDE),
    ),
    "table2": TablePlan("Table 2: OCT-17, by category", retinas, ("mean_auroc",), True),
    "table3": TablePlan(
        "Table 3: fastMRI+, integrated detection",
        brains,
        ("hamming_score", "subset_accuracy", *BESIDE),
        six=True,
    ),
    "table4": TablePlan("Table 4: fastMRI+, mean AUROC", brains, ("mean_auroc",)),
    "table6": TablePlan("Table 6: ChestX-ray8, by category", chest_xrays, ("mean_auroc",), True),
    "table7": TablePlan("Table 7: fastMRI+, by category", brains, ("mean_auroc",), True),
}


def first_columns(scored: LabelledScores, columns: int) -> LabelledScores:
    """The same judged by the first categories only."""
    return replace(
        scored,
        labels=scored.labels[:, :columns],
        scores=scored.scores[:, :columns],
        decisions=scored.decisions[:, :columns],
    )


def abnormal_only(scored: LabelledScores) -> LabelledScores:
    """The images with at least one of the categories."""
    rows = np.flatnonzero((scored.labels == 1).any(axis=1))
    return LabelledScores(
        scored.labels[rows],
        scored.scores[rows],
        scored.decisions[rows],
        scored.abnormality[rows],
        scored.normal[rows],
        tuple(scored.patients[i] for i in rows),
    )


def judged_as(scored: LabelledScores, columns: int, population: str) -> LabelledScores:
    """What a table judges of a draw."""
    part = first_columns(scored, columns)
    return abnormal_only(part) if population == "abnormal" else part


def records_of(
    name: str,
    part: TablePart,
    draws: dict[str, list[LabelledScores]],
    resamples: int,
    missing: Sequence[tuple[str, str]] = (),
) -> list[Record]:
    """Every figure of a table on one part of the data.

    Args:
        name: of the table, a key of :data:`TABLES`.
        part: of the data.
        draws: what each system said, a list over the draws.
        resamples: of the bootstrap.
        missing: systems that could not be run, and why.
    """
    plan, records = TABLES[name], list[Record]()
    columns = part.columns if plan.six else part.columns[:1]
    for count in columns:
        for population in part.populations:
            rows = {
                system: [judged_as(one, count, population) for one in found]
                for system, found in draws.items()
            }
            first = next(iter(rows.values()))
            rows = {trivial: trivial_draws(first, trivial) for trivial in TRIVIAL} | rows
            for system, found in rows.items():
                figures = _figures(plan, part, found, resamples)
                records += _records(name, part, population, system, found, figures)
            for system, why in missing:
                none = dict.fromkeys(figures)
                records += _records(name, part, population, system, first, none, why)
    return _in_paper_order(records, name, part)


def _figures(
    plan: TablePlan, part: TablePart, draws: list[LabelledScores], resamples: int
) -> dict[str, DrawSummary]:
    """What a table shows of one system, by metric or category."""
    summaries = summarise_draws(draws, resamples)
    figures = {metric: summaries[metric] for metric in plan.metrics}
    if plan.by_category:
        categories = summarise_categories(draws, resamples)
        figures |= zip(part.material.table.categories, categories, strict=False)
    return figures


def _records(
    name: str,
    part: TablePart,
    population: str,
    system: str,
    draws: list[LabelledScores],
    figures: Mapping[str, DrawSummary | None],
    note: str = "",
) -> list[Record]:
    """Figures with which images, how many positives, and what the paper prints."""
    columns = draws[0].labels.shape[1]
    names = list(part.material.table.categories[:columns])
    records = []
    for what, figure in figures.items():
        shown = slice(names.index(what), names.index(what) + 1) if what in names else slice(None)
        labels = [one.labels[:, shown] for one in draws]
        records.append(
            Record(
                part.part, population, columns, what, title_of(system), figure,
                published(name, part.part, what, system),
                tuple(len(one) for one in labels),
                tuple(int((one == 1).sum()) for one in labels),
                tuple(int((one == 0).sum()) for one in labels),
                note,
            )
        )  # fmt: skip
    return records


def _in_paper_order(records: list[Record], name: str, part: TablePart) -> list[Record]:
    """Figures by what they measure, categories before their mean, the systems beside each other."""
    order = [*part.material.table.categories, *TABLES[name].metrics]
    groups = list(dict.fromkeys((r.columns, r.population) for r in records))
    systems = list(dict.fromkeys(r.system for r in records))
    return sorted(
        records,
        key=lambda r: (
            groups.index((r.columns, r.population)),
            order.index(r.what),
            systems.index(r.system),
        ),
    )
