"""``docs/realdata.md``: every compared system on small real sets that the user has on disk.

Run ``make realdata REALDATA=DIR``: hours, and it goes on where it was interrupted. Nothing is tuned
on these images, which are not part of the project. ``--systems`` and ``--set`` run a part, and
several processes may run one each; the page has the systems that were run on every set.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from benchmarks.comparison import spread_table
from benchmarks.comparison_page import left_out
from benchmarks.made_with import write_page
from benchmarks.study_pages import spelled_out
from sdmad.backbones import Backbone, load_backbone
from sdmad.baselines.registry import SYSTEMS, load_system, match_systems
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
from sdmad.studies.draw import Draw, Variant, draws_of
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material
from sdmad.table import Table

HEAD = """# Small real sets
Written by `make realdata REALDATA=DIR`; do not edit by hand. Every compared system that runs on the
embedded backbone; nothing was chosen on these images. The embedded backbone has never seen a real
medical image: its trunk has seen ImageNet, the rest phantoms. Each cell is the mean over the draws
in percent ± their standard deviation, [95% interval over draws and patients], as on the pages of
[results.md](results.md). {left_out}

Cautions: the OCT set has 32 images of 25 patients; the chest images are 64 px, so the figures say
nothing about radiographs; in the brain set planes and sequences are mixed, image size and origin
differ with the class, and there are no patient ids. Its own split is kept here, which
[shots.md](shots.md) ignores: what is learnt from the larger part is judged on the other, of another
origin. Banks: `oct` and `chest` of the phantoms, and `brain_tumor`.

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


def engine_of(real: RealSet, out: Path) -> Engine:
    """Keeps the outcomes of a set."""
    return Engine(backbone(), out / "outcomes" / real.folder, print)


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    """The embedded backbone, once."""
    return load_backbone("lite")


def draws_on(real: RealSet, data: Path) -> list[Draw]:
    """The draws of a set, in the folder that holds the sets."""
    bank = SignBank.load(real.bank)
    table = TableData(data / real.folder / "labels.csv", bank.names)
    return draws_of(Material(table, bank), SHOTS, DRAWS)


def read(draws: Sequence[Draw], engine: Engine) -> dict[str, Compared]:
    """The systems of which every draw was run, by name."""
    found = {}
    for name in SYSTEMS:
        system = load_system(name)
        kept = [engine.stored(Variant(system), draw) for draw in draws]
        outcomes = tuple(outcome for outcome in kept if outcome is not None)
        if len(outcomes) == len(draws):
            found[name] = Compared(system, outcomes)
    return found


def tables_of(real: RealSet, bank: SignBank, rows: Sequence[Compared]) -> list[Table]:
    """The tables of one set: every system, each category's AUROC, SD-MAD against the best peer."""
    title = f"{real.title}, {counted(SHOTS)}, {counted(DRAWS, 'draw')}"
    summaries = all_summaries(rows, RESAMPLES)
    tables = [spelled_out(spread_table(summaries, rows, SHOWN, title))]
    categories = by_category_table(rows, bank.names)
    tables += [replace(categories, title=f"{title}: AUROC by category")] if categories else []
    gaps = gap_tables(best_peer_gaps(rows, summaries, RESAMPLES), ())
    return tables + [replace(one, title=f"{title}: best peers") for one in gaps.values()]


def everywhere(rows_of: Mapping[RealSet, Mapping[str, Compared]]) -> list[str]:
    """Names of the systems that were run on every set."""
    return [name for name in SYSTEMS if all(name in rows for rows in rows_of.values())]


def page_of(rows_of: Mapping[RealSet, Mapping[str, Compared]]) -> str:
    """The page, of the systems that were run on every set."""
    names = everywhere(rows_of)
    titles = [load_system(name).title for name in names]
    parts = [HEAD.format(left_out=left_out(titles)).rstrip() + "\n"]
    for real, found in rows_of.items():
        rows = [found[name] for name in names]
        parts += [table.markdown() for table in tables_of(real, SignBank.load(real.bank), rows)]
    parts.append(Path(__file__).with_name("realdata_remarks.md").read_text(encoding="utf-8"))
    return "\n".join(parts)


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--out", type=Path, default=Path("out/realdata"))
    parser.add_argument("--docs", type=Path, default=Path("docs/realdata.md"))
    parser.add_argument("--set", action="append", help="run these folders only, write no page")
    parser.add_argument("--systems", help="run these only, write no page")
    parser.add_argument("--write", action="store_true", help="run nothing, write what is there")
    options = parser.parse_args()
    there = [real for real in SETS if (options.data / real.folder / "labels.csv").exists()]
    for real in SETS:
        if real not in there:
            print(f"{real.title}: no labels.csv in {options.data / real.folder}; left out")
    for real in there if not options.write else ():
        if not options.set or real.folder in options.set:
            draws, engine = draws_on(real, options.data), engine_of(real, options.out)
            for name in match_systems(options.systems or "*"):
                run_system(load_system(name), draws, engine)
    if not options.set and not options.systems:
        rows = {r: read(draws_on(r, options.data), engine_of(r, options.out)) for r in there}
        write_page(options.docs, page_of(rows), everywhere(rows))


if __name__ == "__main__":
    main()
