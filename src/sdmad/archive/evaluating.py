"""``sdmad evaluate --scores``: an archive's scores beside labels, without its images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.archive.places import place_of
from sdmad.archive.predicting import model_hash
from sdmad.archive.scores import Scores, parquet, quoted
from sdmad.data.finding import FileFinder
from sdmad.data.labels import NORMAL_NAMES, canonical_name, marks_findings
from sdmad.data.table import absolute_path, parse_label_table
from sdmad.detector.checkpoint import verify
from sdmad.detector.manifest import read_json
from sdmad.detector.patients import PatientHashes
from sdmad.detector.stored import StoredSupport
from sdmad.errors import InputError
from sdmad.evaluation.checks import label_matrix
from sdmad.evaluation.columns import Column, evaluate_columns
from sdmad.evaluation.protocols import Evaluation, evaluate
from sdmad.output import write_json, write_text
from sdmad.reporting.report import ReportData, RocData, write_report
from sdmad.reporting.tables import protocol_tables
from sdmad.table import Table

YES = ("1", "1.0", "true", "yes")
"""What says in a column for normal that an image is normal, in lower case."""

NUMERIC = re.compile("BOOLEAN|U?(TINY|SMALL|BIG|HUGE)?INT|FLOAT|DOUBLE|DECIMAL")
"""DuckDB's types of columns that may hold labels."""

MOST_RESAMPLED = 200_000
"""Images above which intervals come without resampling, and no ROC curves are drawn."""


@dataclass(frozen=True)
class ScoresEvaluation:
    """Scores held to labels.

    Attributes:
        evaluation: the three protocols.
        notes: what was left out, and why.
        roc: labels and scores for the curves; None of very many images.
    """

    evaluation: Evaluation
    notes: tuple[str, ...]
    roc: RocData | None

    def tables(self) -> tuple[Table, ...]:
        """The protocols."""
        return protocol_tables(self.evaluation)


def evaluate_archive(
    scores: Scores, labels: Path, model: Path, resamples: int = 1000
) -> ScoresEvaluation:
    """Hold an archive's scores to labels.

    Images that the model learnt from, by their hashes, and all of their patients are left out, as
    is the training side of a split.

    Args:
        scores: opened.
        labels: a label table; as CSV or, of millions of rows, as Parquet with columns ``file``,
            ``patient``, ``normal`` and one of each category (1, 0 or empty).
        model: the directory that ``sdmad fit`` wrote.
        resamples: of the bootstrap over patients.

    Raises:
        InputError: if the labels name no scored image, or nothing is left to judge on.
        ModelError: if the model is incomplete or altered.
    """
    verify(model)
    support = StoredSupport.of(read_json(model / "support.json"))
    notes = [*scores.notes, *_label(scores, labels)]
    if scores.models != (model_hash(model),):
        notes.append("the scores are not this model's own; an export of it gives others, too")
    notes += _match(scores, labels)
    notes += _leave_out(scores, support)
    (images,) = scores.list("SELECT count(*) FROM judged")[0]
    if not images:
        raise InputError(f"{labels}: no image is left to judge on")
    if scores.errors:
        notes.append(f"{scores.errors} images could not be read when they were scored")
    if images > MOST_RESAMPLED:
        return ScoresEvaluation(_large(scores), tuple(notes), None)
    evaluation, roc = _small(scores, resamples)
    return ScoresEvaluation(evaluation, tuple(notes), roc)


def _label(scores: Scores, labels: Path) -> tuple[str, ...]:
    """Bring the labels into the database: file, patient, normal, and one column a category."""
    if labels.suffix.lower() == ".parquet":
        return _label_by_parquet(scores, labels)
    import pyarrow as pa

    finder = FileFinder(absolute_path(labels).parent)

    def locate(name: str) -> Path:
        return Path(name) if "://" in name else finder(name)

    table = parse_label_table(labels, scores.categories, locate)
    _, evaluated, notes = table.pools()
    table = table.subset(evaluated)
    patients = table.patients or ("",) * len(table)
    rows = pa.table(
        {
            "file": [str(place_of(file)) for file in table.files],
            "patient": list(patients),
            "normal": table.normal,
            **{f"label:{name}": table.labels[:, k] for k, name in enumerate(table.categories)},
        }
    )
    scores.database.register("given", rows)
    scores.database.execute("CREATE TABLE labels AS SELECT * FROM given")
    scores.database.unregister("given")
    return (*table.notes, *finder.notes, *notes)


