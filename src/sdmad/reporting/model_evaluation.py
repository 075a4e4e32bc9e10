"""Judge a fitted model on a label table and write everything that a person wants to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sdmad.baselines.zero_shot import ZeroShotCLIP
from sdmad.data.images import ImageError, content_hash
from sdmad.data.table import LabelTable
from sdmad.detector.base import OnError
from sdmad.detector.calibration import OF_THE_TABLE, Prevalence
from sdmad.detector.config import parse_decision
from sdmad.detector.scores import ImageScores
from sdmad.detector.sdmad import UNSEEN
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.evaluation.answers import AnswerRates, answer_rates
from sdmad.evaluation.protocols import Evaluation, evaluate
from sdmad.evaluation.reliability import Reliability, reliability
from sdmad.output import write_csv, write_json, write_text
from sdmad.progress import track
from sdmad.reporting.beside import MODEL, Beside, compare_beside
from sdmad.reporting.image_pages import make_example, write_pages
from sdmad.reporting.report import (
    Example,
    HeatmapData,
    ReportData,
    RocData,
    SignRow,
    write_report,
)
from sdmad.reporting.tables import answers_table, protocol_tables, reliability_table
from sdmad.table import Table

HEATMAP_IMAGES = 200
EXAMPLES = 4


@dataclass(frozen=True)
class ModelEvaluation:
    """A model's scores on the images that may be used to judge it.

    Attributes:
        detector: the model.
        table: the rows that were judged.
        scores: one row each.
        before: cosines of the images with the signs in the backbone without adapters; None where
            nothing was trained.
        evaluation: the three protocols.
        notes: what was left out, and why.
        beside: simpler systems on the same images; None where none was asked for.
        reliability: how far probabilities hold; None where no prevalence was stated.
        answers: the error rate that was asked for and how answers came out, by what the images
            have in common; None where none was.
    """

    detector: SignDetector
    table: LabelTable
    scores: ImageScores
    before: NDArray[np.float64] | None
    evaluation: Evaluation
    notes: tuple[str, ...]
    beside: Beside | None = None
    reliability: Reliability | None = None
    answers: tuple[float, dict[str, AnswerRates]] | None = None

    def tables(self) -> tuple[Table, ...]:
        """The protocols, with the systems beside the model, what it is ahead of them, and more."""
        held: tuple[Table, ...] = (
            () if self.reliability is None else (reliability_table(self.reliability),)
        )
        held += () if self.answers is None else (answers_table(*self.answers),)
        if self.beside is None:
            return (*protocol_tables(self.evaluation), *held)
        systems = {MODEL: self.evaluation, **self.beside.evaluations}
        return (self.beside.table(), *protocol_tables(systems), *held)


def rows_to_evaluate(
    detector: SignDetector, table: LabelTable
) -> tuple[LabelTable, tuple[str, ...]]:
    """Leave out what the model has seen: support images, their patients, training splits.

    Normal images that set thresholds are left out too.

    Args:
        detector: knows content hashes of its images and salted hashes of its support patients.
        table: the whole table.

    Raises:
        InputError: if nothing is left.
    """
    _, evaluation, notes = table.pools()
    rows = np.flatnonzero(evaluation).tolist()
    ids = table.patients or ("",) * len(table)
    drawn = detector.support_patients_.contain([ids[row] for row in rows])
    others = [row for row, known in zip(rows, drawn, strict=True) if not known]
    seen = {*detector.support_hashes_, *detector.threshold_hashes_}
    hashed = track(others, "looking for support images")
    left = [row for row in hashed if _hash_or_none(table.files[row]) not in seen]
    if len(left) == 0:
        raise InputError(
            f"{table.path}: no image is left to judge on; all belong to the support set, to its "
            "patients or to a training split"
        )
    if len(left) < len(rows):
        told = (
            f"{len(rows) - len(others)} images of support patients and {len(others) - len(left)} "
            "more that equal a support or threshold image byte by byte were left out"
        )
        notes = (*notes, told)
    return table.subset(left), notes


def _hash_or_none(path: Path) -> str | None:
    try:
        return content_hash(path)
    except ImageError:
        return None  # reported when it is read for scoring


def evaluate_model(
    detector: SignDetector,
    table: LabelTable,
    on_error: OnError,
    resamples: int = 1000,
    baselines: bool = False,
    prevalence: Prevalence | None = None,
    error_rate: float | None = None,
) -> ModelEvaluation:
    """Score the rows that may be judged and compute the three protocols.

    Args:
        detector: the model.
        table: the whole label table.
        on_error: told of unreadable images, which are left out.
        resamples: of the bootstrap over patients.
        baselines: whether to judge simpler systems on the same images and shots.
        prevalence: stated, to judge probabilities too; :data:`OF_THE_TABLE` takes the judged
            images' own, which also set the thresholds of the rule ``likely``.
        error_rate: at which answers are judged too.

    Raises:
        InputError: if nothing is left to judge on, or the model gives no probabilities or no
            answers at this rate.
    """
    answer = None if error_rate is None else detector.answering(error_rate)
    if prevalence is not None:  # refused before any work
        detector.at_prevalence(0.5 if prevalence == OF_THE_TABLE else prevalence)
    rows, notes = rows_to_evaluate(detector, table)
    if prevalence == OF_THE_TABLE:
        prevalence = prevalence_of(rows)
        if parse_decision(detector.config_.decision)[0] == "likely":
            detector.decide_at(prevalence)
    skipped: list[int] = []

    def skip(position: int, error: ImageError) -> None:
        skipped.append(position)
        on_error(position, error)

    scores = detector.score_images(rows.files, skip, "scoring")
    readable = np.delete(np.arange(len(rows)), skipped)
    if len(readable) == 0:
        raise InputError(f"{table.path}: none of the {len(rows)} images could be read")
    if skipped:
        rows, scores = rows.subset(readable.tolist()), scores.rows(readable)
        notes = (*notes, f"{len(skipped)} images could not be read and were left out")
    before = None
    if detector.config_.epochs:
        bare = ZeroShotCLIP(detector.bank_, detector.backbone_)
        before = bare.score_images([rows.files[i] for i in shown_rows(rows)]).similarity
    evaluated = evaluate_scores(detector, rows, scores, before, notes, resamples)
    if prevalence is not None:
        evaluated = replace(evaluated, reliability=_held(evaluated, prevalence, resamples))
    if answer is not None and error_rate is not None:
        sides = _answered(answer(scores), rows, resamples)
        evaluated = replace(evaluated, answers=(error_rate, sides))
    if not baselines:
        return evaluated
    beside = compare_beside(detector, table, rows, scores, resamples)
    return replace(evaluated, beside=beside, notes=(*evaluated.notes, *beside.notes))


def _held(evaluated: ModelEvaluation, prevalence: Prevalence, resamples: int) -> Reliability:
    """Hold a model's probabilities to the labels."""
    detector, rows = evaluated.detector, evaluated.table
    likely = detector.at_prevalence(prevalence)(evaluated.scores)
    return reliability(likely, rows.labels, rows.patient_keys(), resamples)


