"""What models say of the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, insert, select, update
from sqlalchemy.orm import Session

from sdmad.serve.storage.tables import FindingRow, ScoreRow, now


@dataclass(frozen=True)
class Finding:
    """What a model says of one category; see `sdmad.serve.storage.tables.FindingRow`."""

    category: str
    score: float
    probability: float | None
    threshold: float | None
    decision: bool
    rule: str
    sign: dict[str, Any] | None
    answer: str | None


@dataclass(frozen=True)
class Judged:
    """What a model says of an image; see `sdmad.serve.storage.tables.ScoreRow`."""

    image_id: int
    abnormal: float | None = None
    unsure: float | None = None
    unfamiliar: bool | None = None
    error: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def top(self) -> str | None:
        """The most telling category: a found one before all others, then by its score."""
        order = sorted(self.findings, key=lambda one: (one.decision, one.score))
        return order[-1].category if order else None


def keep(session: Session, model: str, judged: Sequence[Judged]) -> None:
    """Put what a model says in the place of what it said before.

    Args:
        session: that writes.
        model: the model's id.
        judged: images that wait for its score, or have one (`sdmad.serve.storage.images.expect`).
    """
    numbers = [one.image_id for one in judged]
    session.execute(
        delete(FindingRow).where(FindingRow.model == model, FindingRow.image_id.in_(numbers))
    )
    for one in judged:
        session.execute(
            update(ScoreRow)
            .where(ScoreRow.image_id == one.image_id, ScoreRow.model == model)
            .values(
                abnormal=one.abnormal,
                unsure=one.unsure,
                unfamiliar=one.unfamiliar,
                error=one.error,
                top=one.top,
                at=now(),
            )
        )
    rows = [
        {"image_id": one.image_id, "model": model, **vars(finding)}
        for one in judged
        for finding in one.findings
    ]
    if rows:
        session.execute(insert(FindingRow), rows)


def of_images(
    session: Session, model: str, image_ids: Iterable[int]
) -> dict[int, list[FindingRow]]:
    """What a model says of some images, those with the largest scores first."""
    found: dict[int, list[FindingRow]] = {}
    query = select(FindingRow).where(
        FindingRow.model == model, FindingRow.image_id.in_(list(image_ids))
    )
    for row in session.scalars(query.order_by(FindingRow.score.desc(), FindingRow.category)):
        found.setdefault(row.image_id, []).append(row)
    return found


def tops(session: Session, model: str, image_ids: Iterable[int]) -> dict[int, FindingRow]:
    """The most telling finding of each of some images that have one."""
    of_image = and_(ScoreRow.image_id == FindingRow.image_id, ScoreRow.model == FindingRow.model)
    query = (
        select(FindingRow)
        .join(ScoreRow, and_(of_image, ScoreRow.top == FindingRow.category))
        .where(FindingRow.model == model, FindingRow.image_id.in_(list(image_ids)))
    )
    return {row.image_id: row for row in session.scalars(query)}
