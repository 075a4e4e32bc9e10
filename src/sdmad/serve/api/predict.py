"""``/predict`` and ``/explain``: what a model says of files that are sent and not kept."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import APIRouter, HTTPException, Request
from starlette.datastructures import FormData

from sdmad.data.formats import recognise
from sdmad.data.images import ImageError, slice_read
from sdmad.detector.calibration import parse_prevalence
from sdmad.serve.api import shapes
from sdmad.serve.api.shapes import refusals
from sdmad.serve.api.uploads import (
    MOST_SLICE,
    Upload,
    body,
    files_of,
    form_of,
    slice_of,
    text_of,
    with_files,
)
from sdmad.serve.compute.models import ServedModel
from sdmad.serve.compute.scorer import Finding, Scored, Stated
from sdmad.serve.house import House, TheHouse

router = APIRouter(tags=["predict"], responses=refusals(404, 504))

Shape = TypeVar("Shape", bound=shapes.Finding)

FILE = {"type": "string", "format": "binary", "description": "An image; DICOM and NIfTI too."}
SLICE: dict[str, Any] = {
    "type": "integer",
    "minimum": 0,
    "maximum": MOST_SLICE,
    "description": "Which slice, frame or page is meant, from 0, of every file that is sent. Where "
    "it is left out, the middle one of a volume, and the first page.",
}
MODEL = {"type": "string", "description": "A model's id; the active one where it is left out."}
STATED: dict[str, dict[str, Any]] = {
    "model": MODEL,
    "slice": SLICE,
    "prevalence": {
        "type": "string",
        "description": "How common findings are: 0.05, or Mass=0.02,Effusion=0.1. Adds "
        "probabilities.",
    },
    "error_rate": {
        "type": "string",
        "description": "Between 0 and 1. Adds answers: yes, no, or unsure.",
    },
}


@router.post(
    "/predict",
    openapi_extra=body("files", files={"type": "array", "minItems": 1, "items": FILE}, **STATED),
)
async def predict(house: TheHouse, request: Request) -> list[shapes.Prediction]:
    """What a model finds in one file or several; a file that cannot be read says why."""
    most = house.settings.limits.files
    async with form_of(request, most) as form:
        model, stated = _asked(house, form)

        index = slice_of(form)

        def work(uploads: list[Upload]) -> list[shapes.Prediction]:
            rows = house.scorer.score(model, [upload.at(index) for upload in uploads], stated)
            return [_prediction(*pair) for pair in zip(uploads, rows, strict=True)]

        return await with_files(files_of(form, "files", most), work)


@router.post("/explain", openapi_extra=body("file", file=FILE, **STATED))
async def explain(house: TheHouse, request: Request) -> shapes.Explained:
    """What every sign of every category says of one file."""
    async with form_of(request, 1) as form:
        model, stated = _asked(house, form)

        index = slice_of(form)

        def work(uploads: list[Upload]) -> shapes.Explained:
            (row,) = house.scorer.score(model, [uploads[0].at(index)], stated)
            if row.error is not None:
                raise ImageError(row.error)
            return _explained(model, uploads[0], row)

        return await with_files(files_of(form, "file", 1), work)


def _asked(house: House, form: FormData) -> tuple[ServedModel, Stated]:
    """Which model is asked, and what is stated of the files."""
    prevalence, rate = text_of(form, "prevalence"), text_of(form, "error_rate")
    try:
        error_rate = None if rate is None else float(rate)
    except ValueError:
        raise HTTPException(422, "error_rate: a number between 0 and 1") from None
    likely = None if prevalence is None else parse_prevalence(prevalence)
    return house.models.get(text_of(form, "model")), Stated(likely, error_rate)


def _prediction(upload: Upload, row: Scored) -> shapes.Prediction:
    return shapes.Prediction(
        **_place(upload, row),
        error=None if row.error is None else upload.told(row.error),
        unfamiliar=row.unfamiliar,
        abnormal=row.abnormal,
        unsure=row.unsure,
        findings=[_shown(shapes.Finding, one) for one in row.findings],
    )


def _explained(model: ServedModel, upload: Upload, row: Scored) -> shapes.Explained:
    assert row.unfamiliar is not None
    return shapes.Explained(
        **_place(upload, row),
        model=model.id,
        unfamiliar=row.unfamiliar,
        categories=[_shown(shapes.ExplainedFinding, one) for one in row.findings],
    )


def _place(upload: Upload, row: Scored) -> dict[str, Any]:
    """The fields of `shapes.Place`; of a picture, whose header nobody need read again, no slice."""
    place, count = None, 1
    if row.error is None and recognise(upload.path) != "picture":
        place, count = slice_read(row.file)
    several = count > 1
    return {
        "file": upload.name,
        "slice": place if several else None,
        "slices": count if several else None,
    }


def _shown(shape: type[Shape], one: Finding) -> Shape:
    return shape.model_validate(one, from_attributes=True)