def _answered(
    answers: NDArray[np.int8], rows: LabelTable, resamples: int
) -> dict[str, AnswerRates]:
    """How answers came out, of all categories together."""
    sides = {"images with the finding": True, "images without": False}
    keys = rows.patient_keys()
    return {
        name: answer_rates(answers, rows.labels, keys, present, resamples)
        for name, present in sides.items()
    }


def prevalence_of(rows: LabelTable) -> dict[str, float]:
    """Share of positives among the known labels of each category, never quite 0 or 1."""
    known, positive = (~np.isnan(rows.labels)).sum(axis=0), (rows.labels == 1).sum(axis=0)
    shares = (positive + 0.5) / (known + 1)
    return dict(zip(rows.categories, shares.tolist(), strict=True))


def evaluate_scores(
    detector: SignDetector,
    rows: LabelTable,
    scores: ImageScores,
    before: NDArray[np.float64] | None,
    notes: tuple[str, ...] = (),
    resamples: int = 1000,
) -> ModelEvaluation:
    """Compute the three protocols of a model that has judged its images.

    Args:
        detector: the model.
        rows: the images it judged.
        scores: what it said of them.
        before: cosines of :func:`shown_rows` with the signs in the backbone without adapters; None
            where nothing was trained.
        notes: what was left out, and why.
        resamples: of the bootstrap over patients.
    """
    evaluation = evaluate(
        rows.labels,
        scores.scores,
        scores.decisions,
        scores.abnormality,
        rows.normal,
        detector.categories,
        rows.patients,
        resamples,
    )
    strange = int(scores.unfamiliar.sum())
    if strange:
        share = f"{strange} of {len(scores)} judged images"
        notes = (*notes, f"{share} are unlike those that the model was fitted on")
    return ModelEvaluation(detector, rows, scores, before, evaluation, notes)


