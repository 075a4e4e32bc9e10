"""``/images``: the list, an image with its findings, its pixels, its thumbnail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi import Path as PathParameter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from sdmad.data.formats import is_dicom
from sdmad.data.images import ImageError
from sdmad.serve.api import shapes
from sdmad.serve.api.shapes import Name, Number, content, refusals
from sdmad.serve.house import House, TheHouse
from sdmad.serve.pictures import Viewed
from sdmad.serve.storage import findings, images, readings
from sdmad.serve.storage.images import Item, Order, State, Wanted
from sdmad.serve.storage.tables import FindingRow, ReadingRow
from sdmad.serve.told import by_name, without_place
from sdmad.serve.visitors import TheVisitor

router = APIRouter(tags=["images"], responses=refusals(404))

PIXELS = {**refusals(404), **content("application/octet-stream")}
PNG = {**refusals(404), **content("image/png")}

Sort = Annotated[Order, Query(description="abnormal and unsure: the most first")]
Category = Annotated[Name | None, Query(description="that the active model finds")]
ByState = Annotated[State | None, Query(description="by the readings")]
Reader = Annotated[Name | None, Query(description="who has a standing reading")]
Text = Annotated[Name | None, Query(description="that the name holds")]


@router.get("/images", response_model=shapes.Images)
def listed(
    house: TheHouse,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
    sort: Sort = "abnormal",
    category: Category = None,
    state: ByState = None,
    reader: Reader = None,
    text: Text = None,
) -> Response:
    """A page of the list."""
    wanted = Wanted(house.model, sort, category, state, reader, text)
    with house.storage.reading() as session:
        counts = images.counts(session, wanted)
        items = images.page(session, wanted, (page - 1) * size, size)
        told = shown_images(session, house, items)
    total = counts[state] if state else sum(counts.values())
    found = shapes.Images(
        total=total, page=page, size=size, counts=shapes.Counts(**counts), items=told
    )
    # As text at once: FastAPI would check it all a second time.
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/images/{image_id}", responses=refusals(404))
def detail(
    house: TheHouse,
    visitor: TheVisitor,
    image_id: Number,
    sort: Sort = "abnormal",
    category: Category = None,
    state: ByState = None,
    reader: Reader = None,
    text: Text = None,
) -> shapes.ImageDetail:
    """An image, and which come before and behind it in the list of the same filters."""
    wanted = Wanted(house.model, sort, category, state, reader, text)
    with house.storage.reading() as session:
        item = found(session, house, image_id)
        (image,) = shown_images(session, house, [item])
        mine = findings.of_images(session, house.model, [image_id]).get(image_id, [])
        said = readings.of_image(session, image_id)
        before, behind = images.neighbours(session, wanted, item)
        address = item[0].address
    view, error = _view_or_error(house, address, image)
    house.log(visitor, "image opened", image_id)
    return shapes.ImageDetail(
        **{**image.model_dump(), "error": image.error or error},
        **_size(view),
        dicom=view is not None and is_dicom(Path(address)),
        findings=[_finding(house, row) for row in mine],
        model=house.model,
        readings=[shown_reading(row, undone) for row, undone in said],
        previous=before,
        next=behind,
    )


@router.get(
    "/images/{image_id}/pixels",
    responses=PIXELS,
)
def pixels(
    house: TheHouse,
    image_id: Number,
    index: Annotated[int | None, Query(alias="slice", ge=0, le=999_999)] = None,
) -> Response:
    """Grey values (uint16, the lower byte first) or red, green and blue (uint8), row by row.

    The file's units are `X-Slope` times the value plus `X-Intercept`; `X-Center` and `X-Window` are
    the file's own window in these units. Without `slice` it is the one that the model judges.
    """
    address, name = _address(house, image_id)
    with by_name(address, name):
        view = house.pictures.view(address, index)
    told = {
        "Width": view.width,
        "Height": view.height,
        "Channels": view.channels,
        "Slope": view.slope,
        "Intercept": view.intercept,
        "Center": view.center,
        "Window": view.window,
    }
    headers = {f"X-{header}": repr(value) for header, value in told.items()}
    return Response(view.pixels, media_type="application/octet-stream", headers=headers)


@router.get("/images/{image_id}/thumbnail", responses=PNG)
def thumbnail(house: TheHouse, image_id: Number) -> Response:
    """A PNG whose longer side has 128 pixels."""
    address, name = _address(house, image_id)
    with by_name(address, name):
        png = house.pictures.thumbnail(address)
    return Response(png, media_type="image/png")


@router.get("/images/{image_id}/similar")
def similar(house: TheHouse, image_id: Number) -> list[shapes.Alike]:
    """The support images that are most like an image; none where nobody keeps them."""
    address, name = _address(house, image_id)
    with by_name(address, name):
        alike = house.support.alike(house.models.active, Path(address))
    return [
        shapes.Alike(
            category=one.labels,
            similarity=one.similarity,
            thumbnail=f"/api/v1/support/{one.place}/thumbnail",
        )
        for one in alike
    ]


@router.get("/support/{place}/thumbnail", responses=PNG)
def support_thumbnail(
    house: TheHouse, place: Annotated[int, PathParameter(ge=0, le=2**31 - 1)]
) -> Response:
    """A PNG of a support image whose longer side has 128 pixels."""
    address = house.support.address(place)
    if address is None:
        raise HTTPException(404, f"there is no support image {place}")
    with by_name(address, f"support image {place}"):
        png = house.pictures.thumbnail(address)
    return Response(png, media_type="image/png")


def found(session: Session, house: House, image_id: int) -> Item:
    """An image of the list.

    Raises:
        HTTPException: 404, if there is none of this number.
    """
    item = images.one(session, image_id, house.model)
    if item is None:
        raise HTTPException(404, f"there is no image {image_id}")
    return item


def shown_images(session: Session, house: House, items: list[Item]) -> list[shapes.Image]:
    """Images as the list shows them."""
    numbers = [image.id for image, _ in items]
    top = findings.tops(session, house.model, numbers)
    who = images.readers(session, numbers)
    return [
        shapes.Image(
            id=image.id,
            name=image.name,
            state=image.state,  # type: ignore[arg-type]  # checked by pydantic
            abnormal=score.abnormal,
            unsure=score.unsure,
            unfamiliar=score.unfamiliar,
            top=_finding(house, top[image.id]) if image.id in top else None,
            error=score.error,
            readers=who.get(image.id, []),
            thumbnail=f"/api/v1/images/{image.id}/thumbnail",
        )
        for image, score in items
    ]


def shown_reading(row: ReadingRow, undone: bool) -> shapes.Reading:
    """A reading as it is answered."""
    return shapes.Reading(
        id=row.id,
        image=row.image_id,
        category=row.category,
        verdict=row.verdict,  # type: ignore[arg-type]  # checked by pydantic
        note=row.note,
        reader=row.reader,
        at=row.at,
        undone=undone,
    )


def _finding(house: House, row: FindingRow) -> shapes.Finding:
    """A finding, with its probability at the prevalence that the server was started with."""
    told = shapes.Finding.model_validate(row)
    stated = house.settings.prevalence
    if stated is not None:
        told.probability = house.models.active.chance(row.category, row.score, stated)
    return told


def _address(house: House, image_id: int) -> tuple[str, str]:
    with house.storage.reading() as session:
        image, _ = found(session, house, image_id)
        return image.address, image.name


def _view_or_error(
    house: House, address: str, image: shapes.Image
) -> tuple[Viewed | None, str | None]:
    try:
        return house.pictures.view(address), None
    except ImageError as error:
        return None, without_place(str(error), address, image.name)


def _size(view: Viewed | None) -> dict[str, Any]:
    if view is None:
        return dict.fromkeys(("width", "height", "slices", "slice", "window"))
    window = shapes.Window(center=view.center, width=view.window, low=view.low, high=view.high)
    sizes = {name: getattr(view, name) for name in ("width", "height", "slices", "slice")}
    return {**sizes, "window": window}
