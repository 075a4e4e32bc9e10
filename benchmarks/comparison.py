"""The full comparison in ``docs/comparison.md``: every system, three modalities, 1, 4 and 16 shots.

Systems that take minutes a draw get three draws, the others five. The real sets are those of
``benchmarks/realdata.py``. Run ``make comparison``: hours on two cores;
``benchmarks/comparison_page.py`` makes the pages. Interrupted and started again it goes on; the
draws come one after the other, so that what is there is whole draws of every system. With
``--modality`` one is run alone: the tables of the others stay where they were made with the same.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.made_with import record
from benchmarks.results_tables import (
    ADDED_LOSS,
    COMPARED_CATEGORIES,
    COMPARED_MEANS,
    COSTS,
    DECISIONS,
    PEERS,
    RANKING,
    SETTLED,
    Keys,
    Kind,
    Stored,
    column,
    figure_of,
    kept_tables,
    load,
    store,
)
from sdmad.backbones import Backbone, load_backbone
from sdmad.baselines.registry import SYSTEMS, Build, Recipe, load_system, match_systems
from sdmad.detector.base import Detector
from sdmad.errors import MissingExtraError, WeightsMissingError
from sdmad.evaluation.intervals import DrawSummary
from sdmad.evaluation.pixel_intervals import PIXEL_METRICS
from sdmad.output import write_bytes
from sdmad.phantoms.cases import STUDIED
from sdmad.reporting.curves import loss_plot
from sdmad.reporting.draw_tables import TRIVIAL, cell, counted
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.studies.comparison.run import comparison_engine
from sdmad.studies.comparison.tables import (
    PROTOCOLS,
    Compared,
    added_loss_gaps,
    all_summaries,
    best_peer_gaps,
    by_category_table,
    cost_table,
    gap_tables,
    late_share,
    loss_logs,
)
from sdmad.studies.draw import Draw, Variant
from sdmad.studies.engine import Engine
from sdmad.studies.material import Material, Say, open_material
from sdmad.studies.outcome import Outcome
from sdmad.table import MISSING, Table

SHOTS, DRAWS, SLOW_DRAWS, WORKERS, RESAMPLES = (1, 4, 16), 5, 3, 2, 1000
SLOW = (
    *("inctrl", "dra-imagenet", "bgad-imagenet", "univad-embedded", "patchcore"),
    *("anomaly-clip", "aa-clip", "mvfa", "sd-mad-mvfa"),
)
"""Systems that take minutes a draw, and get fewer."""
LOSSES = "losses-{}.png"
METRICS = ("image_auroc", "mean_auroc", "hamming_score", "subset_accuracy", "macro_f1")
SPREADS = {
    RANKING: ("image_auroc", "mean_auroc", *PIXEL_METRICS),
    DECISIONS: PROTOCOLS["integrated"],
}
GAPS = {"difference": PEERS, "added-loss": ADDED_LOSS}
NO_WEIGHTS = ("medclip-names", "medclip-ensemble", "medclip", "dra", "bgad", "univad")
SETTLED_CAPTION = (
    "Percent of the fall of the loss that lies in the last tenth of the epochs, the largest of the "
    "draws; of several detectors, the one of any anomaly."
)

Job = tuple[int, str, str]
"""A draw, a modality and a system, with every number of shots."""

Found = dict[tuple[str, int], list[Compared]]


@lru_cache(maxsize=1)
def backbone() -> Backbone:
    """The embedded backbone, once a process."""
    return load_backbone("lite")


@lru_cache(maxsize=3)
def material(out: Path, modality: str) -> Material:
    """A modality's phantoms, once a process."""
    return open_material(f"phantom-{modality}", None, None, out, lambda _: None)


def engine(out: Path, modality: str, general_only: bool, say: Say = lambda _: None) -> Engine:
    """Keeps a modality's outcomes."""
    return comparison_engine(out, material(out, modality), backbone(), say, general_only)


def run_job(out: Path, job: Job, general: Sequence[str]) -> str:
    """One system on one draw, in a process of the pool; what stopped it, if anything did.

    What was trained on the auxiliary set serves every number of shots.
    """
    seed, modality, name = job
    system = load_system(name)
    if system.learns_from == "auxiliary set":
        system = replace(system, home=trained_once(system.recipe))
    runs, of = engine(out, modality, name in general, print), material(out, modality)
    try:
        for shots in SHOTS:
            runs.run([Variant(system)], [Draw(of, shots, seed)], f"{name}, {modality}")
    except MissingExtraError:
        return "extra missing"
    except WeightsMissingError:
        return "weights missing"
    return ""


def trained_once(recipe: Recipe) -> Recipe:
    """A recipe that makes one detector and gives it again."""
    held: list[Detector] = []

    def make(build: Build, settings: Any) -> Detector:
        held.extend([] if held else [recipe.make(build, settings)])
        return held[0]

    return replace(recipe, make=make)


