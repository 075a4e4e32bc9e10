"""``sdmad serve`` on PostgreSQL as people start it: from an empty database, and after a kill."""

import csv
import io
import subprocess
import time
from contextlib import contextmanager

import httpx

from tests.conftest import (  # noqa: F401
    fitted,
    make_clip,
    make_data,
    model_folder,
    pictures,
    small_bank,
    tiny_backbone,
    tiny_clip,
)
from tests.serve.server import commanded
from tests_services.database.conftest import PASSWORD

API = "/api/v1"
WORDS = "four words or more"
PATIENCE = 300


def until(client, place, wanted):
    """An answer, once it is as wanted."""
    end = time.monotonic() + PATIENCE
    while not wanted(found := client.get(f"{API}{place}").json()):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def test_a_server_on_an_empty_database_is_as_it_was_after_a_kill(
    sdmad_command,
    model_folder,  # noqa: F811
    make_data,  # noqa: F811
    database,
    tmp_path,
):
    log, table = tmp_path / "log.txt", make_data(tmp_path / "data", 48, seed=8)
    subprocess.run(
        [*sdmad_command, "serve-account", "add", "ann", "--database", database],
        input=f"{WORDS}\n",
        check=True,
        text=True,
    )

    @contextmanager
    def opened():
        words = (model_folder, "--table", table, "--database", database)
        with commanded(log, *words) as (process, place, token):
            bearer = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=place, headers=bearer, timeout=PATIENCE) as client:
                yield process, client

    def kept(client):
        """What the next start must have again."""
        places = ("/images?sort=abnormal&size=200", "/images?sort=name&page=2&size=10")
        places += ("/images?category=Ring", "/images/1/readings", "/studies", "/studies/1/next")
        found = {place: client.get(f"{API}{place}").json() for place in places}
        for place in ("/labels.csv", "/studies/1/results.csv"):
            found[place] = client.get(f"{API}{place}").text
        found["refits"] = client.get(f"{API}/refits").json()
        return found

    with opened() as (process, client):
        until(client, "/health", lambda told: told["scoring"] == {"done": 48, "total": 48})
        listed = client.get(f"{API}/images?sort=abnormal&size=200").json()["items"]
        scores = [item["abnormal"] for item in listed]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 48
        said = {"category": "Ring", "verdict": "reject", "note": "nothing there"}
        first = client.post(f"{API}/images/1/readings", json=said).json()
        client.post(f"{API}/readings/{first['id']}/undo").raise_for_status()
        client.post(f"{API}/images/1/readings", json={"verdict": "unsure"}).raise_for_status()
        client.post(f"{API}/studies", json={"name": "blind", "images": 4}).raise_for_status()
        shown = client.get(f"{API}/studies/1/next").json()
        answer = {name: shown[name] for name in ("image", "with_findings")}
        answer |= {"answers": dict.fromkeys(("Ring", "Bar", "Dots"), 50), "seconds": 3}
        client.post(f"{API}/studies/1/answers", json=answer).raise_for_status()
        rows = list(csv.DictReader(io.StringIO(client.get(f"{API}/studies/1/results.csv").text)))
        assert {row["category"] for row in rows} == {"Ring", "Bar", "Dots"}
        client.post(f"{API}/refits", json={"shots": 4}).raise_for_status()
        refit = until(client, "/refits/1", lambda told: told["state"] in ("done", "failed"))
        assert refit["state"] == "done", refit["message"]
        with httpx.Client(base_url=client.base_url) as browser:
            ann = {"name": "ann", "password": WORDS}
            assert browser.post(f"{API}/login", json=ann).status_code == 200
            secret = next(iter(browser.cookies.values()))
            port = client.base_url.port
        events = client.get(f"{API}/events").json()
        state = kept(client)
        process.kill()
    with opened() as (_, client):
        assert kept(client) == state
        assert client.get(f"{API}/events", params={"most": 1000}).json()[-len(events) :] == events
        told = {(row["what"], row["about"]) for row in events}
        assert {("account added", "ann"), ("refit", "1"), ("study", "1")} <= told
        name = f"sdmad-session-{client.base_url.port}"
        assert port != client.base_url.port
        with httpx.Client(base_url=client.base_url, cookies={name: secret}) as browser:
            assert browser.get(f"{API}/me").json()["reader"] == "ann"
    # Beside the table: the refits alone, no database.
    made = [path.name for path in tmp_path.rglob("*sdmad-serve*")]
    assert made == ["labels.csv.sdmad-serve-refits"]
    assert "Traceback" not in log.read_text()
    assert PASSWORD not in log.read_text()
