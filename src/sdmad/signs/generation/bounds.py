"""What a server may do to us: answer from its own address, and so many bytes.

A server may be anyone's. The bounds hold for whatever it sends: answers, errors, redirections and
lists of models alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from sdmad.signs.generation.failures import RequestError

MAX_STREAM = 64_000_000
"""Bytes of a streamed answer; each token comes in a wrapping of some 300 bytes."""

MAX_EVENT = 2_000_000
"""Bytes of one event of a stream."""

MAX_BODY = 8_000_000
"""Bytes of any other answer, such as an error or a list of models."""

_STREAM = "text/event-stream"
_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
_PORTS = {"http": 80, "https": 443}


def hooks(openai: Any, base_url: str) -> dict[str, list[Callable[[Any], None]]]:
    """Event hooks for an HTTP client of the ``openai`` package that hold a server to the bounds.

    Args:
        openai: the package.
        base_url: the only origin that is asked, redirections included.
    """
    home = _origin(base_url)
    stream_kind = _stream_kind(openai)

    def on_request(request: Any) -> None:
        if _origin(str(request.url)) != home:
            raise RequestError.sent_elsewhere(str(request.url))
        request.headers["Accept-Encoding"] = "identity"

    def on_response(response: Any) -> None:
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise RequestError.compressed()
        if response.headers.get("Content-Type", "").strip().lower().startswith(_STREAM):
            response.stream = stream_kind(response.stream, MAX_STREAM, MAX_EVENT)
        else:
            response.stream = stream_kind(response.stream, MAX_BODY, MAX_BODY)

    return {"request": [on_request], "response": [on_response]}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _stream_kind(openai: Any) -> Any:
    """A class of byte streams, of the HTTP library that the package uses, with limits."""
    library = next(
        kind.__module__.partition(".")[0]
        for kind in openai.DefaultHttpxClient.__mro__
        if kind.__module__.startswith("httpx")
    )

    class Limited(sys.modules[library].SyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, most: int, most_of_an_event: int) -> None:
            self.stream, self.most, self.most_of_an_event = stream, most, most_of_an_event

        def __iter__(self) -> Iterator[bytes]:
            total, event, last = 0, 0, b""
            for piece in self.stream:
                total += len(piece)
                event = _since_end(last + piece, event + len(piece))
                if total > self.most or event > self.most_of_an_event:
                    raise RequestError.too_many_bytes(min(total, self.most))
                last = piece[-3:]
                yield piece

        def close(self) -> None:
            self.stream.close()

    return Limited


def _since_end(piece: bytes, otherwise: int) -> int:
    r"""Bytes since the last event ended, if one did in this piece.

    >>> _since_end(b"data: 1\n\nda", 100), _since_end(b"data", 100)
    (2, 100)
    """
    end = max(piece.rfind(mark) + len(mark) if mark in piece else -1 for mark in _ENDS)
    return len(piece) - end if end >= 0 else otherwise
