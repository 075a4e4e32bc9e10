"""Refusals of the layers around the application, in the shape of the interface's errors."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from sdmad.serve.pages.routes import page


def refuse(scope: Scope, status: int, sentence: str, after: int | None = None) -> Response:
    """An answer that says why a request is refused: JSON to programs, a page to people.

    Args:
        scope: of the request.
        status: of the answer.
        sentence: for people, of this package alone.
        after: seconds after which to ask again.
    """
    headers = {} if after is None else {"Retry-After": str(after)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if scope["path"].startswith("/api/"):
        return JSONResponse({"error": sentence}, status, headers)
    shown = page("refusal", sentence, status)
    shown.headers.update(headers)
    return shown
