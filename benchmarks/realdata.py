"""``docs/realdata.md``: every compared system on small real sets that the user has on disk.

Run ``make realdata REALDATA=DIR``: hours, and it goes on where it was interrupted. Nothing is tuned
on these images, which are not part of the project.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.comparison import spread_table
from benchmarks.made_with import write_page
from benchmarks.study_pages import spelled_out
from sdmad.backbones import load_backbone
from sdmad.baselines.registry import SYSTEMS, load_system
from sdmad.data.sets.table_data import TableData
from sdmad.reporting.draw_tables import counted
from sdmad.signs import SignBank
from sdmad.studies.comparison.run import run_system
from sdmad.studies.comparison.tables import (
    Compared,
    all_summaries,
    best_peer_gaps,
    by_category_table,
    gap_tables,
)
from sdmad.studies.draw import draws_of
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material
from sdmad.table import Table

HEAD = """# Small real sets
Written by `make realdata REALDATA=DIR`; do not edit by hand. Every compared system that runs on the
embedded backbone; nothing was chosen on these images. The embedded backbone has never seen a real
medical image: its trunk has seen ImageNet, the rest phantoms. Each cell is the mean over the draws
in percent ± their standard deviation, [95% interval over draws and patients], as on the pages of
[results.md](results.md).

Cautions: the OCT set has 32 images of 25 patients; the chest images are 64 px, so the figures say
nothing about radiographs; in the brain set planes and sequences are mixed, image size and origin
differ with the class, and there are no patient ids. Banks: `oct` and `chest` of the phantoms, and
`brain_tumor`.

"""


SHOTS, DRAWS, RESAMPLES = 4, 5, 1000
SHOWN = ("image_auroc", "mean_auroc", "hamming_score", "subset_accuracy", "macro_f1")


@dataclass(frozen=True)
class RealSet:
    """One folder with a ``labels.csv``, and the bank to use."""

    folder: str
    title: str
    bank: str


SETS = (
    RealSet("oct2017_val32", "Retinal OCT (32 images)", "oct"),
    RealSet("nih_cxr14_64px", "Chest X-ray (651 images of 64 px)", "chest"),
    RealSet("brain_mri_tumor4", "Brain MRI with tumours (280 images)", "brain_tumor"),
)


def compared_on(real: RealSet, bank: SignBank, data: Path, out: Path) -> list[Compared]:
    """Every system on a set; what is done already is not run again.

    Args:
        real: the set.
        bank: its signs.
        data: the folder that holds the sets.
        out: where outcomes are kept.
    """
    table = TableData(data / real.folder / "labels.csv", bank.names)
    engine = Engine(load_backbone("lite"), out / "outcomes" / real.folder, print)
    draws = draws_of(Material(table, bank), SHOTS, DRAWS)
    found = (run_system(load_system(name), draws, engine) for name in SYSTEMS)
    return [one for one in found if one.outcomes]


def tables_of(real: RealSet, bank: SignBank, rows: Sequence[Compared]) -> list[Table]:
    """The tables of one set: every system, each category's AUROC, SD-MAD against the best peer."""
    title = f"{real.title}, {counted(SHOTS)}, {counted(DRAWS, 'draw')}"
    summaries = all_summaries(rows, RESAMPLES)
    tables = [spelled_out(spread_table(summaries, rows, SHOWN, title))]
    categories = by_category_table(rows, bank.names)
    tables += [replace(categories, title=f"{title}: AUROC by category")] if categories else []
    gaps = gap_tables(best_peer_gaps(rows, summaries, RESAMPLES), ())
    return tables + [replace(one, title=f"{title}: best peers") for one in gaps.values()]


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--out", type=Path, default=Path("out/realdata"))
    parser.add_argument("--docs", type=Path, default=Path("docs/realdata.md"))
    parser.add_argument("--set", action="append", help="run these folders only, write no page")
    options = parser.parse_args()
    parts = [HEAD]
    for real in [s for s in SETS if not options.set or s.folder in options.set]:
        if not (options.data / real.folder / "labels.csv").exists():
            print(f"{real.title}: no labels.csv in {options.data / real.folder}; left out")
            continue
        bank = SignBank.load(real.bank)
        rows = compared_on(real, bank, options.data, options.out)
        if not options.set:
            parts += [table.markdown() for table in tables_of(real, bank, rows)]
    parts.append(Path(__file__).with_name("realdata_remarks.md").read_text(encoding="utf-8"))
    if not options.set:
        write_page(options.docs, "\n".join(parts))


if __name__ == "__main__":
    main()
