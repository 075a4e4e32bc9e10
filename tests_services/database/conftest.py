"""A PostgreSQL of the tests' own, on loopback, and databases in it."""

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from tests.serve.conftest import app, browser, client, folder, house, judge  # noqa: F401
from tests.serve.conftest import make_app as make_app_on_a_file  # noqa: F401

DEBIAN = Path("/usr/lib/postgresql")
OWNER, ROLE, PASSWORD = "postgres", "sdmad", "p@ss/word:% of the tests"
PATIENCE = 60
CREATE = "CREATE DATABASE {name} OWNER {role} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
LETTERS = " LOCALE_PROVIDER icu ICU_LOCALE 'en'"
"""An order of letters that is not that of their codes, as on most machines."""


class Cluster:
    """A PostgreSQL that can be stopped and started; its data lie in a folder."""

    def __init__(self, programs, place, port, user):
        self.programs, self.place, self.port = programs, place, port
        self.user = user
        self.numbers = itertools.count()

    def run(self, program, *words):
        done = subprocess.run(
            [self.programs / program, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.place,
            timeout=PATIENCE,
            **self.user,
        )
        assert done.returncode == 0, done.stdout

    def make(self):
        secret = self.place / "secret"
        secret.write_text(PASSWORD)
        self.run(
            *("initdb", "--pgdata", self.place / "data", "--username", OWNER, "--no-sync"),
            *("--auth", "scram-sha-256", "--pwfile", secret, "--no-locale", "--encoding", "UTF8"),
        )
        with (self.place / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nfsync = off\n"
                "unix_socket_directories = ''\nsynchronous_commit = off\n"
            )

    def start(self):
        log = self.place / "log"
        self.run("pg_ctl", "start", "--wait", "--pgdata", self.place / "data", "--log", log)

    def stop(self, mode="fast"):
        self.run("pg_ctl", "stop", "--mode", mode, "--pgdata", self.place / "data")

    def ask(self, statement, database="postgres"):
        """What a database answers its owner, outside of a transaction."""
        words = {"host": "127.0.0.1", "port": self.port, "user": OWNER, "password": PASSWORD}
        with psycopg.connect(dbname=database, autocommit=True, **words) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def database(self, encoding="UTF8"):
        """The URL of an empty database that belongs to an ordinary role."""
        name = f"readings_{next(self.numbers)}"
        made = CREATE.format(name=name, role=ROLE, encoding=encoding)
        self.ask(made + (LETTERS if encoding == "UTF8" else ""))
        return self.url(name)

    def url(self, name, password="p%40ss%2Fword%3A%25%20of%20the%20tests"):
        return f"postgresql://{ROLE}:{password}@127.0.0.1:{self.port}/{name}"


def _programs():
    """The folder of PostgreSQL's programs; that of the newest where Debian has several."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    several = [place.parent for place in DEBIAN.glob("*/bin/initdb")]
    if not several:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return max(several, key=lambda place: int(place.parent.name))


@pytest.fixture(scope="session")
def cluster(free_ports):
    programs = _programs()
    place = Path(tempfile.mkdtemp(prefix="sdmad-postgresql-"))
    user = {}
    if os.getuid() == 0:  # PostgreSQL refuses to be run by root
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(place, "postgres", "postgres")
    made = Cluster(programs, place, *free_ports(1), user)
    try:
        made.make()
        made.start()
        made.ask(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        yield made
    finally:
        if (place / "data" / "postmaster.pid").is_file():
            made.stop()
        shutil.rmtree(place)


@pytest.fixture
def database(cluster):
    """The URL of an empty database."""
    return cluster.database()


@pytest.fixture
def storage(database):
    from sdmad.serve.storage.engine import Storage

    opened = Storage(database)
    yield opened
    opened.close()


@pytest.fixture
def make_app(make_app_on_a_file, database):  # noqa: F811
    """As of the tests of the server, with PostgreSQL."""
    return lambda **settings: make_app_on_a_file(**{"database": database, **settings})
