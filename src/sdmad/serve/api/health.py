"""``/health``."""

from __future__ import annotations

from fastapi import APIRouter

from sdmad._version import __version__
from sdmad.serve.api.shapes import Health, Progress
from sdmad.serve.house import TheHouse
from sdmad.serve.storage import images

router = APIRouter(tags=["health"])


@router.get("/health")
def health(house: TheHouse) -> Health:
    """Whether the server works."""
    with house.storage.reading() as session:
        done, total = images.progress(session, house.model)
    return Health(
        status="ok",
        version=__version__,
        models=len(house.models),
        scoring=Progress(done=done, total=total),
    )
