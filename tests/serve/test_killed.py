"""A server that is killed as it reads or refits: what was answered is there at the next start."""

import threading
import time

import httpx

from tests.serve.server import commanded, running

API = "/api/v1"
READERS, BEFORE = 4, 25
PATIENCE = 300


def test_every_reading_that_was_answered_outlives_a_kill(folder, tmp_path):
    log = tmp_path / "log.txt"
    answered: list[tuple[int, str]] = []
    enough = threading.Event()

    def read(place, headers, number):
        with httpx.Client(base_url=place, headers=headers) as client:
            for count in range(100_000):
                note = f"{number}, {count}"
                said = {"category": "Ring", "verdict": "accept", "note": note}
                try:
                    answer = client.post(f"{API}/images/{number}/readings", json=said)
                except httpx.HTTPError:  # it is dead
                    return
                assert answer.status_code == 201
                answered.append((answer.json()["id"], note))
                if len(answered) >= BEFORE:
                    enough.set()

    with running(folder, log) as (process, place, token):
        headers = {"Authorization": f"Bearer {token}"}
        threads = [
            threading.Thread(target=read, args=(place, headers, number + 1), daemon=True)
            for number in range(READERS)
        ]
        for thread in threads:
            thread.start()
        assert enough.wait(120), log.read_text()
        process.kill()
        for thread in threads:
            thread.join(60)
    with running(folder, log) as (_, place, token):
        headers = {"Authorization": f"Bearer {token}"}
        kept = {}
        with httpx.Client(base_url=place, headers=headers) as client:
            for number in range(1, READERS + 1):
                for row in client.get(f"{API}/images/{number}/readings").json():
                    kept[row["id"]] = row["note"]
            assert client.get(f"{API}/images").json()["counts"]["read"] == READERS
    assert len(answered) >= BEFORE
    assert set(answered) <= set(kept.items())
    assert len(kept) - len(answered) <= READERS  # at most one of each was under way
    assert "Traceback" not in log.read_text()
    assert token not in log.read_text()


def until(client, number, wanted):
    """A refit, once it is as wanted."""
    end = time.monotonic() + PATIENCE
    while not wanted(found := client.get(f"{API}/refits/{number}").json()):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def test_a_kill_while_a_refit_is_under_way_loses_nothing(model_folder, make_data, tmp_path):
    log, table = tmp_path / "log.txt", make_data(tmp_path / "data", 48, seed=8)
    words = (log, model_folder, "--table", table)
    answered = {}

    def read(client):
        place = f"{API}/images/{len(answered) + 1}/readings"
        answer = client.post(place, json={"verdict": "unsure", "note": f"{len(answered)}"})
        assert answer.status_code == 201
        answered[answer.json()["id"]] = answer.json()["note"]

    with commanded(*words) as (process, place, token):
        bearer = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=place, headers=bearer, timeout=PATIENCE) as client:
            (before,) = client.get(f"{API}/models").json()
            read(client)
            number = client.post(f"{API}/refits", json={"shots": 4}).json()["id"]
            until(client, number, lambda refit: refit["state"] == "running" and refit["step"] > 0)
            read(client)
            process.kill()
    with commanded(*words) as (_, place, token):
        bearer = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=place, headers=bearer, timeout=PATIENCE) as client:
            kept = {}
            for image in range(1, len(answered) + 1):
                rows = client.get(f"{API}/images/{image}/readings").json()
                kept |= {row["id"]: row["note"] for row in rows}
            assert kept == answered
            refit = client.get(f"{API}/refits/{number}").json()
            assert (refit["state"], refit["model"]) == ("failed", None)
            assert refit["message"].startswith("interrupted: the server ended while")
            assert client.get(f"{API}/models").json() == [before]
            again = client.post(f"{API}/refits", json={"shots": 4}).json()["id"]
            done = until(client, again, lambda refit: refit["state"] in ("done", "failed"))
            assert (again, done["state"]) == (number + 1, "done"), done["message"]
            assert client.get(f"{API}/models").json() == [before]
    assert "Traceback" not in log.read_text()
