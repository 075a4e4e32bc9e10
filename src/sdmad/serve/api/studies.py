"""``/studies``: blinded reader studies, with and without the model's findings."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response
from sqlalchemy.orm import Session

from sdmad.output import csv_text
from sdmad.serve.api import shapes
from sdmad.serve.api.shapes import Number, content, refusals
from sdmad.serve.house import TheHouse
from sdmad.serve.reader_study import Showing, results
from sdmad.serve.storage import events, studies
from sdmad.serve.storage.studies import Plan
from sdmad.serve.storage.tables import StudyRow
from sdmad.serve.visitors import TheVisitor, Visitor

router = APIRouter(prefix="/studies", tags=["studies"], responses=refusals(404))

HEADER = ("reader", "image", "with_findings", "category", "percent", "label", "seconds")


@router.post("", status_code=201)
def start(house: TheHouse, visitor: TheVisitor, asked: shapes.NewStudy) -> shapes.Study:
    """Draw images for a study; each reader sees them in an order of his own."""
    _admin(visitor)
    plan = Plan(asked.name, asked.images, asked.seed, house.categories, visitor.reader)
    with house.storage.writing() as session:
        row = studies.start(session, plan, house.model)
        events.log(session, visitor.reader, "study", row.id, visitor.client)
        return _shown(session, row, visitor)


@router.get("")
def every(house: TheHouse, visitor: TheVisitor) -> list[shapes.Study]:
    """All studies, the newest first, and how far the asking reader is in each."""
    with house.storage.reading() as session:
        return [_shown(session, row, visitor) for row in studies.every(session)]


@router.get("/{study_id}/next")
def following(house: TheHouse, visitor: TheVisitor, study_id: Number) -> shapes.Next:
    """Which image the asking reader reads next, and whether with the model's findings."""
    with house.storage.reading() as session:
        study = studies.one(session, study_id)
        total, comes = 2 * len(study.images), studies.following(session, study, visitor.reader)
    if comes is None:
        return shapes.Next(done=True, image=None, with_findings=None, position=total, total=total)
    showing, place = comes
    return shapes.Next(
        done=False,
        image=showing.image,
        with_findings=showing.with_findings,
        position=place + 1,
        total=total,
    )


@router.post("/{study_id}/answers", status_code=201, responses=refusals(404, 409))
def answer(
    house: TheHouse, visitor: TheVisitor, study_id: Number, said: shapes.StudyAnswer
) -> shapes.Study:
    """How likely each finding is in the image that came next, in percent."""
    with house.storage.writing() as session:
        study = studies.one(session, study_id)
        showing = Showing(said.image, said.with_findings)
        studies.answer(session, study, visitor.reader, showing, said.answers, said.seconds)
    with house.storage.reading() as session:
        return _shown(session, study, visitor)


@router.get("/{study_id}/results")
def outcome(house: TheHouse, visitor: TheVisitor, study_id: Number) -> shapes.StudyResults:
    """AUROC of readers with and without, their agreement, and their time."""
    _admin(visitor)
    with house.storage.reading() as session:
        study = studies.one(session, study_id)
        answers, truths = studies.answers(session, study), studies.truths(session, study)
    found = results(answers, truths, study.categories)
    return shapes.StudyResults.model_validate(found, from_attributes=True)


@router.get("/{study_id}/results.csv", responses={**refusals(404), **content("text/csv")})
def table(house: TheHouse, visitor: TheVisitor, study_id: Number) -> Response:
    """Every answer beside the label, a row a category."""
    _admin(visitor)
    with house.storage.reading() as session:
        study = studies.one(session, study_id)
        answers, truths = studies.answers(session, study), studies.truths(session, study)
    rows = [
        (
            *(one.reader, one.image, int(one.with_findings), category),
            *(one.percent[category], truths[one.image].labels.get(category), one.seconds),
        )
        for one in answers
        for category in study.categories
    ]
    return Response(
        csv_text(HEADER, rows),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="study-{study_id}.csv"'},
    )


def _shown(session: Session, row: StudyRow, visitor: Visitor) -> shapes.Study:
    return shapes.Study(
        id=row.id,
        name=row.name,
        images=len(row.images),
        seed=row.seed,
        categories=row.categories,
        at=row.at,
        done=studies.done(session, row, visitor.reader),
        total=2 * len(row.images),
    )


def _admin(visitor: Visitor) -> None:
    """Studies are made and judged by who does not read blind."""
    if visitor.role != "admin":
        raise HTTPException(403, "only an admin starts studies and sees their results")
