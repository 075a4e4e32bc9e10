"""Where the database is: a file of SQLite, or PostgreSQL by its URL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sdmad.errors import InputError
from sdmad.export.runtime import require

DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""The drivers that are used, by what a URL may begin with."""

SECRET = ("password", "sslpassword", "passfile")
"""Settings behind a URL's ``?`` that are nobody's to read."""

HOW = (
    "write sqlite:////path/of/a/file.sqlite, or postgresql://user@host/database with the password "
    "in ~/.pgpass"
)


def checked_address(url: str) -> URL:
    """A database's URL, with the driver that is used.

    Raises:
        InputError: if it is none of SQLite or PostgreSQL, or the driver is missing. The URL is not
            quoted, for its password cannot always be told from the rest.
    """
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        raise InputError(f"--database: no database can be reached by this URL; {HOW}") from None
    if "@" in f"{parts.host}{parts.database}" and parts.get_backend_name() != "sqlite":
        raise InputError(
            "--database: this URL has more than one @; in a user's name or a password write %40 "
            "for it"
        )
    driver = DRIVERS.get(parts.drivername)
    if driver is None:
        raise InputError(
            f"--database: {parts.drivername} is no database that readings can be kept in; {HOW}"
        )
    if parts.get_backend_name() == "postgresql":
        require("postgres", "psycopg")
    return parts.set(drivername=driver)


def shown(address: URL) -> str:
    """A database's URL without its passwords.

    >>> shown(make_url("postgresql://ann:secret@host/name?sslpassword=other"))
    'postgresql://ann:***@host/name'
    """
    plain = address.set(drivername=address.get_backend_name()).difference_update_query(SECRET)
    return plain.render_as_string(hide_password=True)


def database_file(url: str) -> Path | None:
    """The file that a database is in; None of one that is in none, or of no URL.

    >>> database_file("sqlite:////data/a.sqlite")
    PosixPath('/data/a.sqlite')
    >>> database_file("sqlite://"), database_file("postgresql://host/name"), database_file("x")
    (None, None, None)
    """
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return None
    file = parts.database if parts.get_backend_name() == "sqlite" else None
    return None if not file or file == ":memory:" or file.startswith("file:") else Path(file)
