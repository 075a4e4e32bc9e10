"""What the routers share: ``app.state.house``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from sdmad.serve.compute.alike import Support
from sdmad.serve.compute.metrics import Metrics
from sdmad.serve.pictures import Pictures
from sdmad.serve.rates import Rate
from sdmad.serve.secret import StartToken
from sdmad.serve.settings import ServeSettings
from sdmad.serve.storage import events
from sdmad.serve.storage.engine import Storage
from sdmad.serve.visitors import Visitor


@dataclass
class House:
    """The parts of a running server.

    Attributes:
        settings: what it was started with.
        storage: the database; not there before everything else was found good.
        token: that the printed address carries.
        pictures: reads the images.
        requests: how often somebody may ask.
        sign_ins: how often somebody may fail to sign in.
        models: the registry of models.
        scorer: gives findings, maps and alike images.
        support: the support images, where they are kept.
        behind: scores the worklist in the background.
        refits: fits on the readings.
        fetching: fetches the images of a DICOMweb server; None where there is none.
        metrics: what is counted.
    """

    settings: ServeSettings
    storage: Storage = field(init=False)
    token: StartToken = field(default_factory=StartToken)
    models: Any = None
    scorer: Any = None
    support: Support = field(default_factory=lambda: Support(None))
    behind: Any = None
    refits: Any = None
    fetching: Any = None
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        limits = self.settings.limits
        self.pictures = Pictures(limits.thumbnails)
        self.requests, self.sign_ins = Rate(limits.requests), Rate(limits.logins)

    @property
    def model(self) -> str:
        """Id of the active model."""
        return "" if self.models is None else str(self.models.active.id)

    @property
    def categories(self) -> tuple[str, ...]:
        """What the active model looks for."""
        return () if self.models is None else tuple(self.models.active.bank.names)

    def log(self, visitor: Visitor, what: str, about: object = "") -> None:
        """Add a line to the audit log."""
        with self.storage.writing() as session:
            events.log(session, visitor.reader, what, about, visitor.client)


def house_of(request: Request) -> House:
    """The server's parts, for a route."""
    house = request.app.state.house
    assert isinstance(house, House)
    return house


TheHouse = Annotated[House, Depends(house_of)]
"""A parameter of a route that needs the server's parts."""
