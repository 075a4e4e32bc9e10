"""``/refits``: fit on the readings, judge the new model beside the old one, switch."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException

from sdmad.serve.api import shapes
from sdmad.serve.api.shapes import Number, refusals
from sdmad.serve.compute.refits import Refit
from sdmad.serve.house import House, TheHouse
from sdmad.serve.storage import labels
from sdmad.serve.visitors import TheVisitor

router = APIRouter(prefix="/refits", tags=["refits"], responses=refusals(404, 409))


@router.post("", status_code=201)
def start(
    house: TheHouse, visitor: TheVisitor, asked: shapes.NewRefit | None = None
) -> shapes.Refit:
    """Fit on the labels as they are now, in a process of its own; the model in use stays."""
    asked = asked or shapes.NewRefit()
    model = house.models.active
    with house.storage.reading() as session:
        table = labels.label_table(session, model.bank.names, names=True)
    refit = house.refits.start(table, asked.shots, asked.seed)
    house.log(visitor, "refit", refit.id)
    return _shown(house, refit)


@router.get("")
def refits(house: TheHouse) -> list[shapes.Refit]:
    """All refits, the newest first."""
    return [_shown(house, one) for one in house.refits.all()]


@router.get("/{refit_id}")
def refit(house: TheHouse, refit_id: Number) -> shapes.Refit:
    """How a refit stands."""
    return _shown(house, house.refits.get(refit_id))


@router.post("/{refit_id}/switch")
def switch(house: TheHouse, visitor: TheVisitor, refit_id: Number) -> shapes.Refit:
    """Let the new model answer from now on; where there are accounts, an admin decides."""
    if visitor.role != "admin":
        raise HTTPException(403, "only an admin switches models")
    house.refits.switch(refit_id)
    house.log(visitor, "model switched", refit_id)
    return _shown(house, house.refits.get(refit_id))


def _shown(house: House, one: Refit) -> shapes.Refit:
    return shapes.Refit.model_validate({**vars(one), "active": one.model == house.model})
