"""The database: SQLite in a file, or PostgreSQL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.orm import Session

from sdmad.errors import InputError, SDMADError
from sdmad.serve.storage.address import checked_address, database_file, shown
from sdmad.serve.storage.migrating import migrate
from sdmad.serve.storage.tables import Base

WAIT = 30
"""Seconds that a writer waits for another one."""

IDLE = 120
"""Seconds after which PostgreSQL ends a transaction in which nothing is done: it may be that of a
server that has stopped, and holds up the others."""

CONNECTIONS = 64
"""To a file that are kept open: many readers at once would else open and close one a request."""

SHARED_CONNECTIONS = 20
"""To PostgreSQL, at most: it has 100 as Debian sets it up, for everybody."""

WRITERS = 0x73646D6164
"""The advisory lock of PostgreSQL that a writer holds."""

_PRAGMAS = (
    "journal_mode=WAL",  # readers do not wait for a writer
    "synchronous=FULL",  # what was committed outlives a crash of the machine too
    "foreign_keys=ON",
    f"busy_timeout={WAIT * 1000}",
)

_SETTINGS = f"""SELECT
    set_config('lock_timeout', '{WAIT}s', false),
    set_config('idle_in_transaction_session_timeout', '{IDLE}s', false),
    CASE current_setting('synchronous_commit')
        WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"""

_log = logging.getLogger(__name__)


class AwayError(SDMADError):
    """A database that does not answer now, or that somebody else is writing to for too long."""


class Storage:
    """An open database whose tables are up to date.

    Args:
        url: of SQLAlchemy.

    Raises:
        InputError: if it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        address = checked_address(url)
        self._turn = threading.Lock()
        self.engine, self._reader, self._writer = _engines(address)
        try:
            with self._writer.begin() as connection:
                _check_encoding(connection)
                migrate(connection)
        except DBAPIError as error:
            self.close()
            raise InputError(
                f"{shown(address)}: this database cannot be opened or brought up to date "
                f"({_in_a_line(error)}); give another with --database"
            ) from None
        except InputError as error:
            self.close()
            raise InputError(f"{shown(address)}: {error}") from None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database.

        Raises:
            AwayError: if the database does not answer.
        """
        with _answering(), Session(self._reader) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that writes alone; what it did is on the disk when the block is left.

        Writers of this process take turns here: the database itself would have them try again and
        again. It holds off those of other processes. A block must not begin another.

        Raises:
            AwayError: if the database does not answer; the block may not have been kept.
        """
        with (
            _answering(),
            self._turn,
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def look_around(self) -> None:
        """Have the database count what its tables hold, so that it walks along the right index."""
        with self.writing() as session:
            for table in Base.metadata.tables:
                session.execute(text(f"ANALYZE {table}"))
        self.engine.dispose()  # open connections know nothing of it

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, NoConnectionError) as error:
        _log.warning("the database: %s", _in_a_line(error))
        raise AwayError(
            "the database does not answer; what was not confirmed may not be kept: ask again in a "
            "moment"
        ) from None


def _engines(address: URL) -> tuple[Engine, Engine, Engine]:
    """An engine, and the same for those who read and those who write."""
    if address.get_backend_name() == "sqlite":
        return _of_sqlite(address)
    return _of_postgresql(address)


def _of_sqlite(address: URL) -> tuple[Engine, Engine, Engine]:
    file = database_file(str(address))
    if file is not None:
        _make_private(file)
    kept = {} if file is None else {"pool_size": CONNECTIONS}
    engine = create_engine(address, hide_parameters=True, **kept)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine, engine, engine.execution_options(writes=True)


def _of_postgresql(address: URL) -> tuple[Engine, Engine, Engine]:
    patience = {} if "connect_timeout" in address.query else {"connect_timeout": WAIT}
    engine = create_engine(
        address,
        hide_parameters=True,  # they hold paths, which errors must not
        pool_pre_ping=True,
        pool_size=SHARED_CONNECTIONS,
        max_overflow=0,
        connect_args={"client_encoding": "utf8", **patience},
    )
    event.listen(engine, "connect", _prepare_postgresql)
    event.listen(engine, "begin", _begin_postgresql)
    # A writer must see what those before it wrote, whatever level the database itself is set to.
    return (
        engine,
        engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        engine.execution_options(isolation_level="READ COMMITTED", writes=True),
    )


def _make_private(file: Path) -> None:
    """Nobody else on this machine may read the file, where the system can hold that."""
    try:
        file.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{file}: the server's database cannot be written ({error.strerror}); "
            "give another place with --database sqlite:////path/of/a/file.sqlite"
        ) from error


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_postgresql(connection: Any, _: Any) -> None:
    connection.autocommit = True
    connection.execute(_SETTINGS).close()
    connection.autocommit = False


def _begin_postgresql(connection: Connection) -> None:
    """Have writers of all processes take turns, as SQLite has them."""
    if connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")


def _check_encoding(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise InputError(
            f"this database holds text as {encoding}, which not every name can be written in; make "
            "one with createdb --encoding UTF8 --template template0"
        )


def _in_a_line(error: DBAPIError | NoConnectionError) -> str:
    """What the driver says, without the statement."""
    return " ".join(str(getattr(error, "orig", error)).split())
