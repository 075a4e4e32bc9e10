"""``docs/realdata.md``: the same systems on small real sets that the user has on disk.

Run ``make realdata REALDATA=DIR``. The embedded backbone has never seen a real image and nothing is
tuned on these; the images are not part of the project.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.draw_tables import differences, summary
from benchmarks.made_with import write_page
from sdmad.backbones import load_backbone
from sdmad.data.sets.table_data import TableData
from sdmad.reporting.draw_tables import category_table, counted
from sdmad.signs import SignBank
from sdmad.studies.draw import PAPER_SYSTEMS, draws_of, variants_of
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material

HEAD = """# Small real sets
Written by `make realdata REALDATA=DIR`; do not edit by hand. The embedded backbone has never seen a
real image, and nothing was chosen on these: they show that the program runs on real files as they
lie, and how far a backbone trained on phantoms carries over. They are no evidence about the method
on a real backbone. Each cell is the mean over the draws in percent ± their standard deviation,
[95% interval over draws and patients], as on the pages of [results.md](results.md).

Cautions: the OCT set has 32 images of 25 patients; the chest images are 64 px, so the figures say
nothing about radiographs; in the brain set planes and sequences are mixed, image size and origin
differ with the class, and there are no patient ids. Banks: `oct` and `chest` of the phantoms, and
`brain_tumor`.

"""


@dataclass(frozen=True)
class RealSet:
    """One folder with a ``labels.csv``, the bank to use and the plan."""

    folder: str
    title: str
    bank: str
    shots: tuple[int, ...]
    draws: int


SETS = (
    RealSet("oct2017_val32", "Retinal OCT (32 images)", "oct", (1, 4), 20),
    RealSet("nih_cxr14_64px", "Chest X-ray (651 images of 64 px)", "chest", (4,), 5),
    RealSet(
        "brain_mri_tumor4",
        "Brain MRI with tumours (280 images)",
        "brain_tumor",
        (4,),
        5,
    ),
)


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--out", type=Path, default=Path("out/realdata"))
    parser.add_argument("--docs", type=Path, default=Path("docs/realdata.md"))
    parser.add_argument("--set", action="append", help="run these folders only, write no page")
    options = parser.parse_args()
    backbone, parts = load_backbone("lite"), [HEAD]
    for real in [s for s in SETS if not options.set or s.folder in options.set]:
        labels = options.data / real.folder / "labels.csv"
        if not labels.exists():
            print(f"{real.title}: no {labels}; left out")
            continue
        bank = SignBank.load(real.bank)
        material = Material(TableData(labels, bank.names), bank)
        engine = Engine(backbone, options.out / "draws" / real.folder, print)
        for shots in real.shots:
            asked = draws_of(material, shots, real.draws)
            outcomes = engine.run(
                variants_of(PAPER_SYSTEMS), asked, f"{real.folder}, {counted(shots)}"
            )
            if options.set:
                continue
            draws = {name: [one.scored for one in of] for name, of in outcomes.items()}
            title = f"{real.title}, {counted(shots)}, {real.draws} draws"
            parts.append(summary(title, draws, "").markdown())
            parts.append(category_table(f"{title}: AUROC by category", draws,
                                        bank.names).markdown())  # fmt: skip
            parts.append(differences(f"{title}: paired differences", draws, "sd-mad").markdown())
    parts.append(Path(__file__).with_name("realdata_remarks.md").read_text(encoding="utf-8"))
    if not options.set:
        write_page(options.docs, "\n".join(parts))


if __name__ == "__main__":
    main()
