"""``docs/results.md``, a page a modality and the plots, from the CSV files of ``docs/results``.

Run ``make results-pages``: it needs no draws. ``make results`` and ``make comparison`` write the
CSV files and then run it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import results_tables as stored
from benchmarks.comparison import LOSSES, NO_WEIGHTS, SETTLED_CAPTION, costs_caption
from benchmarks.made_with import RECORDS, recorded
from benchmarks.results import DRAWS, IMAGES
from benchmarks.results_forest import forest_plot
from benchmarks.results_glance import glance_plot, last, points
from benchmarks.results_tables import Kind, Stored, join_means, load
from sdmad.baselines.registry import SYSTEMS, load_system
from sdmad.output import write_bytes, write_text
from sdmad.phantoms.cases import STUDIED, load_modality
from sdmad.reporting.draw_tables import TRIVIAL, counted
from sdmad.studies.comparison.tables import ADDED_LOSS, BEST_PEER, PAIRED
from sdmad.table import MISSING, Table

FOLDER = "results"
SHOWN = ("Image AUROC", "Mean AUROC", "Hamming score", "Subset accuracy", "Macro F1", "Pixel AUROC")
MODALITY_HEAD = """# Results: {title}
Written with [results.md](../results.md), which says how the figures were made and what they mean.
Percent: mean over the draws ± their standard deviation [95% interval over draws and patients].
"""
MEANS_HEAD = """# Results: means, costs and losses
Written with [results.md](../results.md), which says how the figures were made and what they mean.
"""
SECONDS = """Seconds are too high in the rows of the linear probe, CoOp, Tip-Adapter-F and Xplainer,
which ran beside more processes than the others.
"""
MARKED = "Categories marked * rest on signs that pretraining never drew."
UNSEEN = "Never drawn: Dural thickening, Hernia, CNV."
COMPARED = (
    stored.RANKING,
    stored.DECISIONS,
    stored.PEERS,
    stored.ADDED_LOSS,
    stored.COMPARED_CATEGORIES,
)
COMPARED_TITLES = {
    stored.RANKING: ("ranking and maps", ""),
    stored.DECISIONS: ("decisions", ""),
    stored.PEERS: ("against the best peer", f"{PAIRED} {BEST_PEER}"),
    stored.ADDED_LOSS: ("what the loss of Eq. 5 adds to MVFA", f"{PAIRED} {ADDED_LOSS}"),
    stored.COMPARED_CATEGORIES: ("each category's AUROC", "A system marked ° was not asked."),
}


def write_pages(docs: Path) -> None:
    """Write every page and plot of the results.

    Args:
        docs: the folder of the documents; its folder ``results`` holds the CSV files.
    """
    folder = docs / FOLDER
    made = recorded([folder / name for name in RECORDS])
    write_text(docs / "results.md", main_page(folder) + made)
    for modality in STUDIED:
        write_text(folder / f"{modality}.md", modality_page(folder, modality) + made)
    write_text(folder / "means.md", means_page(folder) + made)
    costs = load(folder, stored.COSTS).values()
    glance = points(last(load(folder, stored.COMPARED_MEANS)), costs)
    write_bytes(folder / "glance.png", glance_plot(glance))
    titles = {modality: load_modality(modality).title for modality in STUDIED}
    differences = load(folder, stored.DIFFERENCES)
    shots = most_shots(differences)
    marks = {titles[m]: differences[m, "clean", shots] for m in STUDIED}
    write_bytes(folder / "differences.png", forest_plot(marks))
    added = load(folder, stored.ADDED_LOSS)
    figures = {titles[m]: without_peer(added[m, shots]) for m in STUDIED}
    write_bytes(folder / "added-loss.png", forest_plot(figures))


def most_shots(tables: Stored) -> str:
    """The largest number of shots, the last of the keys."""
    return max((keys[-1] for keys in tables), key=int)


def without_peer(table: Table) -> Table:
    """A table of metric, peer and difference, the one peer named in its header."""
    metric, _, difference = table.header
    peer = table.rows[0][1]
    header = (metric, difference.replace("less it", f"less {peer}"))
    return Table("", header, tuple((row[0], row[2]) for row in table.rows))


def main_page(folder: Path) -> str:
    """The page to read: two summary tables, the plot and the remarks."""
    compared = load(folder, stored.COMPARED_MEANS)
    rows = next(iter(compared.values())).rows
    template = Path(__file__).with_name("results_page.md").read_text(encoding="utf-8")
    links = (f"[{load_modality(m).title}]({FOLDER}/{m}.md)" for m in STUDIED)
    return template.format(
        images=IMAGES,
        draws=DRAWS,
        modalities=", ".join(links),
        means=bare(overview(load(folder, stored.MEANS))),
        most_shots=counted(int(most_shots(compared))),
        compared_draws=counted(max(int(row[1]) for row in rows if row[1] != MISSING), "draw"),
        left_out=left_out([row[0] for row in rows]),
        shot_columns=" / ".join(counted(int(shots)) for (shots,) in compared),
        compared=bare(compared_overview(compared)),
    )


def overview(means: Stored) -> Table:
    """The means of SD-MAD and its baselines, a column a bank and number of shots."""
    columns = (f"{bank}, {counted(int(shots))}" for bank, shots in means)
    rows = ((name, *cells) for name, cells in join_means(means).items())
    return Table("", ("System", *columns), tuple(rows))


def compared_overview(compared: Stored) -> Table:
    """The means of every compared system, the numbers of shots side by side in a cell."""
    first = next(iter(compared.values()))
    places = [first.header.index(name) for name in SHOWN]
    rows = []
    for everywhere in zip(*(table.rows for table in compared.values()), strict=True):
        cells = (list(dict.fromkeys(row[place] for row in everywhere)) for place in places)
        rows.append((*everywhere[0][:2], *(" / ".join(found) for found in cells)))
    return spelled_out(Table("", ("System", "Draws", *SHOWN), tuple(rows)))


def left_out(titles: Sequence[str]) -> str:
    """Which systems were not run, and which were asked one question only."""
    there = {title.removesuffix(" °") for title in titles}
    known = (load_system(name).title for name in SYSTEMS if name not in NO_WEIGHTS)
    lacking = ", ".join(title for title in known if title not in there)
    once = ", ".join(title for title in titles if title.endswith(" °"))
    told = {"Not run so far": lacking, "Asked only whether an image is abnormal": once}
    return " ".join(f"{what}: {which}." for what, which in told.items() if which)


def modality_page(folder: Path, modality: str) -> str:
    """Every table of one modality, those of the two studies apart."""
    systems = load(folder, stored.SYSTEMS)
    parts = [MODALITY_HEAD.format(title=load_modality(modality).title)]
    parts += [files((stored.SYSTEMS, stored.DIFFERENCES, stored.CATEGORIES))]
    parts += ["## SD-MAD and its baselines"]
    differences, categories = load(folder, stored.DIFFERENCES), load(folder, stored.CATEGORIES)
    for keys in (keys for keys in systems if keys[0] == modality):
        title = f"{keys[1]} bank, {counted(int(keys[2]))}"
        parts.append(titled(systems[keys], title))
        if keys in differences:
            parts.append(titled(differences[keys], f"{title}: paired differences", PAIRED))
        if keys in categories:
            parts.append(titled(categories[keys], f"{title}: AUROC by category", MARKED))
    parts += ["## Every compared system", files(COMPARED), *compared_parts(folder, modality)]
    return "\n".join(parts)


def compared_parts(folder: Path, modality: str) -> list[str]:
    """The tables of the comparison on one modality, one number of shots after the other."""
    tables = {kind: load(folder, kind) for kind in COMPARED}
    shots = [keys[1] for keys in tables[stored.RANKING] if keys[0] == modality]
    return [
        titled(tables[kind][modality, one], f"{counted(int(one))}: {title}", caption)
        for one in shots
        for kind, (title, caption) in COMPARED_TITLES.items()
        if (modality, one) in tables[kind]
    ]


def means_page(folder: Path) -> str:
    """What is no modality's own: means, costs, and how far the losses had settled."""
    parts = [MEANS_HEAD, files((stored.MEANS, stored.PRETRAINING, stored.COMPARED_MEANS))]
    parts += [
        titled(table, "Mean AUROC by whether pretraining drew the signs, clean banks", UNSEEN)
        for table in load(folder, stored.PRETRAINING).values()
    ]
    parts += [
        titled(table, f"Every compared system: mean of the three modalities, {counted(int(shots))}")
        for (shots,), table in load(folder, stored.COMPARED_MEANS).items()
    ]
    parts.append("## What the loss of Eq. 5 adds to MVFA\n\n![Differences](added-loss.png)\n")
    parts += ["## Costs", files((stored.COSTS, stored.SETTLED)), SECONDS]
    parts += [
        titled(table, f"Costs on {modality}, {counted(int(shots))}", costs_caption())
        for (modality, shots), table in load(folder, stored.COSTS).items()
    ]
    parts += [
        titled(table, "How far the losses had settled", SETTLED_CAPTION)
        for table in load(folder, stored.SETTLED).values()
    ]
    parts.append(f"![Losses of each training on {STUDIED[0]}]({LOSSES})\n")
    return "\n".join(parts)


def files(kinds: Iterable[Kind]) -> str:
    """A line of links to the CSV files."""
    return f"As CSV: {', '.join(f'[{k.name}]({k.name}.csv)' for k in kinds)}.\n"


def titled(table: Table, title: str, caption: str = "") -> str:
    """A table below its heading."""
    shown = title[0].upper() + title[1:]
    return replace(spelled_out(table), title=shown, caption=caption).markdown()


def spelled_out(table: Table) -> Table:
    """The trivial predictors by what they do."""
    rows = tuple((TRIVIAL.get(name, name), *cells) for name, *cells in table.rows)
    return replace(table, rows=rows)


def bare(table: Table) -> str:
    """A table without a heading, its figures to the right."""
    header, _, *rows = table.markdown().split("\n")[2:]
    figures = " ---: |" * (len(table.header) - 1)
    return "\n".join([header, f"| --- |{figures}", *rows]).rstrip()


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    write_pages(parser.parse_args().docs)


if __name__ == "__main__":
    main()
