"""The application: its parts, and the routers from a list to which a new one is added."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager

from fastapi import APIRouter, FastAPI

from sdmad._version import __version__
from sdmad.serve.api import health
from sdmad.serve.house import House
from sdmad.serve.pages.routes import add_pages
from sdmad.serve.security.tokens import StartToken
from sdmad.serve.settings import ServeSettings
from sdmad.serve.storage.engine import Storage

API = "/api/v1"

ROUTERS: tuple[APIRouter, ...] = (health.router,)
"""Below `API`."""

PAGES: tuple[Callable[[FastAPI], None], ...] = (add_pages,)
"""What adds pages and files to the application."""

PARTS: tuple[Callable[[House], AbstractContextManager[None]], ...] = ()
"""What runs beside the server, from its start to its end: given the house, to fill in."""


def create_app(settings: ServeSettings) -> FastAPI:
    """Build the application.

    Raises:
        InputError: if the database or the images cannot be read.
    """
    house = House(settings, Storage(settings.database_url), StartToken())

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as end:
            end.callback(house.storage.close)
            for part in PARTS:
                end.enter_context(part(house))
            yield

    app = FastAPI(
        title="sdmad",
        version=__version__,
        lifespan=running,
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=f"{API}/openapi.json",
    )
    app.state.house = house
    for router in ROUTERS:
        app.include_router(router, prefix=API)
    for add in PAGES:
        add(app)
    return app
