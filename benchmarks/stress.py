"""``docs/signs-stress.md``: what selection makes of noisy signs, on the three phantom banks.

Run ``make stress``. Each bank's part is what ``sdmad signs stress BANK`` finds with its defaults;
test-style phantoms that no setting was chosen on.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import fields
from pathlib import Path

from benchmarks.made_with import write_page
from sdmad.phantoms.cases import STUDIED
from sdmad.studies.stress import StressRequest
from sdmad.studies.stress.results import (
    DISCARD_TITLES,
    INTRODUCTION,
    Discards,
    LevelResult,
    discard_cells,
    level_results,
    page_parts,
    write_results,
)
from sdmad.studies.stress.runs import Study, run_levels
from sdmad.table import Table

HEAD = """# Does sign selection pay with noisy signs?
Written by `make stress`; do not edit by hand. Phantoms in the *test* style, lite. For one
bank: `sdmad signs stress brain`; for your own images add `--labels LABELS.csv`.
"""


def run(folder: Path, bank: str) -> tuple[Study, list[LevelResult]]:
    """Run what is missing of one bank and write its own page."""
    study = run_levels(StressRequest(bank, folder / bank), lambda line: print(line, flush=True))
    results = [result for level in study.levels for result in level_results(level)]
    write_results(folder / bank, study, results)
    return study, results


def together(found: dict[str, list[LevelResult]]) -> Table:
    """Mean of the banks at each level: AUROC by both rules, their difference, what is discarded."""
    rows = []
    for level in zip(*found.values(), strict=True):
        one = level[0]
        means = [
            100 * sum(r.rules[rule]["mean_auroc"].mean for r in level) / len(level)
            for rule in ("none", "paper")
        ]
        signs = [sum(getattr(r.discards, field.name) for r in level) for field in fields(Discards)]
        rows.append(
            (
                *(one.kind, str(one.count), one.system),
                *(f"{mean:.1f}" for mean in means),
                f"{means[1] - means[0]:+.1f}",
                *discard_cells(Discards(*signs)),
            )
        )
    header = (
        *("Noise", "Added", "System", "selection none", "selection paper", "paper less none"),
        *DISCARD_TITLES,
    )
    caption = "Mean AUROC in percent; the signs of all banks counted together."
    return Table("Mean of the three banks", header, tuple(rows), caption)


def main() -> None:
    """Run the study and write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/stress"))
    parser.add_argument("--docs", type=Path, default=Path("docs/signs-stress.md"))
    options = parser.parse_args()
    found = {bank: run(options.out, bank) for bank in STUDIED}
    remarks = Path(__file__).with_name("stress_remarks.md").read_text(encoding="utf-8")
    parts = [HEAD + INTRODUCTION, remarks]
    parts.append(together({bank: results for bank, (_, results) in found.items()}).markdown())
    for bank, (study, results) in found.items():
        picture = options.docs.with_name(f"{options.docs.stem}-{bank}.png")
        shutil.copyfile(options.out / bank / "stress.png", picture)
        parts += [f"## {bank}", *page_parts(study, results, picture.name)]
    write_page(options.docs, "\n".join(parts))


if __name__ == "__main__":
    main()
