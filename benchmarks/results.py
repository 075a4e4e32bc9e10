"""The draws behind ``docs/results.md``: phantoms of the test style, all systems, five draws.

Run ``make results``; ``benchmarks/results_page.py`` makes the pages. Nothing was chosen on these
images; settings come from ``benchmarks/choose.py`` on validation phantoms.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.draw_tables import differences, summary
from benchmarks.made_with import record
from benchmarks.results_tables import (
    CATEGORIES,
    DIFFERENCES,
    MEANS,
    PRETRAINING,
    Keys,
    Kind,
    split_means,
    store,
)
from benchmarks.results_tables import SYSTEMS as SYSTEM_TABLES
from sdmad.backbones import load_backbone
from sdmad.evaluation.intervals import summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.phantoms.cases import STUDIED, load_modality
from sdmad.reporting.draw_tables import (
    METRICS,
    TRIVIAL,
    category_means,
    category_table,
    counted,
    shown_name,
    trivial_draws,
)
from sdmad.signs import SignBank
from sdmad.signs.noise import MIXTURE, add_noise
from sdmad.studies.draw import PAPER_SYSTEMS, draws_of, variants_of
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material, phantom_data
from sdmad.table import Table

IMAGES, PHANTOM_SEED = 500, 1000
SHOTS, DRAWS = (1, 4), 5
RECOMMENDED = "sd-mad"


@dataclass(frozen=True)
class Setting:
    """One modality with one bank and number of shots, and what each system said, by its name."""

    material: Material
    draws: dict[str, list[LabelledScores]]


Found = dict[tuple[str, str, int], Setting]
"""By modality, bank (clean or noisy) and shots."""


def run(folder: Path, modalities: Sequence[str] = STUDIED) -> Found:
    """Run what is missing; returns every draw."""
    backbone, found = load_backbone("lite"), {}
    for modality in modalities:
        bank = SignBank.load(modality)
        data = phantom_data(modality, folder, IMAGES, PHANTOM_SEED, "test", print)
        banks = {"clean": bank, "noisy": add_noise(bank, MIXTURE, 2, seed=0).bank}
        for (kind, used), shots in itertools.product(banks.items(), SHOTS):
            material = Material(data, used)
            engine = Engine(backbone, folder / "draws" / f"{modality}-{kind}", print)
            doing = f"{modality}, {kind} bank, {counted(shots)}"
            outcomes = engine.run(
                variants_of(PAPER_SYSTEMS), draws_of(material, shots, DRAWS), doing
            )
            scored = {name: [one.scored for one in of] for name, of in outcomes.items()}
            found[modality, kind, shots] = Setting(material, scored)
    return found


def mean_over_modalities(found: Found) -> Table:
    """The table to look at first: mean of the three modalities, AUROC / Hamming / subset."""
    columns = list(itertools.product(("clean", "noisy"), SHOTS))
    rows = []
    for name in [*TRIVIAL.values(), *PAPER_SYSTEMS]:
        cells = []
        for kind, shots in columns:
            values = []
            for modality in STUDIED:
                draws = found[modality, kind, shots].draws
                key = next((k for k, v in TRIVIAL.items() if v == name), None)
                scored = trivial_draws(draws[RECOMMENDED], key) if key else draws[name]
                values.append(summarise_draws(scored, resamples=0))
            means = [100 * np.mean([v[m].mean for v in values]) for m in METRICS[:1] + METRICS[2:4]]
            cells.append(" / ".join(f"{m:.1f}" for m in means))
        rows.append((shown_name(name), *cells))
    header = ("System", *(f"{kind}, {counted(shots)}" for kind, shots in columns))
    title = "Mean of the three modalities: mean AUROC / Hamming / subset"
    return Table(title, header, tuple(rows), "")


def apart(found: Found) -> Table:
    """Mean AUROC of the categories that rest on unseen signs, apart from the others."""
    columns = list(itertools.product((False, True), SHOTS))
    rows = []
    for name in PAPER_SYSTEMS:
        cells = []
        for unseen, shots in columns:
            values = []
            for modality in STUDIED:
                setting = found[modality, "clean", shots]
                names = setting.material.bank.names
                marked = load_modality(modality).unseen_categories()
                means = category_means({name: setting.draws[name]}, names)[name]
                values += [
                    v for c, v in zip(names, means, strict=True)
                    if (c in marked) == unseen
                ]  # fmt: skip
            cells.append(f"{100 * np.nanmean(values):.1f}")
        rows.append((shown_name(name), *cells))
    groups = {False: "signs seen in pretraining", True: "signs never drawn in it"}
    header = ("System", *(f"{groups[unseen]}, {counted(shots)}" for unseen, shots in columns))
    title = "Categories by whether pretraining drew their signs: mean AUROC, clean banks"
    return Table(title, header, tuple(rows), "Unseen: Dural thickening, Hernia, CNV.")


def write_tables(folder: Path, found: Found) -> None:
    """Write every table of the study as CSV."""
    tables: dict[Kind, list[tuple[Keys, Table]]] = {}
    tables[MEANS] = split_means(mean_over_modalities(found), ("Mean AUROC", "Hamming", "Subset"))
    tables[PRETRAINING] = [((), apart(found))]
    for (modality, kind, shots), setting in found.items():
        draws = setting.draws
        keys = (modality, kind, str(shots))
        marked = load_modality(modality).unseen_categories()
        tables.setdefault(SYSTEM_TABLES, []).append((keys, summary("", draws, "")))
        if kind == "clean":
            table = category_table("", draws, setting.material.bank.names, marked)
            tables.setdefault(CATEGORIES, []).append((keys, table))
        if kind == "clean" and shots == max(SHOTS):
            table = differences("", draws, RECOMMENDED)
            tables.setdefault(DIFFERENCES, []).append((keys, table))
    for kind_of_table, shown in tables.items():
        store(folder, kind_of_table, shown)


def main() -> None:
    """Run the study and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs/results"))
    parser.add_argument("--modality", action="append", help="run these only, write no table")
    options = parser.parse_args()
    found = run(options.out, options.modality or STUDIED)
    if not options.modality:
        write_tables(options.docs, found)
        record(options.docs)


if __name__ == "__main__":
    main()
