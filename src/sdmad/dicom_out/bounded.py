"""HTTP answers within bounds of bytes and time, whoever asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from sdmad.dicom_out.access import Credentials
from sdmad.errors import SDMADError

MOST_REDIRECTS = 5
WHOLE = 900.0
"""Seconds that a whole answer may take."""


class Bounds:
    """What one answer may take, which differs with what is asked for.

    Attributes:
        most: bytes, unpacked.
        seconds: for the whole of it.
    """

    def __init__(self) -> None:
        self.most, self.seconds = 0, WHOLE

    @contextmanager
    def of(self, most: int) -> Iterator[None]:
        """Other bounds meanwhile."""
        before, self.most = self.most, most
        try:
            yield
        finally:
            self.most = before


def session_of(bounds: Bounds, credentials: Credentials) -> requests.Session:
    """A session whose answers keep bounds, and which tells the server who asks.

    Nothing is taken from a netrc file that was not named.
    """
    session = requests.Session()
    session.auth = _Auth(credentials)
    session.max_redirects = MOST_REDIRECTS
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(bounds))
    return session


class _Auth(AuthBase):
    """Credentials in a header; none where there are none."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: Any) -> Any:
        known = self._credentials
        if known.token:
            request.headers["Authorization"] = f"Bearer {known.token}"
        elif known.user:
            requests.auth.HTTPBasicAuth(known.user.encode(), known.password.encode())(request)
        return request


class _Adapter(HTTPAdapter):
    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self._bounds = bounds

    def send(self, request: Any, *arguments: Any, **named: Any) -> requests.Response:
        answer = super().send(request, *arguments, **named)
        answer.raw = _Raw(answer.raw, self._bounds.most, self._bounds.seconds)
        return answer


class _Raw:
    """The body of an answer, which stops where it is too long or too slow."""

    def __init__(self, raw: Any, most: int, seconds: float) -> None:
        self._raw, self._most = raw, most
        self._until = time.monotonic() + seconds

    def stream(self, amount: int, decode_content: bool | None = None) -> Iterator[bytes]:
        """Pieces of the body."""
        left = self._most
        for piece in self._raw.stream(amount, decode_content=decode_content):
            left -= len(piece)
            if left < 0:
                self._raw.close()
                raise SDMADError(f"the server's answer is longer than {self._most:,} bytes")
            if time.monotonic() > self._until:
                self._raw.close()
                raise SDMADError("the server's answer takes too long")
            yield piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)
