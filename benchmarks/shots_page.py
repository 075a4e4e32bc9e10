"""``docs/shots.md`` and its plot, from the CSV files of ``docs/shots``.

Run ``make results-pages``: it needs no draws. ``make shots`` writes the CSV files and then runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.made_with import recorded
from benchmarks.results_tables import (
    SHOT_FIGURES,
    SHOT_GAPS,
    SHOT_PARTS,
    Stored,
    column,
    interval_of,
    load,
)
from benchmarks.shots import (
    DEFAULT,
    DRAWS,
    IMAGES,
    PART_SHOTS,
    PHANTOM_SEED,
    REAL_DRAWS,
    RIVALS,
    TITLES,
    TOLD_SHOTS,
)
from benchmarks.study_pages import run
from sdmad.baselines.registry import load_system
from sdmad.output import write_bytes, write_text
from sdmad.reporting.draw_tables import GAP_CAPTION, TOLD, counted
from sdmad.reporting.plots import DASHES, PALETTE, new_figure, save_figure, style_axes
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.table import MISSING, Table

FOLDER = "shots"
HEAD = """# How many shots it takes
Written by `make shots`; do not edit by hand. On the embedded backbone. Phantoms: {images} images in
the test style, seed {seed}, {draws} draws asked; clean banks, and banks with two sentences of noise
a category. Small real sets: {real_draws} draws asked; nothing was chosen on them. A system's
settings on this backbone are those of [searched.md](searched.md), the default's those of
[settings.md](settings.md). The figures are means over the draws in percent; a system with fewer
draws than the others says so, and is compared on those that both have. As CSV:
[figures](shots/figures.csv), [differences](shots/differences.csv), [parts](shots/parts.csv).

The real sets: 32 OCT images of 25 patients (bank `oct`); 280 brain MRI with tumours (bank
`brain_tumor`), whose own split, a shift of origin, is ignored, and whose patients are unknown; 651
chest radiographs of 64 px (bank `chest`), so the figures say nothing about radiographs.

![AUROC, subset accuracy and macro F1 against shots](shots.png)

