"""The audit log: who did what, when and from where. No name of a patient stands in it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from sdmad.serve.storage.tables import EventRow, now


def log(session: Session, who: str, what: str, about: object = "", client: str = "") -> None:
    """Add a line.

    Args:
        session: that writes.
        who: the reader's name; "" before a sign-in.
        what: such as "reading".
        about: such as the number of an image.
        client: address that the request came from.
    """
    row = EventRow(at=now(), who=who[:64], what=what[:64], about=str(about)[:255], client=client)
    session.add(row)


def latest(session: Session, most: int) -> list[EventRow]:
    """The last lines, the newest first."""
    return list(session.scalars(select(EventRow).order_by(EventRow.id.desc()).limit(most)))