def start_worker() -> None:
    """One thread a process: the embedded backbone gains nothing from more."""
    import torch

    torch.set_num_threads(1)


def draws_of_system(name: str, draws: int) -> int:
    """How many of the draws a system gets."""
    return min(draws, SLOW_DRAWS) if name in SLOW else draws


def jobs(draws: int, modalities: Sequence[str]) -> list[Job]:
    """Every job, one draw after the other."""
    every = itertools.product(range(draws), modalities, SYSTEMS)
    return [job for job in every if job[0] < draws_of_system(job[2], draws)]


def done(out: Path, job: Job, general_only: bool) -> bool:
    """Whether every outcome of a job is there, with the system's present settings."""
    seed, modality, name = job
    variant, runs = Variant(load_system(name)), engine(out, modality, general_only)
    return all(runs.stored(variant, Draw(material(out, modality), s, seed)) for s in SHOTS)


def run(
    out: Path,
    draws: int,
    modalities: Sequence[str],
    systems: Sequence[str],
    general: Sequence[str],
) -> None:
    """Run what is missing of some systems, on all cores."""
    for modality in modalities:
        material(out, modality)
    asked = [job for job in jobs(draws, modalities) if job[2] in systems]
    missing = [job for job in asked if not done(out, job, job[2] in general)]
    os.environ["OMP_NUM_THREADS"] = "1"
    context, left_out = multiprocessing.get_context("spawn"), set()
    with ProcessPoolExecutor(WORKERS, context, start_worker) as pool:
        futures = {pool.submit(run_job, out, job, general): job for job in missing}
        for number, future in enumerate(as_completed(futures), 1):
            job, why = futures[future], future.result()
            if why:
                left_out.add(f"{job[2]}: {why}")
            print(f"{number}/{len(missing)} {job} {why}", flush=True)
    print("left out:", "; ".join(sorted(left_out)) or "nothing")


def whole_draws(
    out: Path, name: str, modality: str, draws: int, general_only: bool
) -> list[dict[int, Outcome]]:
    """A system's draws of a modality, from the first to the last that is whole, by shots."""
    variant, of = Variant(load_system(name)), material(out, modality)
    runs, found = engine(out, modality, general_only), []
    for seed in range(draws):
        kept = {shots: runs.stored(variant, Draw(of, shots, seed)) for shots in SHOTS}
        whole = {shots: outcome for shots, outcome in kept.items() if outcome is not None}
        if len(whole) < len(SHOTS):
            break
        found.append(whole)
    return found


def read(out: Path, draws: int, modalities: Sequence[str]) -> Found:
    """Outcomes of some modalities and every number of shots: each system's whole draws.

    Those asked for every category; where there are none, those asked only for any anomaly.
    """
    found: Found = {key: [] for key in itertools.product(modalities, SHOTS)}
    for name, modality in itertools.product(SYSTEMS, modalities):
        whole = whole_draws(out, name, modality, draws, False)
        whole = whole or whole_draws(out, name, modality, draws, True)
        for shots in SHOTS if whole else ():
            outcomes = tuple(draw[shots] for draw in whole)
            found[modality, shots].append(Compared(load_system(name), outcomes))
    return found


def mean_table(tables: Sequence[Table]) -> Table:
    """Means of the modalities, a row a system that was run on all of them.

    Args:
        tables: of each modality, with the columns of :data:`RANKING` and :data:`DECISIONS`.
    """
    metrics = [METRIC_TITLES[metric] for metric in (*METRICS, *PIXEL_METRICS)]
    by_title = [{row[0]: dict(zip(t.header, row, strict=True)) for row in t.rows} for t in tables]
    rows = []
    for title in by_title[0]:
        mine = [one[title] for one in by_title if title in one]
        if len(mine) == len(tables):
            draws = {one["Draws"] for one in mine}
            fewest = MISSING if MISSING in draws else min(draws, key=int)
            rows.append((title, fewest, *(mean_of([one[m] for one in mine]) for m in metrics)))
    return Table("", ("System", "Draws", *metrics), tuple(rows), "")


def mean_of(cells: Sequence[str]) -> str:
    """Mean of the figures that are known."""
    known = [figure_of(cell) for cell in cells if cell != MISSING]
    return f"{np.mean(known):.1f}" if known else MISSING


def spread_table(
    summaries: Mapping[str, dict[str, DrawSummary]],
    rows: Sequence[Compared],
    metrics: Sequence[str],
    title: str,
) -> Table:
    """One modality: mean, deviation over the draws and interval of some metrics."""
    body = [
        (trivial, *(cell(mine[m]) if m in mine else MISSING for m in metrics))
        for trivial, mine in ((name, summaries[name]) for name in TRIVIAL)
    ]
    for one in rows:
        mine = summaries[one.system.name]
        cells = (cell(mine[m]) if m in mine else MISSING for m in metrics)
        body.append((one.title, *cells))
    header = ("System", *(METRIC_TITLES[metric] for metric in metrics))
    return Table(title, header, tuple(body), "")


