"""``docs/results.md``, a page a modality and the plot, from the CSV files of ``docs/results``.

Run ``make results-pages``: it needs no draws. ``make results`` writes the CSV files and then runs
it.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import results_tables as stored
from benchmarks.made_with import recorded
from benchmarks.results import DRAWS, IMAGES
from benchmarks.results_forest import forest_plot
from benchmarks.results_tables import Stored, join_means, load
from benchmarks.study_pages import (
    MODALITY_HEAD,
    bare,
    files,
    links,
    most_shots,
    run,
    template,
    titled,
    titles,
)
from sdmad.output import write_bytes, write_text
from sdmad.phantoms.cases import STUDIED
from sdmad.reporting.draw_tables import counted
from sdmad.studies.comparison.tables import PAIRED
from sdmad.table import Table

FOLDER = "results"
MARKED = "Categories marked * rest on signs that pretraining never drew."


def write_pages(docs: Path) -> None:
    """Write every page and the plot of the results.

    Args:
        docs: the folder of the documents; its folder ``results`` holds the CSV files.
    """
    folder = docs / FOLDER
    made = recorded(folder)
    write_text(docs / "results.md", main_page(folder) + made)
    for modality in STUDIED:
        write_text(folder / f"{modality}.md", modality_page(folder, modality) + made)
    differences = load(folder, stored.DIFFERENCES)
    shots = most_shots(differences)
    marks = {title: differences[m, "clean", shots] for m, title in titles().items()}
    write_bytes(folder / "differences.png", forest_plot(marks))


def main_page(folder: Path) -> str:
    """The page to read: the summary tables, the plot and the remarks."""
    (pretraining,) = load(folder, stored.PRETRAINING).values()
    return template("results_page.md").format(
        images=IMAGES,
        draws=DRAWS,
        modalities=links(FOLDER),
        means=bare(overview(load(folder, stored.MEANS))),
        most_shots=counted(int(most_shots(load(folder, stored.DIFFERENCES)))),
        pretraining=bare(pretraining),
    )


def overview(means: Stored) -> Table:
    """The means of SD-MAD and its baselines, a column a bank and number of shots."""
    columns = (f"{bank}, {counted(int(shots))}" for bank, shots in means)
    rows = ((name, *cells) for name, cells in join_means(means).items())
    return Table("", ("System", *columns), tuple(rows))


def modality_page(folder: Path, modality: str) -> str:
    """Every table of one modality."""
    systems = load(folder, stored.SYSTEMS)
    head = MODALITY_HEAD.format(title="Results", modality=titles()[modality], page="results.md")
    parts = [head + files((stored.SYSTEMS, stored.DIFFERENCES, stored.CATEGORIES))]
    differences, categories = load(folder, stored.DIFFERENCES), load(folder, stored.CATEGORIES)
    for keys in (keys for keys in systems if keys[0] == modality):
        title = f"{keys[1]} bank, {counted(int(keys[2]))}"
        parts.append(titled(systems[keys], title))
        if keys in differences:
            parts.append(titled(differences[keys], f"{title}: paired differences", PAIRED))
        if keys in categories:
            parts.append(titled(categories[keys], f"{title}: AUROC by category", MARKED))
    return "\n".join(parts)


if __name__ == "__main__":
    run(write_pages, __doc__)
