"""The draws behind ``docs/results.md``: phantoms of the test style, all systems, five draws.

Run ``make results``; ``benchmarks/results_page.py`` makes the pages. Nothing was chosen on these
images; settings come from ``benchmarks/choose.py`` on validation phantoms.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

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
from sdmad.data.table import read_label_table
from sdmad.evaluation.intervals import summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.phantoms.cases import MODALITIES, load_modality
from sdmad.phantoms.files import write_phantoms
from sdmad.signs import SignBank
from sdmad.signs.noise import MIXTURE, add_noise
from sdmad.studies.experiment import RECOMMENDED, SYSTEMS, fit_systems
from sdmad.studies.study import (
    METRICS,
    TRIVIAL,
    Setting,
    category_means,
    category_table,
    counted,
    differences,
    read_draws,
    run_draw,
    shown_name,
    summary,
    trivial_draws,
)
from sdmad.table import Table

IMAGES, PHANTOM_SEED = 500, 1000
SHOTS, DRAWS = (1, 4), 5


def settings(folder: Path, modality: str) -> tuple[list[Setting], list[Setting]]:
    """The clean and the noisy settings of one modality, its phantoms drawn if need be."""
    kind = load_modality(modality)
    target = folder / f"phantoms-{modality}"
    if not (target / "labels.csv").exists():
        write_phantoms(kind, target, IMAGES, PHANTOM_SEED)
    bank = SignBank.load(modality)
    table = read_label_table(target / "labels.csv", bank.names)
    noisy = add_noise(bank, MIXTURE, 2, seed=0).bank
    return (
        [Setting(f"{modality}-clean", bank, table, shots) for shots in SHOTS],
        [Setting(f"{modality}-noisy", noisy, table, shots) for shots in SHOTS],
    )


def run(
    folder: Path, modalities: Sequence[str] = MODALITIES
) -> dict[tuple[str, str, int], tuple[Setting, dict[str, list[LabelledScores]]]]:
    """Run what is missing; returns every draw by modality, bank and shots."""
    fit = partial(fit_systems, backbone=load_backbone("nano"))
    found = {}
    for modality in modalities:
        clean, noisy = settings(folder, modality)
        for kind, setting in [("clean", s) for s in clean] + [("noisy", s) for s in noisy]:
            for seed in range(DRAWS):
                run_draw(setting, seed, fit, folder / "draws")
            draws = read_draws(setting, range(DRAWS), folder / "draws")
            found[modality, kind, setting.shots] = (setting, draws)
    return found


def mean_over_modalities(
    found: dict[tuple[str, str, int], tuple[Setting, dict[str, list[LabelledScores]]]],
) -> Table:
    """The table to look at first: mean of the three modalities, AUROC / Hamming / subset."""
    columns = list(itertools.product(("clean", "noisy"), SHOTS))
    rows = []
    for name in [*TRIVIAL.values(), *SYSTEMS]:
        cells = []
        for kind, shots in columns:
            values = []
            for modality in MODALITIES:
                _, draws = found[modality, kind, shots]
                key = next((k for k, v in TRIVIAL.items() if v == name), None)
                scored = trivial_draws(draws[RECOMMENDED], key) if key else draws[name]
                values.append(summarise_draws(scored, resamples=0))
            means = [100 * np.mean([v[m].mean for v in values]) for m in METRICS[:1] + METRICS[2:4]]
            cells.append(" / ".join(f"{m:.1f}" for m in means))
        rows.append((shown_name(name), *cells))
    header = ("System", *(f"{kind}, {counted(shots)}" for kind, shots in columns))
    title = "Mean of the three modalities: mean AUROC / Hamming / subset"
    return Table(title, header, tuple(rows), "")


def apart(
    found: dict[tuple[str, str, int], tuple[Setting, dict[str, list[LabelledScores]]]],
) -> Table:
    """Mean AUROC of the categories that rest on unseen signs, apart from the others."""
    columns = list(itertools.product((False, True), SHOTS))
    rows = []
    for name in SYSTEMS:
        cells = []
        for unseen, shots in columns:
            values = []
            for modality in MODALITIES:
                setting, draws = found[modality, "clean", shots]
                marked = load_modality(modality).unseen_categories()
                means = category_means({name: draws[name]}, setting.bank.names)[name]
                values += [
                    v for c, v in zip(setting.bank.names, means, strict=True)
                    if (c in marked) == unseen
                ]  # fmt: skip
            cells.append(f"{100 * np.nanmean(values):.1f}")
        rows.append((shown_name(name), *cells))
    groups = {False: "signs seen in pretraining", True: "signs never drawn in it"}
    header = ("System", *(f"{groups[unseen]}, {counted(shots)}" for unseen, shots in columns))
    title = "Categories by whether pretraining drew their signs: mean AUROC, clean banks"
    return Table(title, header, tuple(rows), "Unseen: Dural thickening, Hernia, CNV.")


def write_tables(
    folder: Path,
    found: dict[tuple[str, str, int], tuple[Setting, dict[str, list[LabelledScores]]]],
) -> None:
    """Write every table of the study as CSV."""
    tables: dict[Kind, list[tuple[Keys, Table]]] = {}
    tables[MEANS] = split_means(mean_over_modalities(found), ("Mean AUROC", "Hamming", "Subset"))
    tables[PRETRAINING] = [((), apart(found))]
    for (modality, kind, shots), (setting, draws) in found.items():
        keys = (modality, kind, str(shots))
        marked = load_modality(modality).unseen_categories()
        tables.setdefault(SYSTEM_TABLES, []).append((keys, summary("", draws, "")))
        if kind == "clean":
            table = category_table("", draws, setting.bank.names, marked)
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
    found = run(options.out, options.modality or MODALITIES)
    if not options.modality:
        write_tables(options.docs, found)


if __name__ == "__main__":
    main()
