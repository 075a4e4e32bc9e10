"""The application: its parts, and the routers from a list to which a new one is added."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer

from sdmad._version import __version__
from sdmad.errors import InputError
from sdmad.serve import computing, worklist
from sdmad.serve.api import (
    dicom,
    health,
    images,
    labels,
    maps,
    metrics,
    models,
    people,
    predict,
    readings,
    refits,
    studies,
)
from sdmad.serve.api.errors import answer_errors
from sdmad.serve.house import House
from sdmad.serve.pages.routes import add_pages
from sdmad.serve.security.bodies import BoundedBodies
from sdmad.serve.security.gate import Gate
from sdmad.serve.security.headers import SecureHeaders
from sdmad.serve.settings import ServeSettings
from sdmad.serve.storage import accounts
from sdmad.serve.storage.address import database_file
from sdmad.serve.storage.engine import Storage

API = "/api/v1"

BEARER = HTTPBearer(auto_error=False, description="The printed token, or an account's.")
"""For the description alone: the gate has asked for it."""

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    images.router,
    readings.router,
    labels.router,
    people.router,
    models.router,
    predict.router,
    maps.router,
    dicom.router,
    refits.router,
    studies.router,
    metrics.router,
)
"""Below `API`."""

PAGES: tuple[Callable[[FastAPI], None], ...] = (add_pages,)
"""What adds pages and files to the application."""

PREPARED: tuple[Callable[[House], None], ...] = (computing.prepare,)
"""What must be good before anything is written; a mistake ends the command, and leaves no file."""

PARTS: tuple[Callable[[House], AbstractContextManager[None]], ...] = (
    computing.running,
    worklist.growing,
)
"""What runs beside the server, from its start to its end."""


def create_app(settings: ServeSettings) -> FastAPI:
    """Build the application.

    Raises:
        InputError: if the database or the images cannot be read, or the address is another
            machine's to reach and there is no account.
    """
    house = House(settings)
    for prepare in PREPARED:
        prepare(house)
    listed = worklist.find(house)
    house.storage = _opened(settings)
    with ExitStack() as refused:
        refused.callback(house.storage.close)
        worklist.fill(house, listed)
        refused.pop_all()

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
        dependencies=[Depends(BEARER)],
    )
    app.state.house = house
    for router in ROUTERS:
        app.include_router(router, prefix=API)
    for add in PAGES:
        add(app)
    answer_errors(app)
    # The last is the first that a request meets.
    app.add_middleware(BoundedBodies, files=settings.limits.body)
    app.add_middleware(Gate, house=house)
    app.add_middleware(SecureHeaders)
    app.add_middleware(computing.Counted, metrics=house.metrics)
    return app


def _opened(settings: ServeSettings) -> Storage:
    """The database; a file that is not there yet is not made where accounts are needed."""
    file = database_file(settings.database_url)
    if not settings.local and file is not None and not file.exists():
        raise _without_accounts(settings)
    storage = Storage(settings.database_url)
    with storage.reading() as session:
        if settings.local or accounts.any_is_there(session):
            return storage
    storage.close()
    raise _without_accounts(settings)


def _without_accounts(settings: ServeSettings) -> InputError:
    return InputError(
        f"--host {settings.host}: other machines can reach this address, so readers "
        "need accounts: add one with sdmad serve-account add NAME, or leave out --host"
    )
