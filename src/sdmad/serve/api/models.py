"""``/models``: what answers here."""

from __future__ import annotations

from fastapi import APIRouter

from sdmad.detector.calibration import Prevalence, stated
from sdmad.serve.api import shapes
from sdmad.serve.api.shapes import refusals
from sdmad.serve.compute.models import ServedModel
from sdmad.serve.house import TheHouse

router = APIRouter(tags=["models"], responses=refusals())


@router.get("/models")
def models(house: TheHouse) -> list[shapes.Model]:
    """The models of this server; the active one answers where none is named."""
    prevalence = house.settings.prevalence
    return [_shown(model, model is house.models.active, prevalence) for model in house.models]


def _shown(model: ServedModel, active: bool, prevalence: Prevalence | None) -> shapes.Model:
    limits = model.limits
    common = None if prevalence is None else stated(prevalence, model.bank.names)
    return shapes.Model(
        id=model.id,
        name=model.name,
        active=active,
        kind=model.kind,
        hash=model.hash,
        version=model.version,
        backbone=model.backbone,
        created=model.created,
        categories=[
            shapes.Category(
                name=name,
                threshold=None if limits is None else float(limits[k]),
                prevalence=None if common is None else float(common[k]),
                rule=model.rule,
                signs=[
                    shapes.SignOfBank(name=f"{name} {number}", sentence=sentence)
                    for number, sentence in enumerate(sentences, 1)
                ],
            )
            for k, (name, sentences) in enumerate(model.bank.categories.items())
        ],
    )
