"""What computes in a server: its models, their scores, the worklist's scoring, refits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdmad.serve.compute.behind import Behind
from sdmad.serve.compute.metrics import Metrics
from sdmad.serve.compute.models import Models, ServedModel
from sdmad.serve.compute.refits import Refits
from sdmad.serve.compute.scorer import Scorer
from sdmad.serve.house import House

REFITS = ".sdmad-serve-refits"
"""Ending of the folder beside the images in which refits are kept."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ELSEWHERE = "elsewhere"
"""The route of a request that none fits."""


def prepare(house: House) -> None:
    """Load the models, and the one that was switched to before.

    Raises:
        SDMADError: if one cannot be loaded.
    """
    house.models = Models(house.settings.models, house.metrics.batch)
    if house.settings.prevalence is not None:
        for model in house.models:
            model.judge.at_prevalence(house.settings.prevalence)  # refused now, not when asked

    def switched(_: ServedModel) -> None:
        if house.behind is not None:
            house.behind.wake()

    house.refits = Refits(house.settings.beside(REFITS), house.models, switched)
    house.refits.restore()


@contextmanager
def running(house: House) -> Iterator[None]:
    """Score the worklist until the server ends."""
    models, scorer, refits = house.models, Scorer(), house.refits
    house.scorer = scorer
    behind = house.behind = Behind(house.storage, models, scorer)
    _watch(house.metrics, models, behind)
    with ExitStack() as end:
        for close in (behind.join, models.close, scorer.close, refits.close, behind.stop):
            end.callback(close)  # the last comes first
        yield


def _watch(metrics: Metrics, models: Models, behind: Behind) -> None:
    metrics.watch(
        "sdmad_images_waiting",
        "Images whose scores somebody waits for.",
        lambda: sum(model.batcher.waiting for model in models),
    )
    metrics.watch(
        "sdmad_worklist_scored",
        "Images of the worklist that the active model has scored.",
        lambda: behind.progress()[0],
    )
    metrics.watch("sdmad_worklist_images", "Images of the worklist.", lambda: behind.progress()[1])


class Counted:
    """Counts every request by its route.

    Args:
        app: behind it.
        metrics: of the server.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", ELSEWHERE)
            known = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.request(route, known, status, time.monotonic() - start)
