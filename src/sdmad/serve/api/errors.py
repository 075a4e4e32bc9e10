"""Every error in a sentence: ``{"error": ...}`` of the interface, a page to people."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sdmad.errors import SDMADError
from sdmad.serve.compute.batching import BusyError, OverdueError
from sdmad.serve.compute.models import UnknownModelError
from sdmad.serve.compute.refits import NotNowError, UnknownRefitError
from sdmad.serve.compute.scorer import NoMapsError
from sdmad.serve.pictures import TooBusyError
from sdmad.serve.security.answers import refuse
from sdmad.serve.storage.engine import AwayError
from sdmad.serve.storage.readings import UndoneError
from sdmad.serve.storage.studies import OutOfTurnError, UnknownStudyError

STATUS: list[tuple[type[SDMADError], int]] = [
    (TooBusyError, 503),
    (BusyError, 503),
    (AwayError, 503),
    (OverdueError, 504),
    (UnknownModelError, 404),
    (UnknownRefitError, 404),
    (NoMapsError, 404),
    (NotNowError, 409),
    (UnknownStudyError, 404),
    (OutOfTurnError, 409),
    (UndoneError, 409),
    (SDMADError, 422),
]
"""The status of each class of errors; the first that fits holds."""

WORDS = {404: "there is no such thing here", 405: "this cannot be done here"}


def answer_errors(app: FastAPI) -> None:
    """Have an application answer its errors in one shape."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(SDMADError, _mistake)
    app.add_exception_handler(Exception, _fault)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    own = error.detail if error.headers is None or "Allow" not in error.headers else ""
    generic = own in ("", "Not Found", "Method Not Allowed")
    sentence = WORDS.get(error.status_code, own) if generic else own
    answer = refuse(request.scope, error.status_code, sentence)
    answer.headers.update(error.headers or {})
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = []
    for fault in error.errors()[:5]:
        where = ".".join(
            str(part) for part in fault["loc"] if part not in ("body", "query", "path")
        )
        told.append(f"{where}: {fault['msg']}" if where else str(fault["msg"]))
    return refuse(request.scope, 422, "; ".join(told))


async def _mistake(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return refuse(request.scope, status, str(error), 2 if status == 503 else None)


async def _fault(request: Request, _: Exception) -> Response:
    return refuse(request.scope, 500, "this is a fault of sdmad; the server's log says more")
