"""``/readings``: what readers say; on the disk before it is answered."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException

from sdmad.errors import InputError
from sdmad.serve.api import shapes
from sdmad.serve.api.images import found, shown_reading
from sdmad.serve.api.shapes import Number, refusals
from sdmad.serve.house import House, TheHouse
from sdmad.serve.storage import events, readings
from sdmad.serve.storage.tables import ReadingRow
from sdmad.serve.visitors import TheVisitor

router = APIRouter(tags=["readings"], responses=refusals(404))


@router.get("/images/{image_id}/readings")
def of_image(house: TheHouse, image_id: Number) -> list[shapes.Reading]:
    """What readers said of an image, in the order of time; what was undone too."""
    with house.storage.reading() as session:
        found(session, house, image_id)
        return [shown_reading(row, undone) for row, undone in readings.of_image(session, image_id)]


@router.post("/images/{image_id}/readings", status_code=201)
def add(
    house: TheHouse, visitor: TheVisitor, image_id: Number, said: shapes.NewReading
) -> shapes.Reading:
    """Say something of an image, or of a category in it."""
    _check(house, said)
    with house.storage.writing() as session:
        found(session, house, image_id)
        row = readings.add(
            session, image_id, said.category, said.verdict, said.note, visitor.reader
        )
        events.log(session, visitor.reader, "reading", row.id, visitor.client)
    return shown_reading(row, undone=False)


@router.post("/readings/{reading_id}/undo", responses=refusals(404, 409))
def undo(house: TheHouse, visitor: TheVisitor, reading_id: Number) -> shapes.Reading:
    """Take a reading back: one's own, or as an admin anybody's. It is kept, and marked undone."""
    with house.storage.writing() as session:
        row = session.get(ReadingRow, reading_id)
        if row is None:
            raise HTTPException(404, f"there is no reading {reading_id}")
        if row.reader != visitor.reader and visitor.role != "admin":
            raise HTTPException(
                403, f"reading {reading_id} is {row.reader}'s; only an admin undoes it"
            )
        readings.undo(session, row, visitor.reader)
        events.log(session, visitor.reader, "reading undone", row.id, visitor.client)
    return shown_reading(row, undone=True)


def _check(house: House, said: shapes.NewReading) -> None:
    whole = said.verdict == "normal"
    if whole and said.category is not None:
        raise InputError("normal is said of the whole image: leave out the category")
    if said.category is None:
        if said.verdict not in ("normal", "unsure"):
            raise InputError(f"{said.verdict}: name the category; of a whole image: normal, unsure")
        return
    known = house.categories
    if said.category not in known:
        raise InputError(f"{said.category}: not a category of the model ({', '.join(known)})")
