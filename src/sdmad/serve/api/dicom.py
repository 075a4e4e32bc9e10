"""What a model says of an image as DICOM objects, for a PACS."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from sdmad.serve.api.images import found
from sdmad.serve.api.shapes import Number, content, refusals
from sdmad.serve.compute.models import ServedModel
from sdmad.serve.compute.scorer import Stated
from sdmad.serve.house import House, TheHouse
from sdmad.serve.told import by_name
from sdmad.serve.visitors import TheVisitor

router = APIRouter(tags=["maps"], responses=refusals(404, 504))

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of a member of an archive, always the same: the objects have dates of their own."""


@router.get(
    "/images/{image_id}/dicom", response_class=Response, responses=content("application/zip")
)
def results(house: TheHouse, visitor: TheVisitor, image_id: Number) -> Response:
    """A structured report, segmentation, parametric map and secondary capture, in an archive.

    They are about the same patient and study as the image, so they name the patient where it does.
    Only of a DICOM file.
    """
    with house.storage.reading() as session:
        image, _ = found(session, house, image_id)
    with by_name(image.address, image.name):
        packed = _packed(house, house.models.active, Path(image.address))
    house.log(visitor, "DICOM results made", image_id)
    name = {"Content-Disposition": f'attachment; filename="image-{image_id}-results.zip"'}
    return Response(packed, media_type="application/zip", headers=name)


def _packed(house: House, model: ServedModel, file: Path) -> bytes:
    """The results of one image as an archive.

    Raises:
        ImageError: if it is no DICOM file, or lacks what results need.
        InputError: if the library is not installed.
        BusyError: if too much waits.
    """
    from sdmad.dicom_out.identity import ModelIdentity
    from sdmad.dicom_out.results import check_can_make, results_for

    check_can_make()
    stated = house.settings.prevalence
    row = house.scorer.prediction(model, file, Stated(stated))
    identity = ModelIdentity.of(model.judge, model.folder, prevalence=stated)
    made = house.scorer.in_turn(lambda: results_for(model.judge, row, identity))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in made.parts:
            archive.writestr(zipfile.ZipInfo(f"{part.kind}.dcm", EARLIEST), part.content)
    return buffer.getvalue()
