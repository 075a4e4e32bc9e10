"""What the routers share: ``app.state.house``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from sdmad.serve.security.tokens import StartToken
from sdmad.serve.settings import ServeSettings
from sdmad.serve.storage.engine import Storage


@dataclass
class House:
    """The parts of a running server.

    Attributes:
        settings: what it was started with.
        storage: the database.
        token: that the printed address carries.
        models: the registry of models.
        scorer: gives findings, maps and alike images.
    """

    settings: ServeSettings
    storage: Storage
    token: StartToken
    models: Any = None
    scorer: Any = None


def house_of(request: Request) -> House:
    """The server's parts, for a route."""
    house = request.app.state.house
    assert isinstance(house, House)
    return house


TheHouse = Annotated[House, Depends(house_of)]
"""A parameter of a route that needs the server's parts."""
