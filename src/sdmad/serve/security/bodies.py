"""Requests of bounded size, whether they say it or not."""

from __future__ import annotations

import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdmad.serve.security.answers import refuse

PLAIN = 1 << 20
"""Bytes of a request that carries no files."""


class _TooLargeError(Exception):
    pass


class BoundedBodies:
    """Refuses a request that is too large, before it is read, or as soon as that is seen.

    Args:
        app: behind it.
        files: bytes of a request that carries files.
    """

    def __init__(self, app: ASGIApp, files: int) -> None:
        self.app, self.files = app, files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        carries = headers.get("content-type", "").lower().startswith("multipart/form-data")
        most = self.files if carries else PLAIN
        sentence = f"a request may have {most:,} bytes at most; send less"
        stated = headers.get("content-length", "")
        if stated.isdecimal() and int(stated[:20]) > most:
            await refuse(scope, 413, sentence)(scope, receive, send)
            return
        seen, over, started = 0, False, False

        async def counted() -> Message:
            nonlocal seen, over
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                over = True
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if over and not started:  # what was made of half a request
                return
            started = True
            await send(message)

        with contextlib.suppress(_TooLargeError):
            await self.app(scope, counted, watched)
        if over and not started:
            await refuse(scope, 413, sentence)(scope, receive, send)
