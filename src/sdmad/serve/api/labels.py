"""``/labels.csv``: the table that ``sdmad fit`` reads."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from sdmad.serve.api.shapes import content, refusals
from sdmad.serve.house import TheHouse
from sdmad.serve.storage.labels import label_table
from sdmad.serve.visitors import TheVisitor
from sdmad.text import AS_BYTES

router = APIRouter(tags=["readings"])


@router.get("/labels.csv", responses={**refusals(), **content("text/csv")})
def labels(house: TheHouse, visitor: TheVisitor) -> Response:
    """Labels of every image that has any: the table's own, changed by the readings."""
    house.log(visitor, "labels exported")
    with house.storage.reading() as session:
        text = label_table(session, house.categories, house.settings.show_names)
    return Response(
        text.encode("utf-8", AS_BYTES),
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="labels.csv"'},
    )
