"""The files of a comparison: a page, a CSV and a plot a protocol, figures as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from sdmad._version import __version__
from sdmad.backbones import Backbone
from sdmad.baselines.registry import System
from sdmad.evaluation.intervals import DrawSummary
from sdmad.output import write_bytes, write_json, write_text
from sdmad.reporting.curves import interval_plot, loss_plot
from sdmad.reporting.draw_tables import counted
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.studies.comparison.tables import (
    PROTOCOLS,
    Compared,
    Gap,
    added_loss_gaps,
    all_summaries,
    best_peer_gaps,
    by_category_table,
    cost_table,
    gap_tables,
    loss_logs,
    protocol_table,
)
from sdmad.studies.draw import ORDERS, Draw
from sdmad.table import Table

RESAMPLES = 1000


def write_comparison(
    out: Path,
    draws: Sequence[Draw],
    backbone: Backbone,
    compared: Sequence[Compared],
    quick: bool = False,
) -> list[Path]:
    """Write ``comparison.md``, ``.json``, a CSV and a plot a protocol, and the costs.

    Args:
        out: an existing folder.
        draws: on which the systems ran.
        backbone: the frozen model.
        compared: the systems, one of them with outcomes.
        quick: whether it was a look at the machinery, which the page says.

    Returns:
        The files.

    Raises:
        SDMADError: if one cannot be written.
    """
    material = draws[0].material
    summaries = all_summaries(compared, RESAMPLES)
    best_peer = best_peer_gaps(compared, summaries, RESAMPLES)
    added_loss = added_loss_gaps(compared, RESAMPLES)
    by_category = by_category_table(compared, material.bank.names)
    tables = {name: protocol_table(name, compared, summaries) for name in PROTOCOLS}
    tables |= {"categories": by_category} if by_category else {}
    tables |= gap_tables(best_peer, added_loss)
    tables["costs"] = cost_table(compared)
    plots = _plots(compared, summaries)
    files = [out / f"{name}.csv" for name in tables]
    for file, table in zip(files, tables.values(), strict=True):
        table.write_csv(file)
    for name, picture in plots.items():
        files.append(out / f"{name}.png")
        write_bytes(files[-1], picture)
    head = _head(draws, backbone, quick)
    page = [f"# {'QUICK comparison' if quick else 'Comparison'}: {material.data.name}", ""]
    page += [*(f"- {line}" for line in head), ""]
    for name, table in tables.items():
        page.append(table.markdown())
        page += [f"![{table.title}]({name}.png)", ""] if name in plots else []
        if name == "costs" and "losses" in plots:
            page += ["![Losses](losses.png)", ""]
    said = notes(draws, compared)
    page += ["### Notes", "", *(f"- {note}" for note in said), ""] if said else []
    page.append(_sources(compared, backbone).markdown())
    files += [out / "comparison.md", out / "comparison.json"]
    write_text(files[-2], "\n".join(page))
    content = _content(head, material.bank.names, compared, summaries, [*best_peer, *added_loss])
    write_json(files[-1], content)
    return files


def _plots(
    compared: Sequence[Compared], summaries: dict[str, dict[str, DrawSummary]]
) -> dict[str, bytes]:
    """A plot of each protocol that some system answers, and of the losses, by file name."""
    made = {}
    there = [c for c in compared if c.outcomes]
    for name, metrics in PROTOCOLS.items():
        shown = metrics[:2]
        rows = {
            c.title: [summaries[c.system.name][m] for m in shown]
            for c in there
            if all(c.answers(m) for m in shown)
        }
        if rows:
            made[name] = interval_plot(rows, [METRIC_TITLES[m] for m in shown])
    logs = loss_logs(compared)
    return made | ({"losses": loss_plot(logs)} if logs else {})


def _head(draws: Sequence[Draw], backbone: Backbone, quick: bool) -> list[str]:
    material = draws[0].material
    lines = [
        f"{len(material.table)} images, {len(material.bank.names)} categories, "
        f"{counted(draws[0].shots, 'shot')} a category, {counted(len(draws), 'draw')}",
        f"shots: {ORDERS[draws[0].order]}",
        f"judged, draw 1: {draws[0].people}",
        f"backbone {backbone.name}, {backbone.preprocessing.size} px; sdmad {__version__}",
    ]
    if quick:
        lines.append(
            "QUICK: one draw, few images, one detector for systems that know one kind of anomaly; "
            "a look at the machinery, no result"
        )
    return lines


def notes(draws: Sequence[Draw], compared: Sequence[Compared]) -> list[str]:
    """What a reader should know of the data, the draws and the fits, and why a system is left out.

    Args:
        draws: of one material.
        compared: the systems.
    """
    found = dict.fromkeys(draws[0].material.table.notes)
    for number, draw in enumerate(draws, 1):
        found |= dict.fromkeys(f"draw {number}: {note}" for note in draw.notes)
    for one in compared:
        if one.why_not:
            found[f"{one.system.title}, {one.why_not}: {one.message}"] = None
        for note in dict.fromkeys(note for o in one.outcomes for note in o.notes):
            told = [str(n) for n, o in enumerate(one.outcomes, 1) if note in o.notes]
            found[f"{one.system.title}, draw {', '.join(told)}: {note}"] = None
    return list(found)


def _sources(compared: Sequence[Compared], backbone: Backbone) -> Table:
    rows = tuple(
        (
            *(c.system.title, c.system.source, c.system.learns_from),
            *(describe_settings(c.system, backbone), c.system.differs),
        )
        for c in compared
    )
    header = (
        *("System", "Source", "Learns from", "Settings"),
        "What differs from its authors' code",
    )
    return Table("Where the systems come from", header, rows)


def describe_settings(system: System, backbone: Backbone) -> str:
    """Whether the hyper-parameters on a backbone are the published ones, or what differs."""
    used, published = system.settings_on(backbone), system.published
    if used is None:
        return "none"
    if system.own_settings:
        return "this project's own"
    changed = [
        f"{field.name} {getattr(used, field.name):g}"
        for field in fields(used)
        if getattr(used, field.name) != getattr(published, field.name)
    ]
    return f"searched: {', '.join(changed)}" if changed else "as published"


def _content(
    head: list[str],
    categories: Sequence[str],
    compared: Sequence[Compared],
    summaries: dict[str, dict[str, DrawSummary]],
    gaps: Sequence[Gap],
) -> dict[str, object]:
    return {
        "run": head,
        "systems": {
            c.system.name: {
                "title": c.system.title,
                "why_not": c.why_not,
                "metrics": _plain(summaries.get(c.system.name, {})),
                "categories": _plain(c.categories(categories, RESAMPLES)),
                "pixels": [o.pixels for o in c.outcomes],
                "costs": [asdict(o.cost) for o in c.outcomes],
                "losses": [o.losses for o in c.outcomes],
            }
            for c in compared
        },
        "differences": [
            {
                "metric": gap.metric,
                "system": gap.system.system.name,
                "less": gap.less.system.name,
                **asdict(gap.difference),
            }
            for gap in gaps
        ],
        "trivial": {
            name: _plain(summaries[name])
            for name in summaries
            if name not in {c.system.name for c in compared}
        },
    }


def _plain(summaries: dict[str, DrawSummary]) -> dict[str, object]:
    return {metric: asdict(summary) for metric, summary in summaries.items()}
