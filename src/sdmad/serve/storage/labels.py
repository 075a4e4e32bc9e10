"""The label table that ``sdmad fit`` reads, by the readings."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from sdmad.output import csv_text
from sdmad.serve.storage import readings
from sdmad.serve.storage.tables import ImageRow


def label_table(session: Session, categories: Sequence[str], names: bool) -> str:
    """The labels of every image that has any, as CSV.

    Columns: ``file`` (absolute, so that the table may lie anywhere), ``patient``, ``split``, one a
    category and ``normal``: 1, 0 or nothing.

    Args:
        session: of the database.
        categories: names of the columns.
        names: whether patients are named as in the table that was read, or by numbers.
    """
    stand = readings.standing(session)
    patients: dict[str, str] = {}
    rows = []
    for image in session.scalars(select(ImageRow).where(ImageRow.listed).order_by(ImageRow.id)):
        mine = stand.get(image.id, [])
        labels, normal = readings.labels_of(image.given, image.normal, categories, mine)
        patient = image.patient
        if patient and not names:
            patient = patients.setdefault(patient, f"P{len(patients) + 1}")
        if any(value is not None for value in labels.values()):
            told = [_cell(labels[name]) for name in categories]
            rows.append([image.address, patient, image.split, *told, int(normal)])
    return csv_text(["file", "patient", "split", *categories, "normal"], rows)


def _cell(value: float | None) -> int | None:
    return None if value is None else int(value)
