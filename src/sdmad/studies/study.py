"""Run systems on many draws, keep what each said on disk, and summarise it.

Each draw is one file, written when it is done, and the images of a large draw are scored in pieces
that are kept as they come: an interrupted study goes on where it was.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from sdmad.data.fewshot import draw_support
from sdmad.data.table import LabelTable
from sdmad.detector.base import Detector
from sdmad.detector.scores import ImageScores
from sdmad.evaluation.intervals import DrawSummary, paired_difference, summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.evaluation.metrics import category_auroc, mean_of_defined
from sdmad.evaluation.trivial import trivial_predictor
from sdmad.output import write_arrays
from sdmad.signs import SignBank
from sdmad.studies.experiment import NAMES, Episode, judged, score_systems, table_episode
from sdmad.table import MISSING, Table

METRICS = ("mean_auroc", "image_auroc", "hamming_score", "subset_accuracy", "macro_f1")
TITLES = ("Mean AUROC", "Image AUROC", "Hamming", "Subset", "Macro F1")
TRIVIAL = {"none": "predict nothing", "all": "predict everything", "prevalence": "prevalence"}
PARTS = ("labels", "scores", "decisions", "abnormality", "normal")
PIECE = 1024

Fit = Callable[[Episode], Iterable[tuple[str, Detector]]]
"""Fits systems, one after the other, on an episode."""


@dataclass(frozen=True)
class Setting:
    """One row of a study's plan: a named data set, its bank, and the number of shots."""

    name: str
    bank: SignBank
    table: LabelTable
    shots: int

    def draw_file(self, folder: Path, seed: int) -> Path:
        """Where a draw is kept."""
        return folder / f"{self.name}-{self.shots}shot-{seed}.npz"


def run_draw(
    setting: Setting, seed: int, fit: Fit, folder: Path, progress: bool = False
) -> tuple[str, ...]:
    """Fit and judge systems on one draw, unless that was done already.

    Args:
        setting: data, bank and shots.
        seed: of the draw and of the training.
        fit: which systems.
        folder: where the draws are kept.
        progress: whether to show a progress bar while scoring.

    Returns:
        Notes on the draw, such as a category that ran short.

    Raises:
        SDMADError: if an image cannot be read or a category cannot be filled.
    """
    path = setting.draw_file(folder, seed)
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            return tuple(kept["notes"].tolist())
    support = draw_support(setting.table, setting.shots, seed)
    episode = table_episode(setting.bank, setting.table, support, seed)
    title = f"{path.stem}: scoring" if progress else None
    scores = _score_in_pieces(episode, fit, path.with_suffix(".pieces"), title)
    stored = {
        "patients": np.array(episode.patients),
        "notes": np.array(support.notes, dtype=np.str_),
        "systems": np.array(list(scores), dtype=np.str_),
    }
    for name, found in scores.items():
        scored = judged(episode, found)
        stored |= {f"{name}/{part}": getattr(scored, part) for part in PARTS}
    write_arrays(path, stored)
    shutil.rmtree(path.with_suffix(".pieces"), ignore_errors=True)
    return support.notes


def _score_in_pieces(
    episode: Episode, fit: Fit, folder: Path, progress: str | None
) -> dict[str, ImageScores]:
    """Scores of every system; pieces that lie in the folder already are not computed again."""
    systems: dict[str, Detector] | None = None
    pieces = []
    for start in range(0, len(episode.test_images), PIECE):
        path = folder / f"{start:09d}.npz"
        if not path.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the printed loss's collapse the pages tell
                systems = systems or dict(fit(episode))
            images = episode.test_images[start : start + PIECE]
            write_arrays(path, _flat(score_systems(systems, images, progress)))
        with np.load(path, allow_pickle=False) as kept:
            pieces.append({name: kept[name] for name in kept.files})
    names = dict.fromkeys(key.rpartition("/")[0] for key in pieces[0])
    return {name: ImageScores.join([_unflat(piece, name) for piece in pieces]) for name in names}


def _flat(scores: Mapping[str, ImageScores]) -> dict[str, np.ndarray]:
    return {
        f"{name}/{field.name}": getattr(found, field.name)
        for name, found in scores.items()
        for field in fields(ImageScores)
    }


def _unflat(piece: Mapping[str, np.ndarray], name: str) -> ImageScores:
    return ImageScores(**{f.name: piece[f"{name}/{f.name}"] for f in fields(ImageScores)})


def read_draws(
    setting: Setting, seeds: Iterable[int], folder: Path, systems: Sequence[str] | None = None
) -> dict[str, list[LabelledScores]]:
    """What each system said, one entry a draw.

    Args:
        setting: as it was run.
        seeds: which draws.
        folder: where the draws are kept.
        systems: names; all that were run when not given.
    """
    found: dict[str, list[LabelledScores]] = {}
    for seed in seeds:
        with np.load(setting.draw_file(folder, seed), allow_pickle=False) as stored:
            patients = tuple(stored["patients"].tolist())
            for name in systems or stored["systems"].tolist():
                parts = {part: stored[f"{name}/{part}"] for part in PARTS}
                found.setdefault(name, []).append(LabelledScores(**parts, patients=patients))
    return found


def trivial_draws(draws: Sequence[LabelledScores], name: str) -> list[LabelledScores]:
    """A trivial predictor on the same images."""
    made = []
    for one in draws:
        scores, decisions = trivial_predictor(name, one.labels, len(one.labels))
        flat = np.zeros(len(one.labels))
        made.append(LabelledScores(one.labels, scores, decisions, flat, one.normal, one.patients))
    return made


def cell(summary: DrawSummary) -> str:
    """Mean, deviation over the draws and interval, in percent."""
    if np.isnan(summary.mean):
        return MISSING
    text = f"{100 * summary.mean:.1f}"
    if not np.isnan(summary.deviation):
        text += f" ± {100 * summary.deviation:.1f}"
    if not np.isnan(summary.low):
        text += f" [{100 * summary.low:.1f}, {100 * summary.high:.1f}]"
    return text


def summary(
    title: str, draws: Mapping[str, Sequence[LabelledScores]], caption: str, resamples: int = 500
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
    title: str, draws: Mapping[str, Sequence[LabelledScores]], system: str, resamples: int = 500
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
    draws: Mapping[str, Sequence[LabelledScores]], categories: Sequence[str]
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
    draws: Mapping[str, Sequence[LabelledScores]],
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
            *(MISSING if np.isnan(v[k]) else f"{100 * v[k]:.1f}" for v in means.values()),
        )
        for k, name in enumerate(categories)
    ]
    return Table(title, ("Category", "Positives (first draw)", *means), tuple(rows), "")


def shown_name(system: str) -> str:
    """A system's name in a table; the nano backbone has never read a category's name."""
    return f"{system} (names not seen in pretraining)" if system == NAMES else system


def counted(number: int, what: str = "shot") -> str:
    """1 shot, 4 shots."""
    return f"{number} {what}{'s' * (number > 1)}"
