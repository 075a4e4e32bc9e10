"""A server that is killed while readers read: what was answered is there when it starts again."""

import threading

import httpx

from tests.serve.server import running

API = "/api/v1"
READERS, BEFORE = 4, 25


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
