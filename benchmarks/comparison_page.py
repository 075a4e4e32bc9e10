"""``docs/comparison.md``, its long tables and plots, from the CSV files of ``docs/comparison``.

Run ``make results-pages``: it needs no draws. ``make comparison`` writes the CSV files and then
runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import results_tables as stored
from benchmarks.comparison import LOSSES, NO_WEIGHTS, SETTLED_CAPTION, costs_caption
from benchmarks.made_with import recorded
from benchmarks.results_forest import forest_plot
from benchmarks.results_glance import glance_plot, last, points
from benchmarks.results_tables import Stored, load
from benchmarks.study_pages import (
    MODALITY_HEAD,
    bare,
    files,
    links,
    most_shots,
    run,
    spelled_out,
    template,
    titled,
    titles,
)
from sdmad.baselines.registry import SYSTEMS, load_system
from sdmad.output import write_bytes, write_text
from sdmad.phantoms.cases import STUDIED
from sdmad.reporting.draw_tables import counted
from sdmad.studies.comparison.tables import ADDED_LOSS, BEST_PEER, PAIRED
from sdmad.table import MISSING, Table

FOLDER = "comparison"
SHOWN = ("Image AUROC", "Mean AUROC", "Hamming score", "Subset accuracy", "Macro F1", "Pixel AUROC")
FIRST = (
    *("clip-signs", "linear-probe-searched", "coop", "tip-adapter-f", "cross-modal", "proker"),
    *("anomaly-dino", "mvfa", "sd-mad-mvfa", "sd-mad-printed", "sd-mad"),
)
"""Systems of the summary: those that the default is measured against, and all SD-MAD."""

MEANS_HEAD = """# Every compared system: means
Written with [comparison.md](../comparison.md), which says how the figures were made and what they
mean.

