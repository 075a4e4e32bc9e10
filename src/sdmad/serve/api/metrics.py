"""``/metrics``: counts for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from sdmad.serve.api.shapes import refusals
from sdmad.serve.house import TheHouse

router = APIRouter(tags=["health"], responses=refusals())

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
def metrics(house: TheHouse) -> Response:
    """Requests, batches and what waits; no name of a file, a patient or a reader."""
    return Response(house.metrics.text(), headers={"Content-Type": TEXT})
