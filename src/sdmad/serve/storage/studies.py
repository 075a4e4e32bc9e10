"""Reader studies: what is asked, and answers that are only ever added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from sdmad.errors import InputError
from sdmad.serve.reader_study import LEAST, Answer, Showing, Truth, showings
from sdmad.serve.storage.tables import ImageRow, ScoreRow, StudyAnswerRow, StudyRow, now


class UnknownStudyError(InputError):
    """A study's number that there is not."""


class OutOfTurnError(InputError):
    """An answer to another image than the one that comes next."""


@dataclass(frozen=True)
class Plan:
    """A study that is asked for.

    Attributes:
        name: of the study.
        images: how many.
        seed: of the draw and of the orders.
        categories: what readers are asked for.
        reader: who makes it.
    """

    name: str
    images: int
    seed: int
    categories: Sequence[str]
    reader: str


def start(session: Session, plan: Plan, model: str) -> StudyRow:
    """Draw the images of a study: of those whose labels are known, where there are enough.

    Args:
        session: that writes.
        plan: what is asked for.
        model: id of the model whose findings are shown; images that it cannot read are left out.

    Raises:
        InputError: if there are not so many images.
    """
    query = (
        select(ImageRow)
        .join(ScoreRow, (ScoreRow.image_id == ImageRow.id) & (ScoreRow.model == model))
        .where(ImageRow.listed, ScoreRow.at.is_not(None), ScoreRow.error.is_(None))
        .order_by(ImageRow.id)
    )
    there = list(session.scalars(query))
    labelled = [row for row in there if any(row.given.get(c) is not None for c in plan.categories)]
    pool = labelled if len(labelled) >= plan.images else there
    if plan.images < LEAST or len(pool) < plan.images:
        raise InputError(
            f"a study needs {LEAST} images at least and no more than the model has scored and can "
            f"read, {len(pool)} now; asked for {plan.images}"
        )
    rng = np.random.default_rng(plan.seed)
    chosen = rng.choice(len(pool), plan.images, replace=False).tolist()
    row = StudyRow(
        name=plan.name,
        seed=plan.seed,
        images=sorted(pool[i].id for i in chosen),
        categories=list(plan.categories),
        reader=plan.reader,
        at=now(),
    )
    session.add(row)
    session.flush()
    return row


def every(session: Session) -> list[StudyRow]:
    """All studies, the newest first."""
    return list(session.scalars(select(StudyRow).order_by(StudyRow.id.desc())))


def one(session: Session, number: int) -> StudyRow:
    """A study by its number.

    Raises:
        UnknownStudyError: if there is none such.
    """
    row = session.get(StudyRow, number)
    if row is None:
        raise UnknownStudyError(f"there is no study {number}")
    return row


def done(session: Session, study: StudyRow, reader: str) -> int:
    """How many showings a reader has answered."""
    query = select(func.count()).select_from(StudyAnswerRow)
    mine = (StudyAnswerRow.study_id == study.id, StudyAnswerRow.reader == reader)
    return session.scalar(query.where(*mine)) or 0


def following(session: Session, study: StudyRow, reader: str) -> tuple[Showing, int] | None:
    """What a reader is shown next, and its place from 0; None where there is nothing left."""
    order = showings(study.images, study.seed, reader)
    place = done(session, study, reader)
    return (order[place], place) if place < len(order) else None


def answer(
    session: Session,
    study: StudyRow,
    reader: str,
    showing: Showing,
    percent: Mapping[str, float],
    seconds: float,
) -> None:
    """Keep what a reader said of what was to be shown.

    Raises:
        OutOfTurnError: if another image comes next.
        InputError: if a category is missing, or none of the study's.
    """
    if set(percent) != set(study.categories):
        raise InputError(f"answers: one of each of {', '.join(study.categories)}")
    comes = following(session, study, reader)
    if comes is None or comes[0] != showing:
        raise OutOfTurnError("another image comes next; it was answered already, or is not due yet")
    session.add(
        StudyAnswerRow(
            study_id=study.id,
            reader=reader,
            image_id=showing.image,
            with_findings=showing.with_findings,
            percent=dict(percent),
            seconds=seconds,
            at=now(),
        )
    )


def answers(session: Session, study: StudyRow) -> list[Answer]:
    """Everything that was said, reader by reader in the order of time."""
    query = select(StudyAnswerRow).where(StudyAnswerRow.study_id == study.id)
    rows = session.scalars(query.order_by(StudyAnswerRow.reader, StudyAnswerRow.at))
    return [
        Answer(row.reader, row.image_id, row.with_findings, row.percent, row.seconds)
        for row in rows
    ]


def truths(session: Session, study: StudyRow) -> dict[int, Truth]:
    """What the label table says of a study's images."""
    rows = session.scalars(select(ImageRow).where(ImageRow.id.in_(study.images)))
    return {row.id: Truth(row.given, row.normal, row.patient) for row in rows}