def _label_by_parquet(scores: Scores, labels: Path) -> tuple[str, ...]:
    """As a CSV table with a column a category: the same images are normal, and a note says why."""
    source = parquet([str(labels)])
    described = scores.list(f"DESCRIBE SELECT * FROM {source}")  # noqa: S608
    kinds = {str(row[0]): str(row[1]) for row in described}
    lacking = [name for name in ("file", *scores.categories) if name not in kinds]
    if lacking:
        raise InputError(f"{labels}: no column {', '.join(lacking)}")
    patient = (
        f"coalesce({_name_of('patient', kinds['patient'])}, '')" if "patient" in kinds else "''"
    )
    columns = [_number(name) for name in scores.categories]
    ignored = _other_findings(scores, source, kinds)
    declared = next((name for name in kinds if canonical_name(name) in NORMAL_NAMES), None)
    if declared is not None:
        said = ", ".join(map(_text, YES))
        normal = f"lower(CAST({quoted(declared)} AS VARCHAR)) IN ({said})"
    else:
        normal = " AND ".join(f"{column} = 0" for column in columns)
        normal += "".join(f" AND coalesce({_number(name)}, 0) = 0" for name in ignored)
    chosen = [
        f"CASE WHEN healthy AND coalesce({column} <> 1, true) THEN 0 ELSE {column} END AS "
        f"{quoted(f'label:{name}')}"
        for column, name in zip(columns, scores.categories, strict=True)
    ]
    scores.database.execute(
        f"CREATE TABLE labels AS SELECT CAST(file AS VARCHAR) AS file, {patient} AS patient, "  # noqa: S608
        f"healthy AS normal, {', '.join(chosen)} "
        f"FROM (SELECT *, coalesce({normal}, false) AS healthy FROM {source})"
    )
    _check_labels(scores, labels)
    if not ignored:
        return ()
    return (
        f"columns of 1 and 0 that are no category were ignored: {', '.join(ignored)}; an image "
        "with a 1 in one of them counts as normal only where a column for normal says so",
    )


def _name_of(name: str, kind: str) -> str:
    """A column of names as SQL; whole numbers without the decimals that blanks gave the column."""
    if kind not in {"DOUBLE", "FLOAT"}:
        return f"CAST({quoted(name)} AS VARCHAR)"
    value = _number(name)
    return (
        f"CASE WHEN {value} = round({value}) AND abs({value}) < 1e15 "
        f"THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) ELSE CAST({value} AS VARCHAR) END"
    )


def _number(name: str) -> str:
    """A column of labels as SQL, NULL where it holds nothing."""
    return f"nullif(CAST({quoted(name)} AS DOUBLE), 'nan'::DOUBLE)"


def _other_findings(scores: Scores, source: str, kinds: Mapping[str, str]) -> list[str]:
    """Columns of labels that are no category, as :func:`sdmad.data.labels.marks_findings` says."""
    taken = {"file", "patient", "split", *scores.categories}
    others = [n for n in kinds if n not in taken and canonical_name(n) not in NORMAL_NAMES]
    found = []
    for name in (n for n in others if NUMERIC.match(kinds[n])):
        value = _number(name)
        counts = scores.list(
            f"SELECT count_if({value} = 0), count_if({value} = 1), count({value}), count(*) "  # noqa: S608
            f"FROM {source}"
        )[0]
        if marks_findings(*counts):
            found.append(name)
    return found


def _check_labels(scores: Scores, labels: Path) -> None:
    """Refuse what a CSV table would be refused for."""
    twice = "SELECT file FROM labels GROUP BY file HAVING count(*) > 1 ORDER BY file LIMIT 1"
    for (file,) in scores.list(twice):
        raise InputError(f"{labels}: {file} stands twice; keep one row")
    for name in scores.categories:
        column = quoted(f"label:{name}")
        for wrong, why in (
            (f"{column} NOT IN (0, 1)", "is no label; use 1, 0 or nothing for unknown"),
            (f"normal AND {column} = 1", "goes with normal; keep one of them"),
        ):
            rows = scores.list(f"SELECT file, {column} FROM labels WHERE {wrong} LIMIT 1")  # noqa: S608
            if rows:
                raise InputError(f"{labels}, {rows[0][0]}, column {name}: {rows[0][1]:g} {why}")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


NAME = "regexp_extract({}.file, '[^/]*$')"


def _match(scores: Scores, labels: Path) -> list[str]:
    """Join labels and scores by file, or by the files' names where the places differ.

    Says which labels have no score.
    """
    for key in ("{}.file", NAME):
        mine, theirs = key.format("labels"), key.format("scores")
        if key == NAME:
            _check_names(scores, labels)
        columns = ["scores.hash", "scores.abnormality", "labels.normal", "labels.patient"]
        columns += [
            f"{quoted(f'{kind}:{name}')}"
            for name in scores.categories
            for kind in ("score", "found", "label")
        ]
        scores.database.execute(
            f"CREATE OR REPLACE TABLE judged AS SELECT {', '.join(columns)} "  # noqa: S608
            f"FROM labels JOIN scores ON {mine} = {theirs}"
        )
        joined = scores.list("SELECT count(*) FROM judged")[0][0]
        if joined:
            return _unmatched(scores, labels, (mine, theirs), joined)
    raise InputError(f"{labels}: none of its files was scored")