"""
METRICS = [METRIC_TITLES[metric] for metric in TOLD]


def systems() -> list[str]:
    """The rivals and the default, as the tables call them."""
    return [load_system(name).title for name in (*RIVALS, DEFAULT)]


def shots_of(stored: Stored, key: str) -> dict[int, Table]:
    """The tables of some images, by the number of shots."""
    return {int(shots): table for (images, shots), table in stored.items() if images == key}


def by_name(table: Table) -> dict[str, tuple[str, ...]]:
    """What stands in each row behind its name."""
    return {name: cells for name, *cells in table.rows}


def figure_table(key: str, by_shots: Mapping[int, Table]) -> Table:
    """One row a system: AUROC / subset accuracy / macro F1 by shots."""
    rows = {shots: by_name(table) for shots, table in by_shots.items()}
    most = {shots: max(int(draws) for draws, *_ in found.values()) for shots, found in rows.items()}
    body = []
    for name in systems():
        cells = []
        for shots, found in rows.items():
            draws, *values = found.get(name, (0, MISSING))
            fewer = f" ({counted(int(draws), 'draw')})" if 0 < int(draws) < most[shots] else ""
            cells.append(" / ".join(values) + fewer)
        body.append((name, *cells))
    header = [f"{counted(shots)} ({counted(number, 'draw')})" for shots, number in most.items()]
    caption = "Mean AUROC of the categories / subset accuracy / macro F1, by shots a category."
    return Table(TITLES[key], ("", *header), tuple(body), caption)


def verdict(tables: Mapping[str, Table]) -> str:
    """How often the default is ahead and behind, by intervals clear of zero.

    Args:
        tables: the default less each rival, by what the images are called.
    """
    lines = []
    for metric in METRICS:
        signs, behind = [], []
        for title, table in tables.items():
            names = column(table, table.header[0])
            for name, cell in zip(names, column(table, metric), strict=True):
                low, high = interval_of(cell)
                signs.append(int(low > 0) - int(high < 0))
                behind += [f"{name} on {title} ({cell})"] if high < 0 else []
        told = f"; behind {'; '.join(behind)}" if behind else ""
        lines.append(
            f"- {metric}: ahead of the rival in {signs.count(1)} comparisons, behind in "
            f"{signs.count(-1)}, not told apart in {signs.count(0)}{told}."
        )
    return "\n".join(lines) + "\n"


def part_table(parts: Mapping[str, Table]) -> Table:
    """The default with one thing changed, and what that does to each set of images.

    Args:
        parts: by the key of the images.
    """
    rows = {key: by_name(table) for key, table in parts.items()}
    body = []
    for name in next(iter(rows.values())):
        mine = [found[name][1:] for found in rows.values() if name in found]
        if len(mine) == len(rows):
            means = np.mean([[float(value) for value in values] for values in mine], axis=0)
            shown = [[f"{mean:.1f}" for mean in means], *mine]
            body.append((name, *(" / ".join(values) for values in shown)))
    draws = sorted({int(number) for table in parts.values() for number in column(table, "Draws")})
    told = " to ".join(dict.fromkeys(map(str, (draws[0], draws[-1]))))
    title = f"The default with one thing changed, {counted(PART_SHOTS[0])}, {told} draws"
    caption = "Mean AUROC of the categories / subset accuracy / macro F1."
    header = ("", "Mean", *(TITLES[key] for key in parts))
    return Table(title, header, tuple(body), caption)


def picture(figures: Stored) -> bytes:
    """A row a set of images, a column a metric, a line a system."""
    keys = list(dict.fromkeys(images for images, _ in figures))
    figure = new_figure(3.4 * len(METRICS), 2.5 * len(keys) + 0.6)
    axes = figure.subplots(len(keys), len(METRICS), squeeze=False)
    for key, line in zip(keys, axes, strict=True):
        by_shots = {n: by_name(table) for n, table in shots_of(figures, key).items()}
        for place, (metric, axis) in enumerate(zip(METRICS, line, strict=True), 1):
            draw_lines(axis, {n: {k: v[place] for k, v in f.items()} for n, f in by_shots.items()})
            axis.set_title(f"{TITLES[key]}\n{metric}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("shots a category")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return save_figure(figure, "png")


def draw_lines(axis: Any, values: Mapping[int, Mapping[str, str]]) -> None:
    """Draw a line a system.

    Args:
        axis: of matplotlib.
        values: in percent, by the number of shots and the system.
    """
    *rivals, mine = systems()
    for number, name in enumerate((*rivals, mine)):
        known = {shots: float(found[name]) for shots, found in values.items() if name in found}
        axis.plot(
            list(known), list(known.values()), label=name, marker="o", markersize=3,
            linewidth=2.6 if name == mine else 1.1, color=PALETTE[number % len(PALETTE)],
            linestyle=DASHES[number % len(DASHES)] if name != mine else "-",
        )  # fmt: skip
    style_axes(axis)
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(values), [str(shots) for shots in values])


def page(folder: Path) -> str:
    """The document, from the CSV files of a folder."""
    figures, gaps = load(folder, SHOT_FIGURES), load(folder, SHOT_GAPS)
    text = [HEAD.format(images=IMAGES, seed=PHANTOM_SEED, draws=DRAWS, real_draws=REAL_DRAWS)]
    for shots in TOLD_SHOTS:
        found = {TITLES[key]: table for (key, n), table in gaps.items() if int(n) == shots}
        if found:
            text.append(f"**{counted(shots)}**, by 95% intervals of paired differences:\n")
            text.append(verdict(found))
    keys = dict.fromkeys(images for images, _ in figures)
    text += [figure_table(key, shots_of(figures, key)).markdown() for key in keys]
    if (folder / f"{SHOT_PARTS.name}.csv").exists():
        parts = {key: table for (key,), table in load(folder, SHOT_PARTS).items()}
        text.append(part_table(parts).markdown())
    text.append("## Paired differences\nIn points of percent, [95% over draws and patients].\n")
    for (key, shots), table in gaps.items():
        title = f"{TITLES[key]}, {counted(int(shots))}"
        text.append(replace(table, title=title, caption=GAP_CAPTION).markdown())
    return "\n".join(text)


def write_pages(docs: Path) -> None:
    """Write the page and its plot.

    Args:
        docs: the folder of the documents; its folder ``shots`` holds the CSV files.
    """
    folder = docs / FOLDER
    figures = load(folder, SHOT_FIGURES)
    first, *_ = (images for images, _ in figures)
    write_text(docs / "shots.md", page(folder).rstrip("\n") + "\n" + recorded(folder, first))
    write_bytes(docs / "shots.png", picture(figures))


if __name__ == "__main__":
    run(write_pages, __doc__)
