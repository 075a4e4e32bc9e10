"""``/login``, ``/logout``, ``/me`` and the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response

from sdmad.serve.api import shapes
from sdmad.serve.api.shapes import refusals
from sdmad.serve.house import TheHouse
from sdmad.serve.security.gate import (
    client_of,
    cookies_of,
    session_cookie,
    set_cookie,
    start_cookie,
)
from sdmad.serve.storage import accounts, events
from sdmad.serve.visitors import TheVisitor

router = APIRouter(tags=["people"], responses=refusals())


@router.post("/login")
def login(house: TheHouse, request: Request, answer: Response, who: shapes.SignIn) -> shapes.Me:
    """Sign in: the answer sets a cookie."""
    client = client_of(request.scope)
    keys = (client, f"account {who.name}")
    if wait := max(house.sign_ins.blocked(key) for key in keys):
        raise HTTPException(
            429, "too many sign-ins that failed; wait a minute", {"Retry-After": str(wait)}
        )
    with house.storage.reading() as session:
        account = accounts.checked(session, who.name, who.password)
    with house.storage.writing() as session:
        account = account and accounts.unchanged(session, account)
        if account is None:
            for key in keys:
                house.sign_ins.wait(key)
            events.log(session, "", "sign-in failed", "", client)
        else:
            secret, row = accounts.sign_in(session, account.name, house.settings.limits.session)
            events.log(session, account.name, "sign-in", "", client)
    if account is None:
        raise HTTPException(401, "no account has this name and this password")
    set_cookie(answer, session_cookie(request.scope), secret, house.settings.limits.session)
    return shapes.Me(reader=account.name, role=account.role, csrf=row.csrf)  # type: ignore[arg-type]


@router.post("/logout", status_code=204)
def logout(house: TheHouse, visitor: TheVisitor, request: Request) -> Response:
    """End the session of this browser."""
    name = session_cookie(request.scope)
    secret = cookies_of(request.headers).get(name)
    with house.storage.writing() as session:
        if secret:
            accounts.sign_out(session, secret)
        events.log(session, visitor.reader, "sign-out", "", visitor.client)
    answer = Response(status_code=204)
    for cookie in (name, start_cookie(request.scope)):
        answer.delete_cookie(cookie, path="/", httponly=True, samesite="strict")
    return answer


@router.get("/me")
def me(visitor: TheVisitor) -> shapes.Me:
    """Who asks."""
    return shapes.Me(reader=visitor.reader, role=visitor.role, csrf=visitor.csrf)


@router.get("/events")
def log(
    house: TheHouse, visitor: TheVisitor, most: Annotated[int, Query(ge=1, le=10_000)] = 100
) -> list[shapes.Event]:
    """The last lines of the audit log, the newest first; for an admin."""
    if visitor.role != "admin":
        raise HTTPException(403, "the audit log is for an admin")
    with house.storage.reading() as session:
        return [shapes.Event.model_validate(row) for row in events.latest(session, most)]
