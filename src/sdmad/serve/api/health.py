"""``/health``."""

from __future__ import annotations

from fastapi import APIRouter

from sdmad._version import __version__
from sdmad.serve.api.shapes import Health, Progress
from sdmad.serve.house import TheHouse

router = APIRouter(tags=["health"])


@router.get("/health")
def health(house: TheHouse) -> Health:
    """Whether the server works."""
    return Health(
        status="ok",
        version=__version__,
        models=len(house.settings.models),
        scoring=Progress(done=0, total=0),
    )
