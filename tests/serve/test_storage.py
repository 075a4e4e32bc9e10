"""The database: tables as the code knows them, private, durable."""

import stat
import sys
from contextlib import ExitStack

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, text
from sqlalchemy.engine import make_url

from sdmad.errors import InputError
from sdmad.serve.storage.address import checked_address, shown
from sdmad.serve.storage.engine import Storage
from sdmad.serve.storage.tables import Base


def test_the_migrations_make_the_tables_that_the_code_knows(storage):
    with storage.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_commit_is_on_the_disk_and_readers_do_not_wait(storage, tmp_path):
    with storage.reading() as session:
        settings = {p: session.scalar(text(f"PRAGMA {p}")) for p in ("journal_mode", "synchronous")}
    assert settings == {"journal_mode": "wal", "synchronous": 2}  # 2 is FULL
    assert stat.S_IMODE((tmp_path / "a.sqlite").stat().st_mode) == 0o600


def test_a_database_of_a_later_version_is_refused(storage, tmp_path):
    with storage.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match="later version"):
        Storage(f"sqlite:///{tmp_path / 'a.sqlite'}")


def test_what_is_no_database_is_refused_in_words(tmp_path):
    (tmp_path / "b.sqlite").write_text("no database, but text of some length " * 50)
    with pytest.raises(InputError, match="cannot be opened"):
        Storage(f"sqlite:///{tmp_path / 'b.sqlite'}")
    with pytest.raises(InputError, match="cannot be written"):
        Storage(f"sqlite:///{tmp_path / 'nowhere' / 'b.sqlite'}")
    with pytest.raises(InputError, match="no database can be reached"):
        Storage("nonsense")


def test_passwords_are_not_shown():
    url = "postgresql://someone:secret@host/base?sslpassword=hidden&application_name=told"
    assert shown(make_url(url)) == "postgresql://someone:***@host/base?application_name=told"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://someone:se@cret@host/base", "more than one @"),
        ("postgresql://someone:se@cr/et@host/base", "more than one @"),
        ("postgresql://someone:secret@host:cret/base", "no database can be reached by this URL"),
        ("someone:secret@host/base", "no database can be reached by this URL"),
        ("mysql://someone:secret@host/base", "mysql is no database that readings can be kept in"),
        ("postgresql+asyncpg://someone:secret@host/base", "asyncpg is no database"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url, why):
    with pytest.raises(InputError, match=why) as refused:
        checked_address(url)
    assert "cret" not in str(refused.value)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install 'sdmad\[postgres\]'"):
        checked_address("postgresql://host/base")


def test_many_readers_at_once_each_have_a_connection_and_it_is_kept(storage):
    opened = []
    event.listen(storage.engine, "connect", lambda *_: opened.append(1))
    storage.engine.dispose()
    for _ in range(2):
        with ExitStack() as end:
            for _ in range(50):
                session = end.enter_context(storage.reading())
                assert session.scalar(text("SELECT 1")) == 1
    assert len(opened) == 50