def _unmatched(scores: Scores, labels: Path, keys: tuple[str, str], joined: int) -> list[str]:
    """Says how many labels have no score; refuses one that several images have."""
    met = f"{keys[0]} IN (SELECT {keys[1]} FROM scores)"  # noqa: S608
    all_of, scored = scores.list(f"SELECT count(*), count_if({met}) FROM labels")[0]  # noqa: S608
    if joined != scored:
        raise InputError(
            f"{labels}: {joined - scored} of its files stand for several images that were scored; "
            "give those that differ names of their own, and score again"
        )
    if scored == all_of:
        return []
    return [
        f"{all_of - scored} of {all_of} labelled images have no score (not scored, or not readable "
        "then), and are left out"
    ]


def _check_names(scores: Scores, labels: Path) -> None:
    """Refuse names that do not tell files apart."""
    for table in ("labels", "scores"):
        name = NAME.format(table)
        told = scores.list(f"SELECT count(*), count(DISTINCT {name}) FROM {table}")[0]  # noqa: S608
        if told[0] != told[1]:
            raise InputError(
                f"{labels}: its files lie elsewhere than those that were scored, and their names "
                f"do not tell them apart (in {table}); write the addresses of the column file"
            )


def _leave_out(scores: Scores, support: StoredSupport) -> list[str]:
    """Remove support images, all of their patients, and images that set thresholds."""
    count = "SELECT count(*) FROM judged"
    before = scores.list(count)[0][0]
    seen = [*support.images, *support.thresholds]
    drawn = _drawn(scores, support.patients)
    database = scores.database
    database.execute("DELETE FROM judged WHERE patient IN (SELECT unnest(?))", [drawn])
    left = scores.list(count)[0][0]
    database.execute("DELETE FROM judged WHERE hash IN (SELECT unnest(?))", [seen])
    more = left - scores.list(count)[0][0]
    if before == left and not more:
        return []
    return [
        f"{before - left} images of support patients and {more} more that equal a support or "
        "threshold image byte by byte were left out"
    ]


def _drawn(scores: Scores, hashes: PatientHashes) -> list[str]:
    told = [
        row[0] for row in scores.list("SELECT DISTINCT patient FROM judged WHERE patient <> ''")
    ]
    return [one for one, known in zip(told, hashes.contain(told), strict=True) if known]


def _small(scores: Scores, resamples: int) -> tuple[Evaluation, RocData]:
    names = scores.categories
    parts = [_column(scores, name) for name in names]
    labels = np.stack([one.labels for one in parts], axis=1)
    values = np.stack([one.scores for one in parts], axis=1)
    found = np.stack([one.found for one in parts], axis=1)
    patients = [row[0] for row in scores.list("SELECT patient FROM judged")]
    evaluation = evaluate(
        labels,
        values,
        found,
        scores.column("SELECT abnormality FROM judged"),
        scores.column("SELECT normal FROM judged").astype(np.bool_),
        names,
        patients,
        resamples,
    )
    return evaluation, RocData(label_matrix(labels), values)


def _column(scores: Scores, name: str) -> Column:
    def read(kind: str) -> Any:
        return scores.column(f"SELECT {quoted(f'{kind}:{name}')} FROM judged")  # noqa: S608

    return Column(read("label"), read("score"), read("found").astype(np.bool_))


def _large(scores: Scores) -> Evaluation:
    """By category, with patients as numbers; an unknown one is the image's own."""
    number = "CASE WHEN patient = '' THEN 'image ' || rowid ELSE 'patient ' || patient END"
    patient = scores.column(
        f"SELECT dense_rank() OVER (ORDER BY {number}) - 1 FROM judged ORDER BY rowid"  # noqa: S608
    )
    unknown = scores.column("SELECT patient = '' FROM judged ORDER BY rowid").astype(np.bool_)
    return evaluate_columns(
        scores.categories,
        lambda name: _column(scores, name),
        scores.column("SELECT abnormality FROM judged"),
        scores.column("SELECT normal FROM judged").astype(np.bool_),
        patient.astype(np.int64),
        unknown,
    )


def write_scores_evaluation(found: ScoresEvaluation, folder: Path, title: str) -> None:
    """Write ``metrics.json``, the tables and ``report.html`` into a folder.

    Raises:
        SDMADError: if something cannot be written.
    """
    tables = found.tables()
    told = replace(found.evaluation, notes=(*found.evaluation.notes, *found.notes))
    write_json(folder / "metrics.json", told.to_dict())
    write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
    for number, table in enumerate(tables, 1):
        table.write_csv(folder / f"table{number}.csv")
    images = found.evaluation.images
    data = ReportData(
        title,
        f"{images:,} images, {len(found.evaluation.categories)} categories",
        found.evaluation,
        tables,
        roc=found.roc,
        notes=found.notes,
    )
    write_report(data, folder / "report.html")
