"""Maps: where an image looks like a category, or like the sign that decided on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response

from sdmad.data.address import parse_address, slice_address
from sdmad.data.formats import recognise
from sdmad.reporting.map_files import as_png
from sdmad.serve.api.images import found
from sdmad.serve.api.predict import FILE, MODEL, SLICE
from sdmad.serve.api.shapes import Name, Number, refusals
from sdmad.serve.api.uploads import Upload, body, files_of, form_of, slice_of, text_of, with_files
from sdmad.serve.compute.scorer import as_overlay
from sdmad.serve.house import TheHouse
from sdmad.serve.told import by_name

router = APIRouter(tags=["maps"], responses=refusals(404, 504))

PNG, NIFTI = "image/png", "application/gzip"
BINARY = {"schema": {"type": "string", "format": "binary"}}


def _content(about: str, *kinds: str) -> dict[int | str, dict[str, object]]:
    return {200: {"description": about, "content": dict.fromkeys(kinds, BINARY)}}


@router.get(
    "/images/{image_id}/maps/{category}",
    response_class=Response,
    responses=_content("8-bit grey PNG, as large as the image; white where it is strong.", PNG),
)
def of_image(
    house: TheHouse,
    image_id: Number,
    category: Name,
    plane: Annotated[int | None, Query(alias="slice", ge=0, le=999_999)] = None,
) -> Response:
    """Where an image, or a slice of it, looks like the sign that decided on a category."""
    with house.storage.reading() as session:
        image, _ = found(session, house, image_id)
    model = house.models.active
    address = Path(image.address)
    if plane is not None:
        address = slice_address(parse_address(address)[0], plane)
    with by_name(image.address, image.name):
        values = house.scorer.deciding_map(model, address, category)
    return Response(as_overlay(values), media_type=PNG)


@router.post(
    "/maps",
    response_class=Response,
    openapi_extra=body("file", file=FILE, model=MODEL, slice=SLICE),
    responses={
        **refusals(404, 504),
        **_content(
            "16-bit grey PNG, black -2 and white 2, or NIfTI of the values in the place of the "
            "file's slice; cosines, as large as the image.",
            PNG,
            NIFTI,
        ),
    },
)
async def of_file(
    house: TheHouse,
    request: Request,
    category: Name,
    form_of_map: Annotated[Literal["png", "nifti"], Query(alias="format")] = "png",
) -> Response:
    """Where a file that is sent, and not kept, looks like a category."""
    async with form_of(request, 1) as form:
        model, index = house.models.get(text_of(form, "model")), slice_of(form)

        def work(uploads: list[Upload]) -> Response:
            path = uploads[0].path
            if form_of_map == "nifti" and recognise(path) != "nifti":
                raise HTTPException(422, "format=nifti: only of a NIfTI file; ask for png")
            values = house.scorer.category_map(model, uploads[0].at(index), category)
            if form_of_map == "png":
                return Response(as_png(values), media_type=PNG)
            from sdmad.data.nifti_maps import like_slice

            return Response(like_slice(path, index, values), media_type=NIFTI)

        return await with_files(files_of(form, "file", 1), work)
