"""Run every system on many draws, keep what each said on disk, and summarise it.

Each draw is one file, written when it is done: an interrupted study goes on where it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.data.fewshot import draw_support
from sdmad.data.table import LabelTable
from sdmad.evaluation.intervals import DrawSummary, paired_difference, summarise_draws
from sdmad.evaluation.metrics import category_auroc, mean_of_defined
from sdmad.evaluation.scored import ScoredImages
from sdmad.evaluation.tables import Table
from sdmad.evaluation.trivial import trivial_predictor
from sdmad.experiment import NAMES, SYSTEMS, Episode, fit_systems, judged, score_prepared
from sdmad.signs import SignBank

METRICS = ("mean_auroc", "image_auroc", "hamming_score", "subset_accuracy", "macro_f1")
TITLES = ("Mean AUROC", "Image AUROC", "Hamming", "Subset", "Macro F1")
TRIVIAL = {"none": "predict nothing", "all": "predict everything", "prevalence": "prevalence"}
PARTS = ("labels", "scores", "decisions", "abnormality", "normal")


@dataclass(frozen=True)
class Setting:
    """One row of a study's plan: a named data set, its bank, and the number of shots."""

    name: str
    bank: SignBank
    table: LabelTable
    shots: int


def run_draw(
    setting: Setting,
    seed: int,
    backbone: Backbone,
    pixels: Tensor,
    folder: Path,
    systems: Sequence[str] = SYSTEMS,
) -> None:
    """Fit and judge all systems on one draw, unless that was done already.

    Args:
        setting: data, bank and shots.
        seed: of the draw and of the training.
        backbone: the frozen model.
        pixels: the table's preprocessed images, ``(n, 3, H, W)``.
        folder: where the draws are kept.
        systems: which systems.
    """
    path = folder / f"{setting.name}-{setting.shots}shot-{seed}.npz"
    if path.exists():
        return
    support = draw_support(setting.table, setting.shots, seed)
    drawn = setting.table.subset(support.indices)
    rows = np.flatnonzero(support.evaluation(setting.table))
    rest = setting.table.subset(rows.tolist())
    # Rows shift between draws: an image without a patient is known by its file.
    patients = rest.patients or tuple(str(f) for f in rest.files)
    episode = Episode(
        setting.bank, drawn.files, drawn.labels, pixels[rows], rest.labels, rest.normal,
        patients, seed,
    )  # fmt: skip
    stored: dict[str, np.ndarray] = {"patients": np.array(patients)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the collapse of the printed loss is in the tables' text
        for name, system in fit_systems(episode, backbone, systems):
            scored = judged(episode, score_prepared(system, episode.pixels))
            stored |= {f"{name}/{part}": getattr(scored, part) for part in PARTS}
    folder.mkdir(parents=True, exist_ok=True)
    work = path.with_suffix(".part.npz")
    np.savez_compressed(work, **stored)
    work.replace(path)
    print(f"{path.stem}: {len(support.indices)} support images, {len(rows)} judged", flush=True)


def read_draws(
    setting: Setting, seeds: Iterable[int], folder: Path, systems: Sequence[str] = SYSTEMS
) -> dict[str, list[ScoredImages]]:
    """What each system said, one entry a draw."""
    found: dict[str, list[ScoredImages]] = {name: [] for name in systems}
    for seed in seeds:
        with np.load(
            folder / f"{setting.name}-{setting.shots}shot-{seed}.npz", allow_pickle=False
        ) as stored:
            patients = tuple(stored["patients"].tolist())
            for name in systems:
                parts = {part: stored[f"{name}/{part}"] for part in PARTS}
                found[name].append(ScoredImages(**parts, patients=patients))
    return found


def trivial_draws(draws: Sequence[ScoredImages], name: str) -> list[ScoredImages]:
    """A trivial predictor on the same images."""
    made = []
    for one in draws:
        scores, decisions = trivial_predictor(name, one.labels, len(one.labels))
        flat = np.zeros(len(one.labels))
        made.append(ScoredImages(one.labels, scores, decisions, flat, one.normal, one.patients))
    return made


def cell(summary: DrawSummary) -> str:
    """Mean, deviation over the draws and interval, in percent."""
    if np.isnan(summary.mean):
        return "-"
    text = f"{100 * summary.mean:.1f}"
    if not np.isnan(summary.deviation):
        text += f" ± {100 * summary.deviation:.1f}"
    if not np.isnan(summary.low):
        text += f" [{100 * summary.low:.1f}, {100 * summary.high:.1f}]"
    return text


def summary(
    title: str, draws: Mapping[str, Sequence[ScoredImages]], caption: str, resamples: int = 500
) -> Table:
    """One row a system: mean ± deviation over the draws, interval over draws and patients."""
    first = next(iter(draws.values()))
    everything = {TRIVIAL[name]: trivial_draws(first, name) for name in TRIVIAL}
    everything |= {shown_name(name): list(scored) for name, scored in draws.items()}
    rows = []
    for name, scored in everything.items():
        found = summarise_draws(list(scored), resamples)
        rows.append((name, *(cell(found[metric]) for metric in METRICS)))
    return Table(title, ("System", *TITLES), tuple(rows), caption)


def differences(
    title: str, draws: Mapping[str, Sequence[ScoredImages]], system: str, resamples: int = 500
) -> Table:
    """Paired differences of one system against each other one."""
    rows = []
    for name, scored in draws.items():
        if name != system:
            found = paired_difference(list(draws[system]), list(scored), resamples)
            cells = [
                f"{100 * found[m].difference:+.1f} "
                f"[{100 * found[m].low:+.1f}, {100 * found[m].high:+.1f}]"
                for m in METRICS
            ]
            rows.append((f"minus {name}", *cells))
    return Table(title, (system, *TITLES), tuple(rows), "")


def category_means(
    draws: Mapping[str, Sequence[ScoredImages]], categories: Sequence[str]
) -> dict[str, list[float]]:
    """AUROC of each category, mean over the draws, by system."""
    return {
        name: [
            mean_of_defined(column)
            for column in zip(*(category_auroc(s.labels, s.scores) for s in scored), strict=True)
        ]
        for name, scored in draws.items()
        if len(categories) == scored[0].labels.shape[1]
    }


def category_table(
    title: str,
    draws: Mapping[str, Sequence[ScoredImages]],
    categories: Sequence[str],
    marked: Iterable[str] = (),
) -> Table:
    """One row a category: positives and AUROC by system; marked categories carry a star."""
    means = category_means(draws, categories)
    first = next(iter(draws.values()))[0]
    positives = (first.labels == 1).sum(axis=0)
    rows = [
        (
            name + (" *" if name in set(marked) else ""),
            str(int(positives[k])),
            *("-" if np.isnan(v[k]) else f"{100 * v[k]:.1f}" for v in means.values()),
        )
        for k, name in enumerate(categories)
    ]
    return Table(title, ("Category", "Positives (first draw)", *means), tuple(rows), "")


def shown_name(system: str) -> str:
    """A system's name in a table; the nano backbone has never read a category's name."""
    return f"{system} (names not seen in pretraining)" if system == NAMES else system


def plural(shots: int) -> str:
    """1 shot, 4 shots."""
    return f"{shots} shot{'s' * (shots > 1)}"
