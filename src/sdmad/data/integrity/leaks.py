"""Patients on both sides of a split, and images that are there twice."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from sdmad.data.images import content_hash
from sdmad.data.integrity.problems import Problem, Verdict, listed, passed, placer, together
from sdmad.data.integrity.scan import Scan
from sdmad.data.table import LabelTable
from sdmad.errors import InputError
from sdmad.progress import track

PATIENTS, IDENTICAL, SPLIT = "patients across splits", "identical images", "split"
MIXED = ("oct17", "bmad-", "mvfa-")
"""Published archives whose split their reader cannot mend: patients and copies on both sides are a
warning there. Of OCT-17 it is known that patients are in train and test
(tvst.arvojournals.org/article.aspx?articleid=2778252, which removes 3,663 images for it)."""


def check_patients(scan: Scan) -> Problem:
    """Patients with images on both sides of the split; told by rows, never by their ids."""
    table = scan.data.table
    try:
        pool, evaluation, notes = table.pools()
    except InputError as error:
        return Problem(SPLIT, Verdict.FAIL, str(error), (), "correct the split column", 1)
    if not (pool & ~evaluation).any():
        what = notes[0] if notes else "the data set has no split"
        return passed(PATIENTS, f"{what}; draws keep a patient's images together")
    if table.patients is None or not any(table.patients):
        what = "no patient ids, so it cannot be checked whether one patient is on both sides"
        mend = "add a column patient" if table.path.is_file() else ""
        return Problem(PATIENTS, Verdict.WARN, what, (), mend)
    sides: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for row, patient in enumerate(table.patients):
        if patient:
            sides[patient][int(evaluation[row])].append(row)
    both = [rows for rows in sides.values() if rows[0] and rows[1]]
    if not both:
        return passed(PATIENTS, f"each of {len(sides)} patients is on one side")
    place = placer(table)
    images = sum(len(rows[1]) for rows in both)
    what = (
        f"{len(both)} of {len(sides)} patients are on both sides of the split "
        f"({images} of {int(evaluation.sum())} test images)"
    )
    where = listed(together([place(rows[0][0]), place(rows[1][0])]) for rows in both)
    mend = (
        "split by patient; sdmad leaves a drawn patient out of the evaluation, "
        "other training sees its test patients"
    )
    return Problem(PATIENTS, _verdict(scan), what, where, mend, len(both))


def check_identical(scan: Scan) -> tuple[Problem, ...]:
    """Byte-identical files: with different labels, across the split, or merely twice.

    Only files of one length and one fingerprint of their ends are read whole.
    """
    table = scan.data.table
    kinds: dict[str, list[list[int]]] = {"labels": [], "split": [], "twice": []}
    for group in _groups(scan):
        kinds[_kind(table, group)].append(group)
    if not any(kinds.values()):
        return (passed(IDENTICAL, "no file is there twice"),)
    place = placer(table)
    verdicts = {"labels": Verdict.FAIL, "split": _verdict(scan), "twice": Verdict.WARN}
    words = {
        "labels": ("carry different labels", "find out which label is right and keep that row"),
        "split": ("stand on both sides of the split", "keep the copy on one side"),
        "twice": ("are there more than once", "keep one; copies count twice in every figure"),
    }
    return tuple(
        Problem(
            IDENTICAL,
            verdicts[kind],
            f"{len(groups)} byte-identical images {words[kind][0]}",
            listed(together([place(row) for row in group]) for group in groups),
            words[kind][1],
            len(groups),
        )
        for kind, groups in kinds.items()
        if groups
    )


def _groups(scan: Scan) -> list[list[int]]:
    """Rows whose files hold the same bytes, at least two files a group."""
    alike: dict[tuple[int, bytes], list[Path]] = defaultdict(list)
    for file, look in scan.inspections.items():
        if look.header is not None:
            alike[(look.size, look.ends)].append(file)
    suspects = [file for files in alike.values() if len(files) > 1 for file in files]
    same: dict[str, list[Path]] = defaultdict(list)
    for file in track(suspects, f"comparing {len(suspects)} files of equal length"):
        same[content_hash(file)].append(file)
    rows: dict[Path, list[int]] = defaultdict(list)
    copies = {file for files in same.values() if len(files) > 1 for file in files}
    for row, file in enumerate(scan.files):
        if file in copies:
            rows[file].append(row)
    return [
        sorted(row for file in files for row in rows[file])
        for files in same.values()
        if len(files) > 1
    ]


def _kind(table: LabelTable, group: list[int]) -> str:
    labels = table.labels[group]
    known = ~np.isnan(labels).any(axis=0)
    contradicts = (labels[:, known] != labels[:1, known]).any()
    if contradicts or len(set(table.normal[group].tolist())) > 1:
        return "labels"
    pool, evaluation, _ = table.pools()
    crossing = (pool & ~evaluation)[group].any() and (evaluation & ~pool)[group].any()
    return "split" if crossing else "twice"


def _verdict(scan: Scan) -> Verdict:
    return Verdict.WARN if scan.data.name.startswith(MIXED) else Verdict.FAIL
