"""Making all checks of one data set."""

from __future__ import annotations

from sdmad.data.integrity.counts import check_counts
from sdmad.data.integrity.fastmri import check_fastmri
from sdmad.data.integrity.files import check_masks, check_missing, check_unlisted, check_unreadable
from sdmad.data.integrity.leaks import SPLIT, check_identical, check_patients
from sdmad.data.integrity.problems import Problem, Report, Verdict, passed
from sdmad.data.integrity.scan import scan
from sdmad.data.integrity.shortcuts import check_shortcuts
from sdmad.data.sets import ChestXray8, DataSet, FastMRIPlus
from sdmad.errors import InputError

TABLES = "tables"


def check_data_set(data: DataSet) -> Report:
    """Say whether a data set is whole and right, from tables and headers alone.

    Args:
        data: the data set.

    Returns:
        The report. Where the tables themselves cannot be read it holds that finding only.

    Raises:
        InputError: if the package for a format is not installed.
    """
    try:
        table = data.table
        boxes = _boxes(data)
    except InputError as error:
        finding = Problem(TABLES, Verdict.FAIL, str(error), (), "see the message", 1)
        return Report(data.name, data.root, 0, (finding,))
    counted, counts = check_counts(data)
    seen = scan(data)
    patients = check_patients(seen)
    findings: list[Problem | None] = [
        passed(TABLES, f"{len(table)} images in {table.path.name}{boxes}"),
        counted,
        check_missing(seen),
        check_unlisted(seen),
        check_unreadable(seen),
        check_masks(seen),
        patients,
    ]
    if patients.check != SPLIT:
        findings += check_identical(seen)
    findings.append(check_shortcuts(seen))
    if isinstance(data, FastMRIPlus):
        findings += check_fastmri(seen, data)
    return Report(
        data.name,
        data.root,
        len(table),
        tuple(finding for finding in findings if finding is not None),
        counts,
        table.notes,
    )


def _boxes(data: DataSet) -> str:
    """Read the list of boxes where the data set has one."""
    if isinstance(data, ChestXray8) and data.has_masks:
        return f", boxes on {len(data.boxes)} of them"
    return ""
