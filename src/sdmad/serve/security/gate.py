"""The gate before the application: who asks, from where, how often, and with what right.

- On this machine alone, the token of the printed address opens: as ``?token=`` of a page, which a
  cookie then stands for, or as ``Authorization: Bearer``. The Host header must name this machine,
  so that a foreign page whose name is pointed here (DNS rebinding) gets nothing.
- Accounts sign in at ``/login``; their programs show a token of their own.
- A change that a cookie alone would allow needs the header ``X-CSRF-Token`` too.
"""

from __future__ import annotations

import getpass
import hmac
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sdmad.choices import Role
from sdmad.serve.secret import StartToken, digest
from sdmad.serve.security.answers import refuse
from sdmad.serve.settings import is_loopback
from sdmad.serve.storage import accounts, events
from sdmad.serve.storage.engine import AwayError
from sdmad.serve.visitors import Visitor

if TYPE_CHECKING:
    from sdmad.serve.house import House

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN = frozenset({"/api/v1/health", "/api/v1/login", "/login", "/favicon.ico"})
"""Paths for everybody; so are the files below ``/static/``, which hold nobody's data."""

SIGN_IN = "/api/v1/login"
REQUIRED = "open the address that sdmad serve printed when it started, with its token, or sign in"


class Gate:
    """Lets in who may come in.

    Args:
        app: behind it.
        house: the server's parts.
    """

    def __init__(self, app: ASGIApp, house: House) -> None:
        self.app, self.house = app, house
        self.local = house.settings.local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            try:
                refusal = await self._refusal(scope)
            except AwayError as error:
                refusal = refuse(scope, 503, str(error), 2)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        elif scope["type"] != "lifespan":  # nothing here speaks websockets
            return
        await self.app(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Why a request goes no further; None of one that does, with its visitor settled."""
        headers = Headers(scope=scope)
        if self.local and not _names_this_machine(headers.get("host", "")):
            return refuse(scope, 421, "this server answers by the name of this machine alone")
        if b"token=" in scope["query_string"] and not scope["path"].startswith("/api/"):
            return await run_sync(self._first_visit, scope)
        visitor = await run_sync(self._visitor, scope, headers)
        client = client_of(scope)
        if wait := self.house.requests.wait(visitor.key if visitor else client):
            return refuse(scope, 429, "too many requests; ask again in a moment", wait)
        changes = scope["method"] not in SAFE
        if changes and "authorization" not in headers and not _same_site(headers):
            return refuse(scope, 403, "a page of another site may change nothing here")
        if scope["path"] in OPEN or scope["path"].startswith("/static/"):
            return None
        if visitor is None:
            return await run_sync(self._sign_in_first, scope)
        shown = headers.get("x-csrf-token", "")
        if changes and visitor.csrf and not _equal(shown, visitor.csrf):
            return refuse(scope, 403, "the header X-CSRF-Token must hold what /api/v1/me says")
        scope.setdefault("state", {})["visitor"] = visitor
        return None

    def _visitor(self, scope: Scope, headers: Headers) -> Visitor | None:
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            if self.local and self.house.token.matches(secret):
                return _of_start_token(scope, "")
            return self._of_account(scope, secret, token=True)
        cookies = cookies_of(headers)
        signed_in = cookies.get(session_cookie(scope))
        if signed_in and (visitor := self._of_account(scope, signed_in, token=False)):
            return visitor
        started = cookies.get(start_cookie(scope), "")
        if self.local and _equal(started, cookie_value(self.house.token)):
            return _of_start_token(scope, digest("csrf " + self.house.token.text))
        return None

    def _of_account(self, scope: Scope, secret: str, token: bool) -> Visitor | None:
        with self.house.storage.reading() as session:
            found = accounts.known(session, secret, token)
            if found is None:
                return None
            row, account = found
            role: Role = "admin" if account.role == "admin" else "reader"
            return Visitor(
                account.name, role, row.csrf, client_of(scope), f"account {account.name}"
            )

    def _first_visit(self, scope: Scope) -> Response:
        """Turn the token of the printed address into a cookie, and take it out of the address."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        shown = "".join(value for name, value in query if name == "token")
        if not self.local or not self.house.token.matches(shown):
            return self._wrong_token(scope)
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        place = "/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else "")
        answer = RedirectResponse(place, 303)
        set_cookie(answer, start_cookie(scope), cookie_value(self.house.token))
        return answer

    def _wrong_token(self, scope: Scope) -> Response:
        """Nobody guesses 256 bits: the limit keeps the log short, and never the owner out."""
        client = client_of(scope)
        if wait := self.house.sign_ins.wait(client):
            return refuse(scope, 429, "too many wrong tokens; wait a minute", wait)
        with self.house.storage.writing() as session:
            events.log(session, "", "wrong token", "", client)
        return refuse(scope, 401, "this token is not this server's: " + REQUIRED)

    def _sign_in_first(self, scope: Scope) -> Response:
        if not scope["path"].startswith("/api/"):
            with self.house.storage.reading() as session:
                if accounts.any_is_there(session):
                    return RedirectResponse("/login", 303)
        return refuse(scope, 401, REQUIRED)


def client_of(scope: Scope) -> str:
    """The address that a request came from."""
    return scope["client"][0] if scope.get("client") else ""


def session_cookie(scope: Scope) -> str:
    """Name of the cookie of a sign-in: servers on one machine share cookies, so by the port."""
    return f"sdmad-session-{_port(scope)}"


def start_cookie(scope: Scope) -> str:
    """Name of the cookie that the printed token becomes."""
    return f"sdmad-start-{_port(scope)}"


def cookie_value(token: StartToken) -> str:
    """What the cookie holds in the token's place: it cannot be shown as the token."""
    return digest("cookie " + token.text)


def set_cookie(answer: Response, name: str, value: str, seconds: int | None = None) -> None:
    """Have a browser keep a secret that its pages cannot read and other sites cannot use."""
    answer.set_cookie(name, value, max_age=seconds, path="/", httponly=True, samesite="strict")


def cookies_of(headers: Headers) -> dict[str, str]:
    """The cookies of a request, none where they cannot be read."""
    try:
        found = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in found.items()}


def _port(scope: Scope) -> int:
    server = scope.get("server")
    return (server[1] or 0) if server else 0


def _of_start_token(scope: Scope, csrf: str) -> Visitor:
    return Visitor(_this_user(), "admin", csrf, client_of(scope), "start token")


def _this_user() -> str:
    try:
        return getpass.getuser()[:64] or "reader"
    except (OSError, KeyError, ImportError):  # a system without such names
        return "reader"


def _equal(shown: str, known: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "replace"), known.encode())


def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


def _same_site(headers: Headers) -> bool:
    """Whether a browser says that a page of this server asks; programs say nothing."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
