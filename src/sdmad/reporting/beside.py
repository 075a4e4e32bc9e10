"""What simpler systems on the same images and shots would have done: a person's own baseline.

Zero-shot signs need nothing; a linear probe is fitted on the model's own support images, which are
found in the table by their content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.baselines.linear_probe import LinearProbeDetector
from sdmad.baselines.zero_shot import ZeroShotCLIP
from sdmad.data.images import ImageError, content_hash
from sdmad.data.table import LabelTable
from sdmad.detector.base import Detector
from sdmad.detector.scores import ImageScores
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.evaluation.intervals import PairedDifference, paired_difference
from sdmad.evaluation.labelled_scores import LabelledScores, labelled_scores
from sdmad.evaluation.protocols import Evaluation, evaluate_scored
from sdmad.reporting.draw_tables import difference_cell, gap_table
from sdmad.table import Table

ZERO_SHOT, PROBE, MODEL = "zero-shot signs", "linear probe", "this model"


@dataclass(frozen=True)
class Beside:
    """Simpler systems on the images that a model was judged on.

    Attributes:
        evaluations: of each, by its name.
        differences: the model's metrics less each one's, with intervals, by its name.
        notes: what could not be done, and what the differences say.
    """

    evaluations: dict[str, Evaluation]
    differences: dict[str, dict[str, PairedDifference]]
    notes: tuple[str, ...]

    def table(self) -> Table:
        """One row a system: how much better the model is, in points."""
        title = "Did it pay? Simpler systems on the same images and shots"
        return gap_table(title, "This model less", self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            name: {
                **self.evaluations[name].to_dict(),
                "model_less_this": {
                    metric: [gap.difference, gap.low, gap.high] for metric, gap in found.items()
                },
            }
            for name, found in self.differences.items()
        }


def compare_beside(
    detector: SignDetector,
    table: LabelTable,
    rows: LabelTable,
    scores: ImageScores,
    resamples: int,
) -> Beside:
    """Judge simpler systems on the images that a model was judged on.

    Args:
        detector: the model.
        table: the whole table, in which its support images are looked for.
        rows: the judged images, all of them readable.
        scores: what the model said of them.
        resamples: of the bootstrap over patients.
    """
    backbone, bank = detector.backbone_, detector.bank_
    systems: dict[str, Detector] = {ZERO_SHOT: ZeroShotCLIP(bank, backbone)}
    support = support_rows(detector, table, set(rows.files))
    missing = len(detector.support_hashes_) - len(support)
    notes: list[str] = []
    if missing:
        notes.append(
            f"no linear probe beside the model: {missing} of its "
            f"{len(detector.support_hashes_)} support images are not in {table.path.name}"
        )
    else:
        drawn = table.subset(support)
        try:
            probe = LinearProbeDetector(bank.names, backbone).fit(drawn.files, drawn.labels)
            systems[PROBE] = probe
        except InputError as error:
            notes.append(f"no linear probe beside the model: {error}")
    mine, evaluations, differences = _labelled(rows, scores), {}, {}
    for name, system in systems.items():
        theirs = _labelled(rows, system.score_images(rows.files, progress=f"judging: {name}"))
        evaluations[name] = evaluate_scored(theirs, bank.names, resamples)
        differences[name] = paired_difference(mine, theirs, resamples)
        notes.append(_verdict(name, differences[name]["mean_auroc"]))
    return Beside(evaluations, differences, tuple(notes))


def support_rows(detector: SignDetector, table: LabelTable, judged: set[Path]) -> list[int]:
    """Where a model's support images stand in a table, by their content.

    Args:
        detector: knows their hashes, and salted hashes of its patients.
        table: what to look through; the patients of the support first.
        judged: files that are known to be others.
    """
    ids = table.patients or ("",) * len(table)
    known = detector.support_patients_.contain(ids)
    order = sorted(range(len(table)), key=lambda row: not known[row])
    wanted, found = set(detector.support_hashes_), []
    for row in order:
        if not wanted:
            break
        if table.files[row] in judged:
            continue
        try:
            content = content_hash(table.files[row])
        except ImageError:
            continue
        if content in wanted:
            wanted.remove(content)
            found.append(row)
    return sorted(found)


def _labelled(rows: LabelTable, scores: ImageScores) -> LabelledScores:
    return labelled_scores(
        rows.labels,
        scores.scores,
        scores.decisions,
        scores.abnormality,
        rows.normal,
        rows.patients,
    )


def _verdict(name: str, gap: PairedDifference) -> str:
    """One sentence on the mean AUROC."""
    if np.isnan(gap.difference):
        return f"beside {name}: no category has an AUROC"
    told = f"{abs(100 * gap.difference):.1f} points of mean AUROC"
    within = f"[{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
    if np.isnan(gap.low) or gap.low <= 0 <= gap.high:
        return f"this model cannot be told from {name} by mean AUROC: {difference_cell(gap)} points"
    side = "ahead of" if gap.difference > 0 else "BEHIND"
    return f"this model is {side} {name} by {told} {within}"