def with_draws(table: Table, rows: Sequence[Compared]) -> Table:
    """With how many draws each row is of."""
    draws = {one.title: str(len(one.outcomes)) for one in rows}
    body = tuple((row[0], draws.get(row[0], MISSING), *row[1:]) for row in table.rows)
    return replace(table, header=(table.header[0], "Draws", *table.header[1:]), rows=body)


def modality_tables(
    out: Path,
    modality: str,
    rows: Sequence[Compared],
    summaries: Mapping[str, dict[str, DrawSummary]],
) -> dict[Kind, Table]:
    """All tables of one modality and number of shots."""
    tables = {kind: spread_table(summaries, rows, metrics, "") for kind, metrics in SPREADS.items()}
    tables[RANKING] = with_draws(tables[RANKING], rows)
    tables[COSTS] = cost_table(rows)
    by_category = by_category_table(rows, material(out, modality).bank.names)
    tables |= {COMPARED_CATEGORIES: by_category} if by_category else {}
    best_peer = best_peer_gaps(rows, summaries, RESAMPLES)
    gaps = gap_tables(best_peer, added_loss_gaps(rows, RESAMPLES))
    return tables | {GAPS[name]: table for name, table in gaps.items()}


def settled_table(by_shots: Mapping[int, Sequence[Compared]]) -> Table:
    """How far each training of a modality had settled, on every number of shots."""
    body = []
    for everywhere in zip(*by_shots.values(), strict=True):  # one system
        cells = []
        for one in everywhere:
            late = [late_share(o.losses) for o in one.outcomes if o.losses]
            known = [share for share in late if not np.isnan(share)]
            cells.append(f"{100 * max(known):.0f}" if known else MISSING)
        if set(cells) != {MISSING}:
            body.append((everywhere[0].title, *cells))
    return Table("", ("System", *map(counted, by_shots)), tuple(body))


def costs_caption() -> str:
    """How to read the costs of this study."""
    return (
        f"{cost_table([]).caption} One thread, beside another process of the study. What is "
        "trained on the auxiliary set was trained once for all shots: see the fit with one."
    )


def write_tables(folder: Path, out: Path, found: Found) -> None:
    """Write every table of some modalities as CSV, beside those of the others that are as new."""
    modalities = list(dict.fromkeys(modality for modality, _ in found))
    tables: dict[Kind, Stored] = {SETTLED: {}}
    for modality in modalities:
        by_shots = {shots: found[modality, shots] for shots in SHOTS}
        tables[SETTLED][modality,] = settled_table(by_shots)
        for shots, rows in by_shots.items():
            made = modality_tables(out, modality, rows, all_summaries(rows, RESAMPLES))
            for kind, table in made.items():
                tables.setdefault(kind, {})[modality, str(shots)] = table
    for kind, mine in tables.items():
        others = kept_tables(folder, kind, modalities)
        store(folder, kind, sorted((others | mine).items(), key=lambda one: place_of(one[0])))
    for modality in modalities:
        record(folder, modality, [one.system.name for one in found[modality, SHOTS[0]]])
    store_means(folder)


def place_of(keys: Keys) -> tuple[int, ...]:
    """Where a table stands: by modality, then by shots."""
    return STUDIED.index(keys[0]), *map(int, keys[1:])


def store_means(folder: Path) -> None:
    """Write the means of the modalities that are stored."""
    ranking, decisions = load(folder, RANKING), load(folder, DECISIONS)
    tables = []
    for shots in dict.fromkeys(keys[1] for keys in ranking):
        both = [beside(ranking[keys], decisions[keys]) for keys in ranking if keys[1] == shots]
        tables.append(((shots,), mean_table(both)))
    store(folder, COMPARED_MEANS, tables)


def beside(one: Table, other: Table) -> Table:
    """Two tables of the same rows as one."""
    assert column(one, "System") == column(other, "System")
    rows = tuple((*a, *b[1:]) for a, b in zip(one.rows, other.rows, strict=True))
    return Table("", (*one.header, *other.header[1:]), rows)


def main() -> None:
    """Run the study and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/comparison"))
    parser.add_argument("--docs", type=Path, default=Path("docs/comparison"))
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--modality", action="append", choices=STUDIED, help="run these only")
    parser.add_argument("--general", default="", help="systems asked only: is it abnormal?")
    parser.add_argument("--systems", default="*", help="run these only")
    parser.add_argument("--write", action="store_true", help="run nothing, write what is there")
    options = parser.parse_args()
    modalities = options.modality or STUDIED
    if not options.write:
        systems, general = match_systems(options.systems), options.general.split(",")
        run(options.out, options.draws, modalities, systems, general)
    found = read(options.out, options.draws, modalities)
    write_tables(options.docs, options.out, found)
    for modality in modalities:
        logs = loss_logs(found[modality, max(SHOTS)])
        write_bytes(options.docs / LOSSES.format(modality), loss_plot(logs))


if __name__ == "__main__":
    main()
