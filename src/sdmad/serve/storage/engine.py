"""The database: SQLite in a file, or another by its URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from sdmad.errors import InputError
from sdmad.serve.storage.migrating import migrate

WAIT = 30
"""Seconds that a writer waits for another one."""

CONNECTIONS = 64
"""To a file that are kept open: many readers at once would else open and close one a request."""

_PRAGMAS = (
    "journal_mode=WAL",  # readers do not wait for a writer
    "synchronous=FULL",  # what was committed outlives a crash of the machine too
    "foreign_keys=ON",
    f"busy_timeout={WAIT * 1000}",
)


class Storage:
    """An open database whose tables are up to date.

    Args:
        url: of SQLAlchemy.

    Raises:
        InputError: if it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._turn = threading.Lock()
        self._writer = self.engine.execution_options(writes=True)
        try:
            with self._writer.begin() as connection:
                migrate(connection)
        except DBAPIError as error:
            self.engine.dispose()
            raise InputError(
                f"{shown(url)}: this database cannot be opened or brought up to date "
                f"({error.orig}); give another with --database"
            ) from error

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that writes alone; what it did is on the disk when the block is left.

        Writers of this process take turns here: the database itself would have them try again and
        again. A block must not begin another.
        """
        with self._turn, Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def look_around(self) -> None:
        """Have the database count what its tables hold, so that it walks along the right index."""
        if self.engine.dialect.name in ("sqlite", "postgresql"):
            with self.writing() as session:
                session.execute(text("ANALYZE"))
            self.engine.dispose()  # open connections know nothing of it

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def shown(url: str) -> str:
    """A database's URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the database"


def database_file(url: str) -> Path | None:
    """The file that a database is in; None of one that is in none, or of no URL.

    >>> database_file("sqlite:////data/a.sqlite")
    PosixPath('/data/a.sqlite')
    >>> database_file("sqlite://"), database_file("postgresql://host/name"), database_file("x")
    (None, None, None)
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        return None
    file = parts.database if parts.get_backend_name() == "sqlite" else None
    return None if not file or file == ":memory:" or file.startswith("file:") else Path(file)


def _engine(url: str) -> Engine:
    try:
        local = url.startswith("sqlite")
        kept = {"pool_size": CONNECTIONS} if database_file(url) is not None else {}
        engine = create_engine(url, pool_pre_ping=not local, **kept)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise InputError(
            f"--database: no database can be reached by this URL ({error}); "
            "write sqlite:////path/of/a/file.sqlite, or install the other database's driver"
        ) from error
    if engine.dialect.name == "sqlite":
        _make_private(url)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _make_private(url: str) -> None:
    """Nobody else on this machine may read the file, where the system can hold that."""
    file = database_file(url)
    if file is None:
        return
    try:
        file.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{file}: the server's database cannot be written ({error.strerror}); "
            "give another place with --database sqlite:////path/of/a/file.sqlite"
        ) from error


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