def shown_rows(table: LabelTable) -> NDArray[np.intp]:
    """Rows of the heat map: spread evenly over the groups, normal images not above a third."""
    groups = image_groups(table)
    names = sorted(set(groups))
    share = max(1, HEATMAP_IMAGES // max(1, len(names)))
    chosen = [
        index for name in names for index in [i for i, g in enumerate(groups) if g == name][:share]
    ]
    return np.array(sorted(chosen), dtype=np.intp)


def image_groups(table: LabelTable) -> list[str]:
    """One group an image for the heat map: its first category, normal, or other."""
    groups = []
    for labels, normal in zip(table.labels, table.normal, strict=True):
        present = np.flatnonzero(labels == 1)
        other = "normal" if normal else "other"
        groups.append(table.categories[present[0]] if len(present) else other)
    return groups


def sign_rows(detector: SignDetector) -> tuple[SignRow, ...]:
    """Each sign with its distances and whether it was kept."""
    margins = detector.margins()
    keep = detector.head_.keep.tolist()
    bank = detector.bank_
    return tuple(
        SignRow(
            bank.names[bank.category_index[s]],
            sentence,
            keep[s],
            float(margins.own[s]),
            float(margins.foreign[s]),
            float(margins.margin[s]),
            bank.sentences[margins.nearest_foreign[s]] if margins.nearest_foreign[s] >= 0 else "",
        )
        for s, sentence in enumerate(bank.sentences)
    )


def examples(evaluated: ModelEvaluation) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The images that the model ranked best and worst, with the signs that decided.

    An image's goodness is its lowest score of a present category less its highest of an absent
    one, in units of each category's spread over the judged images. Where no image has both (one
    category only), the side that an image lacks counts as 0, the mean over the images.
    """
    scores, labels = evaluated.scores.scores, evaluated.table.labels
    spread = scores.std(axis=0)
    standard = (scores - scores.mean(axis=0)) / np.where(spread > 0, spread, 1)
    present = np.where(labels == 1, standard, np.inf).min(axis=1)
    absent = np.where(labels == 0, standard, -np.inf).max(axis=1)
    both = np.isfinite(present) & np.isfinite(absent)
    if not both.any():
        both = np.isfinite(present) | np.isfinite(absent)
        present, absent = (np.where(np.isfinite(side), side, 0) for side in (present, absent))
    usable = np.flatnonzero(both)
    order = usable[np.argsort(absent[usable] - present[usable], kind="stable")]
    count = min(EXAMPLES, len(order) // 2)
    chosen = [int(r) for r in (*order[:count], *order[len(order) - count :][::-1])]
    detector, table = evaluated.detector, evaluated.table
    explained = detector.explanations(evaluated.scores.rows(np.array(chosen, dtype=int)))
    made = [
        make_example(detector, table.files[row], table.labels[row], one, number)
        for number, (row, one) in enumerate(zip(chosen, explained, strict=True), 1)
    ]
    return tuple(made[:count]), tuple(made[count:])


def _heatmap(evaluated: ModelEvaluation) -> HeatmapData:
    shown = shown_rows(evaluated.table)
    bank = evaluated.detector.bank_
    groups = image_groups(evaluated.table)
    return HeatmapData(
        evaluated.before,
        evaluated.scores.similarity[shown],
        [groups[i] for i in shown],
        bank.sentences,
        [bank.names[k] for k in bank.category_index],
        evaluated.detector.head_.keep.cpu().numpy(),
    )


def report_data(evaluated: ModelEvaluation, tables: Sequence[Table], title: str) -> ReportData:
    """Everything that the report shows."""
    detector = evaluated.detector
    settings = {name: str(value) for name, value in detector.config_.to_dict().items()}
    best, worst = examples(evaluated) if len(evaluated.table) > 1 else ((), ())
    return ReportData(
        title,
        f"{detector.bank_.modality}, {len(evaluated.table)} images, "
        f"{len(detector.categories)} categories",
        evaluated.evaluation,
        tuple(tables),
        {"backbone": detector.backbone_.name, "seed": str(detector.state_.seed), **settings},
        RocData(evaluated.table.labels, evaluated.scores.scores),
        evaluated.reliability,
        _heatmap(evaluated),
        sign_rows(detector),
        best,
        worst,
        tuple(epoch.loss for epoch in detector.log_),
        (*evaluated.notes, *detector.notes_),
        tuple(name for name in detector.categories if f"{name}: {UNSEEN}" in detector.notes_),
    )


def write_evaluation(
    evaluated: ModelEvaluation,
    folder: Path,
    tables: Sequence[Table] | None = None,
    title: str = "SD-MAD evaluation",
) -> None:
    """Write ``metrics.json``, ``scores.csv``, the tables and the report into a folder.

    The report is ``report.html``, and a page for each image that it shows in ``images``.

    Args:
        evaluated: what to write.
        folder: an existing folder.
        tables: other tables than the model's own, such as a comparison.
        title: heading of the report.

    Raises:
        SDMADError: if something cannot be written.
    """
    shown = tuple(tables or evaluated.tables())
    metrics = evaluated.evaluation.to_dict()
    if evaluated.beside is not None:
        metrics["baselines"] = evaluated.beside.to_dict()
    if evaluated.reliability is not None:
        metrics["probabilities"] = evaluated.reliability.to_dict()
    if evaluated.answers is not None:
        rate, sides = evaluated.answers
        told = {name: asdict(one) for name, one in sides.items()}
        metrics["answers"] = {"error_rate": rate, **told}
    metrics["notes"] = [*metrics["notes"], *evaluated.notes]
    write_json(folder / "metrics.json", metrics)
    write_text(folder / "tables.md", "\n".join(table.markdown() for table in shown))
    for number, table in enumerate(shown, 1):
        table.write_csv(folder / f"table{number}.csv")
    _write_scores(evaluated, folder / "scores.csv")
    with torch.no_grad():
        data = report_data(evaluated, shown, title)
        write_report(data, folder / "report.html")
    write_pages((*data.best, *data.worst), folder)


def _write_scores(evaluated: ModelEvaluation, path: Path) -> None:
    """Write a row an image; a file that lies beside the scores is named from there."""
    folder = path.parent
    names = evaluated.detector.categories
    header = ["file", "abnormality"]
    header += [f"{part}:{name}" for part in ("label", "score", "found") for name in names]
    table, scores = evaluated.table, evaluated.scores
    rows = [
        [
            str(file.relative_to(folder) if file.is_relative_to(folder) else file),
            float(scores.abnormality[i]),
            *("" if np.isnan(v) else int(v) for v in table.labels[i]),
            *(float(v) for v in scores.scores[i]),
            *(int(v) for v in scores.decisions[i]),
        ]
        for i, file in enumerate(table.files)
    ]
    write_csv(path, header, rows)
