"""Start the server and say where it is."""

from __future__ import annotations

import socket
import warnings

from fastapi import FastAPI

from sdmad.errors import InputError
from sdmad.serve.house import House
from sdmad.serve.settings import ServeSettings

MOST_CONNECTIONS = 1000
"""That are open at once; one more is told to ask again."""


def listening(settings: ServeSettings) -> socket.socket:
    """A socket that listens where the settings say.

    Raises:
        InputError: if the system refuses, as where another server is there.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        raise InputError(
            f"{settings.host}, port {settings.port}: cannot listen there "
            f"({error.strerror or error}); give another --port, or 0 for a free one"
        ) from error


def address(house: House, port: int) -> str:
    """What a person opens in a browser."""
    host = house.settings.host
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/?token={house.token.text}"


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM; what is under way is answered first."""
    import uvicorn

    config = uvicorn.Config(
        app,
        access_log=False,  # it would hold what addresses hold, the token among it
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=10,
        limit_concurrency=MOST_CONNECTIONS,
        proxy_headers=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of files, whose paths name patients
        uvicorn.Server(config).run(sockets=[listener])
