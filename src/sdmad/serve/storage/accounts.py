"""Accounts, sign-ins of browsers and tokens of programs."""

from __future__ import annotations

import re
import threading
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from sdmad.errors import InputError
from sdmad.serve.secret import digest, new_secret
from sdmad.serve.storage.tables import AccountRow, SessionRow, now

LEAST_PASSWORD, MOST_PASSWORD = 12, 1024
_NAME = re.compile(r"\w[\w.@ -]{0,62}")
_hasher = PasswordHasher()  # argon2id, by the costs of RFC 9106's second choice
_NOBODY = _hasher.hash(new_secret())
"""What the password of an account that is not there is compared with, in the same time."""

_few = threading.BoundedSemaphore(2)
"""Each hash takes 64 MiB; a flood of sign-ins must not take them many times over."""


def add(session: Session, name: str, password: str, role: str) -> None:
    """Add an account.

    Raises:
        InputError: if there is one of this name, or name or password cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r}: a reader's name has 1 to 63 letters, digits, spaces and . _ @ -"
        )
    if session.get(AccountRow, name) is not None:
        raise InputError(f"{name}: there is such an account; change its password, or remove it")
    session.add(AccountRow(name=name, password=_hashed(password), role=role, created=now()))


def change_password(session: Session, name: str, password: str) -> None:
    """Set another password; all sign-ins end.

    Raises:
        InputError: if there is no such account or the password cannot be used.
    """
    _account(session, name).password = _hashed(password)
    _end_sessions(session, name)


def remove(session: Session, name: str) -> None:
    """Remove an account; its sign-ins end, its readings stay.

    Raises:
        InputError: if there is no such account.
    """
    account = _account(session, name)
    _end_sessions(session, name)
    session.delete(account)


def all_of_them(session: Session) -> list[AccountRow]:
    """Every account, by name."""
    return list(session.scalars(select(AccountRow).order_by(AccountRow.name)))


def any_is_there(session: Session) -> bool:
    """Whether there is an account."""
    return bool(session.scalar(select(func.count()).select_from(AccountRow)))


def checked(session: Session, name: str, password: str) -> AccountRow | None:
    """The account of this name and password; None, after as long a time, where there is none."""
    account = session.get(AccountRow, name)
    try:
        with _few:
            known = _NOBODY if account is None else account.password
            _hasher.verify(known, password[:MOST_PASSWORD])
    except (VerificationError, InvalidHashError):
        return None
    return account


def unchanged(session: Session, account: AccountRow) -> AccountRow | None:
    """The account as it is now; None where it was removed, or its password changed, meanwhile."""
    now_there = session.get(AccountRow, account.name)
    same = now_there is not None and now_there.password == account.password
    return now_there if same else None


def sign_in(session: Session, account: str, seconds: int) -> tuple[str, SessionRow]:
    """Begin a browser's session; the secret is known to nobody else."""
    session.execute(delete(SessionRow).where(SessionRow.expires < now()))
    secret = new_secret()
    row = SessionRow(
        digest=digest(secret),
        account=account,
        csrf=new_secret(),
        expires=now() + timedelta(seconds=seconds),
    )
    session.add(row)
    return secret, row


def new_token(session: Session, name: str) -> str:
    """A token for a program that acts for an account, until the account's password changes.

    Raises:
        InputError: if there is no such account.
    """
    secret = new_secret()
    session.add(SessionRow(digest=digest(secret), account=_account(session, name).name, csrf=""))
    return secret


def sign_out(session: Session, secret: str) -> None:
    """End the session of a secret."""
    session.execute(delete(SessionRow).where(SessionRow.digest == digest(secret)))


def known(session: Session, secret: str, token: bool) -> tuple[SessionRow, AccountRow] | None:
    """Whose session or token a secret is; None of one that has ended or never was.

    Args:
        session: of the database.
        secret: that the client shows.
        token: whether it is to be a program's.
    """
    kind = SessionRow.expires.is_(None) if token else SessionRow.expires.is_not(None)
    query = (
        select(SessionRow, AccountRow)
        .join(AccountRow, AccountRow.name == SessionRow.account)
        .where(
            SessionRow.digest == digest(secret),
            kind,
            or_(SessionRow.expires.is_(None), SessionRow.expires > now()),
        )
    )
    found = session.execute(query).one_or_none()
    return None if found is None else (found[0], found[1])


def _account(session: Session, name: str) -> AccountRow:
    account = session.get(AccountRow, name)
    if account is None:
        raise InputError(f"{name}: there is no such account")
    return account


def _end_sessions(session: Session, name: str) -> None:
    session.execute(delete(SessionRow).where(SessionRow.account == name))


def _hashed(password: str) -> str:
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise InputError(
            f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters; "
            "several words that do not belong together are easy to remember"
        )
    return _hasher.hash(password)
