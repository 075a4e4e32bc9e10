"""The demo: phantoms, all systems on the same shots, a report, a saved model, an explanation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sdmad.backbones import load_backbone
from sdmad.data.fewshot import draw_support, write_support
from sdmad.data.table import read_label_table
from sdmad.detector.sdmad import SDMAD
from sdmad.evaluation.protocols import evaluate_scored
from sdmad.output import output_directory
from sdmad.phantoms.cases import load_modality
from sdmad.phantoms.files import write_phantoms
from sdmad.reporting.model_evaluation import judge, write_judgement
from sdmad.reporting.tables import protocol_tables, summary_table
from sdmad.signs import SignBank
from sdmad.studies.experiment import (
    NAMES,
    RECOMMENDED,
    SYSTEMS,
    fit_systems,
    judged,
    score_systems,
    table_episode,
)
from sdmad.table import Table

IMAGES = 400
RESAMPLES = 500


@dataclass(frozen=True)
class Demo:
    """The demo's table and remarks."""

    table: Table
    notes: tuple[str, ...]


def run_demo(
    modality: str, folder: Path, shots: int, seed: int, force: bool, say: Callable[[str], None]
) -> Demo:
    """Run the demo and write everything into one directory.

    Args:
        modality: brain, chest or oct.
        folder: where to; written under a temporary name and renamed.
        shots: images a category.
        seed: of the phantoms, the draw and the training.
        force: replace what the folder holds.
        say: told what is being done.

    Raises:
        SDMADError: if a value is out of range or the folder cannot be written.
    """
    kind = load_modality(modality)
    bank, backbone = SignBank.load(modality), load_backbone("nano")
    with output_directory(folder, force) as work:
        say(f"drawing {IMAGES} phantoms of {kind.title} in the test style")
        table = read_label_table(write_phantoms(kind, work / "phantoms", IMAGES, seed), bank.names)
        support = draw_support(table, shots, seed)
        write_support(work / "model.support.json", support, table)
        episode = table_episode(bank, table, support, seed)
        systems = {}
        for name, system in fit_systems(episode, backbone, SYSTEMS):
            say(f"fitted: {name}")
            systems[name] = system
        evaluations = {
            f"{name} (names not seen in pretraining)" if name == NAMES else name: evaluate_scored(
                judged(episode, scores), bank.names, RESAMPLES
            )
            for name, scores in score_systems(systems, episode.test_images, "judging").items()
        }
        detector = systems[RECOMMENDED]
        assert isinstance(detector, SDMAD)
        detector.save(work / "model")
        summary = summary_table(evaluations, f"{kind.title}, {shots} shots a category")
        tables = (summary, *protocol_tables(evaluations))
        judgement = judge(detector, table, lambda _, error: say(str(error)), RESAMPLES)
        title = f"SD-MAD demo: {kind.title} phantoms, {shots} shots"
        write_judgement(judgement, work, tables, title)
    unseen = ", ".join(kind.unseen_categories())
    notes = [f"categories that rest on signs never seen in pretraining: {unseen}"] if unseen else []
    return Demo(summary, (*support.notes, *notes))
