"""One refit, in a process of its own: fit on new labels, judge both models, tell how far it is.

It ends with the process that started it, which holds the other end of its standard input.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.data.fewshot import draw_support
from sdmad.data.images import ImageError
from sdmad.data.table import LabelTable, read_label_table
from sdmad.detector.manifest import read_json
from sdmad.detector.scores import ImageScores
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError, SDMADError
from sdmad.evaluation.intervals import paired_difference
from sdmad.evaluation.labelled_scores import SUMMARY_METRICS, LabelledScores, labelled_scores
from sdmad.evaluation.protocols import evaluate_scored
from sdmad.output import write_json
from sdmad.reporting.model_evaluation import rows_to_evaluate

REQUEST, LABELS, MODEL = "request.json", "labels.csv", "model"
PROGRESS, OUTCOME = "progress.json", "outcome.json"
STEPS = (
    "reading the labels",
    "loading the model in use",
    "fitting",
    "judging the model in use",
    "judging the new model",
)
RESAMPLES = 1000
POLITE = 10
"""How far the process stands back behind those that readers wait for."""


def main(folder: str) -> None:
    """Carry out the refit that a folder asks for; its outcome is the last file that is written."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(POLITE)
    place = Path(folder)
    try:
        outcome = refit(place)
    except SDMADError as error:
        outcome = {"state": "failed", "message": str(error), "comparison": None}
    write_json(place / OUTCOME, outcome)


def refit(folder: Path) -> dict[str, Any]:
    """Fit with a model's own settings on a table, and hold both models to the same images.

    The shots are drawn as ``sdmad fit`` draws them: half of each finding's patients stay to judge
    on. Who either model has learnt from is left out there.

    Args:
        folder: holds the request and the labels; gets the new model.

    Returns:
        State, message and comparison.

    Raises:
        SDMADError: if the labels do not suffice, or anything else cannot be used.
    """
    from sdmad.backbones import load_backbone
    from sdmad.detector.sdmad import SDMAD

    asked = read_json(folder / REQUEST)
    _tell(folder, 0)
    # Read before the model is loaded, so that a mistake in it is told soon.
    categories = tuple(str(name) for name in asked["categories"])
    table = read_label_table(folder / LABELS, categories)
    support = draw_support(table, int(asked["shots"]), int(asked["seed"]))
    drawn = table.subset(support.indices)
    _tell(folder, 1)
    old = SignDetector.load(str(asked["model"]))
    if old.thresholds_ is not None:
        raise InputError(
            f"the model in use decides by {old.config_.decision}, whose thresholds come from "
            "normal images or a prevalence: fit with sdmad fit, and serve the new model beside it"
        )
    _tell(folder, 2)
    known = old.backbone_
    backbone = load_backbone(known.name, known.preprocessing.size, **known.overrides)
    new = SDMAD(
        old.bank_,
        backbone.with_preprocessing(known.preprocessing),
        old.config_,
        int(asked["seed"]),
    )
    new.fit(drawn.files, drawn.labels, normal=drawn.normal, patients=drawn.patients)
    new.save(folder / MODEL)
    learnt = f"learnt from {len(drawn)} images"
    notes = (*support.notes, *new.notes_)
    try:
        rows = _held_out(old, new, table)
    except InputError:
        told = (
            f"{learnt}; no labelled image is left that neither model has learnt from, so they "
            "cannot be compared: read more images first"
        )
        return {"state": "done", "message": "\n".join((told, *notes)), "comparison": None}
    comparison = compare(folder, old, new, rows)
    told = f"{learnt}, judged on {comparison['held_out']} others"
    return {"state": "done", "message": "\n".join((told, *notes)), "comparison": comparison}


def compare(folder: Path, old: SignDetector, new: SignDetector, rows: LabelTable) -> dict[str, Any]:
    """Two models on the same images.

    Args:
        folder: where the steps are told.
        old: the model in use.
        new: the model beside it.
        rows: images that neither has learnt from.

    Returns:
        ``held_out``, the images that both could read, and ``rows``: of each metric the old value,
        the new one and the difference new less old with its 95% interval, paired over patients;
        None where there is none.
    """
    skipped: set[int] = set()

    def skip(position: int, _: ImageError) -> None:
        skipped.add(position)

    _tell(folder, 3)
    before = old.score_images(rows.files, skip)
    _tell(folder, 4)
    after = new.score_images(rows.files, skip)
    readable = np.array([i for i in range(len(rows)) if i not in skipped], dtype=np.int64)
    if len(readable) == 0:
        raise InputError("none of the images to judge on can be read")
    rows = rows.subset(readable.tolist())
    pair = [_labelled(rows, scored.rows(readable)) for scored in (before, after)]
    values = [evaluate_scored(one, rows.categories, 0) for one in pair]
    gaps = paired_difference(pair[1], pair[0], RESAMPLES)
    told = [
        {
            "metric": name,
            "old": getattr(values[0], name),
            "new": getattr(values[1], name),
            "difference": gaps[name].difference,
            "low": gaps[name].low,
            "high": gaps[name].high,
        }
        for name in SUMMARY_METRICS
    ]
    return {"held_out": len(rows), "rows": told}


def _held_out(old: SignDetector, new: SignDetector, table: LabelTable) -> LabelTable:
    """The rows that neither model has learnt from."""
    rows, _ = rows_to_evaluate(new, table)
    rows, _ = rows_to_evaluate(old, rows)
    return rows


def _labelled(rows: LabelTable, scores: ImageScores) -> LabelledScores:
    return labelled_scores(
        rows.labels,
        scores.scores,
        scores.decisions,
        scores.abnormality,
        rows.normal,
        rows.patients,
    )


def _tell(folder: Path, step: int) -> None:
    write_json(folder / PROGRESS, {"step": step})


def _end_with_parent() -> None:
    """Wait for the other end of the standard input to close, and end at once."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def program(folder: Path) -> Sequence[str]:
    """The command line of a refit's process."""
    name = main.__module__
    call = f"import sys; from {name} import main; main(sys.argv[1])"
    return (sys.executable, "-P", "-c", call, str(folder))