"""
COMPARED_TITLES = {
    stored.RANKING: ("ranking and maps", ""),
    stored.DECISIONS: ("decisions", ""),
    stored.PEERS: ("against the best peer", f"{PAIRED} {BEST_PEER}"),
    stored.ADDED_LOSS: ("what the loss of Eq. 5 adds to MVFA", f"{PAIRED} {ADDED_LOSS}"),
    stored.COMPARED_CATEGORIES: ("each category's AUROC", "A system marked ° was not asked."),
    stored.COSTS: ("costs", costs_caption()),
}


def write_pages(docs: Path) -> None:
    """Write every page and plot of the comparison.

    Args:
        docs: the folder of the documents; its folder ``comparison`` holds the CSV files.
    """
    folder = docs / FOLDER
    there = modalities(folder)
    made = {modality: recorded(folder, modality) for modality in there}
    for modality in STUDIED:
        page = folder / f"{modality}.md"
        page.unlink(missing_ok=True)
        if modality in made:
            write_text(page, modality_page(folder, modality) + made[modality])
    write_text(docs / "comparison.md", main_page(folder) + made[there[0]])
    write_text(folder / "means.md", means_page(folder) + made[there[0]])
    costs = load(folder, stored.COSTS).values()
    glance = points(last(load(folder, stored.COMPARED_MEANS)), costs)
    write_bytes(folder / "glance.png", glance_plot(glance))
    added = load(folder, stored.ADDED_LOSS)
    shots = most_shots(added)
    figures = {titles()[m]: without_peer(added[m, shots]) for m in there}
    write_bytes(folder / "added-loss.png", forest_plot(figures))


def modalities(folder: Path) -> list[str]:
    """Those that there are figures of."""
    return list(dict.fromkeys(modality for modality, _ in load(folder, stored.RANKING)))


def without_peer(table: Table) -> Table:
    """A table of metric, peer and difference, the one peer named in its header."""
    metric, _, difference = table.header
    peer = table.rows[0][1]
    header = (metric, difference.replace("less it", f"less {peer}"))
    return Table("", header, tuple((row[0], row[2]) for row in table.rows))


def main_page(folder: Path) -> str:
    """The page to read: the plot, the summary and the remarks."""
    compared = load(folder, stored.COMPARED_MEANS)
    rows = next(iter(compared.values())).rows
    there = modalities(folder)
    return template("comparison_page.md").format(
        of=means_of(there),
        modalities=links(FOLDER, there),
        most_shots=counted(int(most_shots(compared))),
        draws=counted(max(int(row[1]) for row in rows if row[1] != MISSING), "draw"),
        left_out=left_out([row[0] for row in rows]),
        shot_columns=" / ".join(counted(int(shots)) for (shots,) in compared),
        first=bare(summary(overview(compared))),
    )


def means_of(there: Sequence[str]) -> str:
    """What the figures are means over: the modalities, or those that were run so far."""
    if len(there) == len(STUDIED):
        return "means over the modalities and"
    named = " and ".join(titles()[modality] for modality in there)
    return f"so far of {named} alone: means over"


def summary(every: Table) -> Table:
    """Predicting nothing, and the rows of :data:`FIRST` that were run."""
    shown = ("predict nothing", *(load_system(name).title for name in FIRST))
    known = {row[0]: row for row in every.rows}
    return Table("", every.header, tuple(known[name] for name in shown if name in known))


def overview(compared: Stored) -> Table:
    """The means of every compared system, by shots in a cell; one figure where all are alike."""
    first = next(iter(compared.values()))
    places = [first.header.index(name) for name in SHOWN]
    rows = []
    for everywhere in zip(*(table.rows for table in compared.values()), strict=True):
        cells = ([row[place] for row in everywhere] for place in places)
        alike = (found[:1] if len(set(found)) == 1 else found for found in cells)
        rows.append((*everywhere[0][:2], *(" / ".join(found) for found in alike)))
    return spelled_out(Table("", ("System", "Draws", *SHOWN), tuple(rows)))


def left_out(shown: Sequence[str]) -> str:
    """Which systems were not run, and which were asked one question only."""
    there = {title.removesuffix(" °") for title in shown}
    known = (load_system(name).title for name in SYSTEMS if name not in NO_WEIGHTS)
    lacking = ", ".join(title for title in known if title not in there)
    once = ", ".join(title for title in shown if title.endswith(" °"))
    told = {"Not run so far": lacking, "Asked only whether an image is abnormal": once}
    return " ".join(f"{what}: {which}." for what, which in told.items() if which)


def modality_page(folder: Path, modality: str) -> str:
    """Every table of one modality, one number of shots after the other, and its losses."""
    tables = {kind: load(folder, kind) for kind in COMPARED_TITLES}
    shots = [keys[1] for keys in tables[stored.RANKING] if keys[0] == modality]
    head = MODALITY_HEAD.format(
        title="Every compared system", modality=titles()[modality], page="comparison.md"
    )
    shown = [
        titled(tables[kind][modality, one], f"{counted(int(one))}: {title}", caption)
        for one in shots
        for kind, (title, caption) in COMPARED_TITLES.items()
        if (modality, one) in tables[kind]
    ]
    settled = load(folder, stored.SETTLED)[modality,]
    losses = [titled(settled, "How far the losses had settled", SETTLED_CAPTION)]
    if (folder / LOSSES.format(modality)).exists():
        losses.append(f"![Losses of each training on {modality}]({LOSSES.format(modality)})\n")
    kinds = (*COMPARED_TITLES, stored.SETTLED)
    return "\n".join([head + files(kinds), *shown, *losses])


def means_page(folder: Path) -> str:
    """What is no modality's own."""
    means = load(folder, stored.COMPARED_MEANS)
    columns = " / ".join(counted(int(shots)) for (shots,) in means)
    of = "Mean of the modalities"
    parts = [MEANS_HEAD + files((stored.COMPARED_MEANS,))]
    parts.append(titled(overview(means), f"{of}, {columns}"))
    parts += [titled(table, f"{of}, {counted(int(shots))}") for (shots,), table in means.items()]
    parts.append("## What the loss of Eq. 5 adds to MVFA\n\n![Differences](added-loss.png)\n")
    return "\n".join(parts)


if __name__ == "__main__":
    run(write_pages, __doc__)
