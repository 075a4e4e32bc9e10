"""What readers say of the images: rows that are only ever added, undone by a row of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from sdmad.errors import InputError
from sdmad.serve.storage.images import State, touch
from sdmad.serve.storage.tables import ReadingRow, UndoRow, now

Verdict = Literal["accept", "reject", "add", "unsure", "normal"]
PRESENT: dict[str, float | None] = {"accept": 1.0, "add": 1.0, "reject": 0.0, "unsure": None}
"""What a verdict on a category says of it: there, not there, or unknown."""


class UndoneError(InputError):
    """A reading that was undone already."""


def add(
    session: Session, image_id: int, category: str | None, verdict: Verdict, note: str, reader: str
) -> ReadingRow:
    """Add a reading, and settle the image's state."""
    row = ReadingRow(
        image_id=image_id, category=category, verdict=verdict, note=note, reader=reader, at=now()
    )
    session.add(row)
    session.flush()
    _settle(session, image_id)
    return row


def undo(session: Session, row: ReadingRow, reader: str) -> None:
    """Take a reading back.

    Raises:
        UndoneError: if it was before.
    """
    if session.get(UndoRow, row.id) is not None:
        raise UndoneError(f"reading {row.id} was undone already")
    session.add(UndoRow(reading_id=row.id, reader=reader, at=now()))
    session.flush()
    _settle(session, row.image_id)


def of_image(session: Session, image_id: int) -> list[tuple[ReadingRow, bool]]:
    """All readings of an image in the order of time, and whether each was undone."""
    query = (
        select(ReadingRow, UndoRow.reading_id)
        .outerjoin(UndoRow, UndoRow.reading_id == ReadingRow.id)
        .where(ReadingRow.image_id == image_id)
        .order_by(ReadingRow.id)
    )
    return [(row, undone is not None) for row, undone in session.execute(query)]


def standing(session: Session) -> dict[int, list[ReadingRow]]:
    """The readings that were not undone, by image, in the order of time."""
    query = (
        select(ReadingRow)
        .outerjoin(UndoRow, UndoRow.reading_id == ReadingRow.id)
        .where(UndoRow.reading_id.is_(None))
        .order_by(ReadingRow.id)
    )
    found: dict[int, list[ReadingRow]] = {}
    for row in session.scalars(query):
        found.setdefault(row.image_id, []).append(row)
    return found


def state_of(stand: Iterable[ReadingRow]) -> State:
    """The state of an image by its standing readings: what was said last counts."""
    last: dict[str | None, str] = {}
    for row in stand:
        if row.category is None:  # of the whole image
            last.clear()
        last[row.category] = row.verdict
    if "unsure" in last.values():
        return "unsure"
    return "read" if last else "new"


def labels_of(
    given: dict[str, float | None],
    normal: bool,
    categories: Sequence[str],
    stand: Sequence[ReadingRow],
) -> tuple[dict[str, float | None], bool]:
    """Labels of an image: those of the table, changed by the readings in the order of time.

    Args:
        given: labels of the table.
        normal: whether the table declares it normal.
        categories: that are wanted.
        stand: the standing readings.

    Returns:
        1 for present, 0 for absent, None for unknown, by category; and whether it is normal.
    """
    labels = {name: given.get(name) for name in categories}
    for row in stand:
        if row.category is None:
            value = 0.0 if row.verdict == "normal" else None
            labels, normal = dict.fromkeys(categories, value), row.verdict == "normal"
        elif row.category in labels:
            value = PRESENT[row.verdict]
            labels[row.category] = value
            normal = normal and value == 0.0
    return labels, normal


def _settle(session: Session, image_id: int) -> None:
    rows = of_image(session, image_id)
    touch(session, image_id, state_of(row for row, undone in rows if not undone))
