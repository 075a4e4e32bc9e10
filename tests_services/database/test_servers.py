"""Servers on one PostgreSQL: what they make of it, together, and when it goes away."""

import threading
from contextlib import ExitStack

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sdmad.errors import InputError
from sdmad.serve.storage import images
from sdmad.serve.storage.engine import Storage
from sdmad.serve.storage.images import Listed, Wanted
from sdmad.serve.storage.tables import Base
from tests.serve.server import running
from tests_services.database.conftest import PASSWORD

API = "/api/v1"
READERS, EACH = 3, 20
NAMES = ("b.png", "A.png", "Ä.png", "a.png", "Z.png", "50%_.png", "ä/1.png", "_.png")


def test_the_migrations_make_the_tables_that_the_code_knows(storage):
    with storage.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


@pytest.mark.parametrize("table", ["readings", "undos", "events", "study_answers"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_rows_are_only_ever_added(storage, table, change):
    with pytest.raises(DBAPIError, match="only ever added"), storage.writing() as session:
        session.execute(text(change.format(table)))


def test_an_answered_reading_is_on_the_disk_whatever_the_server_is_set_to(storage, cluster):
    assert cluster.ask("SHOW synchronous_commit") == [("off",)]
    with storage.writing() as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "on"


def test_names_are_ordered_and_found_as_in_a_file(storage):
    wanted = Wanted("made-up", "name")
    with storage.writing() as session:
        images.register(session, [Listed(f"/{name}", name) for name in NAMES])
        images.expect(session, "made-up")
    with storage.reading() as session:
        listed = [(image.id, image.name) for image, _ in images.page(session, wanted, 0, 100)]
        assert [name for _, name in listed] == sorted(NAMES)
        for place, (number, _) in enumerate(listed[1:-1], 1):
            item = images.one(session, number, "made-up")
            around = (listed[place - 1][0], listed[place + 1][0])
            assert images.neighbours(session, wanted, item) == around
        for held, expected in (("a.p", 2), ("Ä", 1), ("%_", 1), ("_", 2), ("/", 1), ("%", 1)):
            found = images.page(session, Wanted("made-up", "name", text=held), 0, 100)
            assert len(found) == expected, held


def test_a_database_that_cannot_hold_every_name_is_refused(cluster):
    with pytest.raises(InputError, match=r"SQL_ASCII.*createdb --encoding UTF8"):
        Storage(cluster.database("SQL_ASCII"))


def test_a_refused_password_is_not_told(cluster, database, caplog):
    wrong = cluster.url(database.rpartition("/")[2], "wrong%20words")
    with pytest.raises(InputError, match="password authentication failed") as refused:
        Storage(wrong)
    told = f"{refused.value}{refused.value.__cause__}{caplog.text}"
    assert "sdmad:***@127.0.0.1" in told
    assert not any(secret in told for secret in ("wrong", "words", PASSWORD))


def test_two_servers_that_start_at_once_lose_no_reading(folder, database, tmp_path):
    logs = [tmp_path / "first.txt", tmp_path / "second.txt"]
    answered, lock = {}, threading.Lock()
    with ExitStack() as end:
        several = [None, None]

        def start(i):
            several[i] = end.enter_context(running(folder, logs[i], database))

        _together([lambda i=i: start(i) for i in range(2)])

        def read(server, number):
            with _program(server) as client:
                for count in range(EACH):
                    # All of the same image, whose state each of them settles.
                    said = {"category": "Ring", "verdict": "accept", "note": f"{number}, {count}"}
                    row = client.post(f"{API}/images/1/readings", json=said)
                    assert row.status_code == 201, row.text
                    with lock:
                        answered[row.json()["id"]] = said["note"]
                    if count % 2:
                        undone = client.post(f"{API}/readings/{row.json()['id']}/undo")
                        assert undone.status_code == 200, undone.text

        faults = _together(
            [lambda i=i: read(several[i % 2], i) for i in range(2 * READERS)], check=False
        )
        assert faults == []
        for server in several:
            with _program(server) as client:
                rows = client.get(f"{API}/images/1/readings").json()
                assert {row["id"]: row["note"] for row in rows} == answered
                assert sum(row["undone"] for row in rows) == len(rows) // 2
                assert client.get(f"{API}/images/1").json()["state"] == "read"
                log = client.get(f"{API}/events", params={"most": 10_000}).json()
                told = [(row["what"], row["about"]) for row in log]
                assert sorted(int(a) for what, a in told if what == "reading") == sorted(answered)
                assert [row["id"] for row in log] == sorted((r["id"] for r in log), reverse=True)
        several[0][0].kill()  # the other goes on
        with _program(several[1]) as client:
            last = client.post(f"{API}/images/2/readings", json={"verdict": "normal"})
            assert last.status_code == 201
    assert len(answered) == 2 * READERS * EACH
    for log in logs:
        assert "Traceback" not in log.read_text()
        assert PASSWORD not in log.read_text()


def test_two_that_undo_at_once_are_told_apart(folder, database, tmp_path):
    with ExitStack() as end:
        several = [
            end.enter_context(running(folder, tmp_path / f"{i}.txt", database)) for i in range(2)
        ]
        with _program(several[0]) as one, _program(several[1]) as other:
            for _ in range(10):
                row = one.post(f"{API}/images/1/readings", json={"verdict": "normal"}).json()
                place = f"{API}/readings/{row['id']}/undo"
                found = _answers((one, other), place)
                assert sorted(answer.status_code for answer in found) == [200, 409]


def test_a_database_that_goes_away_is_told_and_comes_back(folder, cluster, database, tmp_path):
    log = tmp_path / "log.txt"
    with running(folder, log, database) as server, _program(server) as client:
        kept = client.post(f"{API}/images/1/readings", json={"verdict": "normal"}).json()
        cluster.stop()
        try:
            said = client.post(f"{API}/images/2/readings", json={"verdict": "normal"})
            assert said.status_code == 503
            assert "the database does not answer" in said.json()["error"]
            assert client.get(f"{API}/images").status_code == 503
            assert httpx.get(f"{server[1]}/login").status_code in (200, 503)
        finally:
            cluster.start()
        assert client.get(f"{API}/images/1/readings").json() == [kept]
        assert client.post(f"{API}/images/2/readings", json={"verdict": "normal"}).is_success
    assert "Traceback" not in log.read_text()
    assert PASSWORD not in log.read_text()


def _program(server):
    """A program that knows a server's token."""
    _, place, token = server
    return httpx.Client(base_url=place, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def _answers(clients, place):
    """What several are answered who ask at once."""
    found = []
    _together([lambda client=client: found.append(client.post(place)) for client in clients])
    return found


def _together(works, check=True):
    """Do several things at once; gives what went wrong."""
    faults = []

    def run(work):
        try:
            work()
        except BaseException as error:  # told by the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not check or faults == []
    return faults
