"""Support images that an image is like, where the user keeps them."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from sdmad.serve.api import shapes
from sdmad.serve.api.images import found
from sdmad.serve.api.shapes import Number, content, refusals
from sdmad.serve.house import TheHouse
from sdmad.serve.told import by_name

router = APIRouter(tags=["images"], responses=refusals(404, 503))


@router.get("/images/{image_id}/similar")
def similar(house: TheHouse, image_id: Number) -> list[shapes.Alike]:
    """The support images that an image is most like; none where the server has no table of them."""
    with house.storage.reading() as session:
        image, _ = found(session, house, image_id)
    model = house.models.active
    with by_name(image.address, image.name):
        rows = house.scorer.in_turn(lambda: house.alike.most(model, Path(image.address)))
    return [
        shapes.Alike(
            category=one.category,
            similarity=one.similarity,
            thumbnail=f"/api/v1/support/{one.row + 1}/thumbnail",
        )
        for one in rows
    ]


@router.get("/support/{number}/thumbnail", responses={**refusals(404, 503), **content("image/png")})
def thumbnail(house: TheHouse, number: Number) -> Response:
    """A PNG of a support image whose longer side has 128 pixels."""
    table = house.alike.table
    if table is None or number > len(table):
        raise HTTPException(404, f"there is no support image {number}")
    address = os.fspath(table.files[number - 1])
    with by_name(address, f"support image {number}"):
        png = house.pictures.thumbnail(address)
    return Response(png, media_type="image/png")
