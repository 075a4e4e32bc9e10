"""Reader studies through the REST interface: blind, in turn, kept, counted."""

import csv
import io

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from sdmad.serve.reader_study import showings

NOBODY = {"Ring": 0, "Bar": 0, "Dots": 0}


@pytest.fixture
def table(folder):
    """Two images with a ring and two normal ones."""
    path = folder / "labels.csv"
    rows = ["file,labels", "0.png,Ring", "1.png,Ring|Bar", "2.png,normal", "3.png,normal"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def app(make_app, table):
    return make_app(table=table)


@pytest.fixture
def judged(judge):
    judge(image_1=0.9, image_2=0.8, image_3=0.2, image_4=0.1)


def answered(client, study, say):
    """Read a whole study; what was shown."""
    shown = []
    while not (comes := client.get(f"/api/v1/studies/{study}/next").json())["done"]:
        shown.append((comes["image"], comes["with_findings"]))
        said = {
            "image": comes["image"],
            "with_findings": comes["with_findings"],
            "answers": say(comes["image"], comes["with_findings"]),
            "seconds": 6 if comes["with_findings"] else 10,
        }
        found = client.post(f"/api/v1/studies/{study}/answers", json=said)
        assert found.status_code == 201, found.text
        assert found.json()["done"] == len(shown)
    return shown


def test_a_study_from_its_start_to_its_results(client, judged, house):
    started = client.post("/api/v1/studies", json={"name": "first", "images": 4, "seed": 5})
    assert started.status_code == 201, started.text
    study = started.json()
    assert (study["done"], study["total"]) == (0, 8)
    assert study["categories"] == ["Ring", "Bar", "Dots"]

    def say(image, helped):
        # Without findings the second ring is put below a normal image, with them above both.
        ring = {1: 80, 2: 70 if helped else 30, 3: 50, 4: 10}[image]
        return {**NOBODY, "Ring": ring}

    shown = answered(client, study["id"], say)
    reader = client.get("/api/v1/me").json()["reader"]
    order = showings([1, 2, 3, 4], 5, reader)
    assert shown == [(one.image, one.with_findings) for one in order]
    found = client.get(f"/api/v1/studies/{study['id']}/results").json()
    (ring,) = [row for row in found["accuracy"] if row["category"] == "Ring"]
    assert ring["without"]["value"] == pytest.approx(0.75)
    assert ring["with_findings"]["value"] == pytest.approx(1)
    assert ring["difference"]["value"] == pytest.approx(0.25)
    (time,) = found["time"]
    assert (time["without"], time["with_findings"]) == (10, 6)
    assert time["difference"]["value"] == -4
    rows = list(
        csv.DictReader(io.StringIO(client.get(f"/api/v1/studies/{study['id']}/results.csv").text))
    )
    assert len(rows) == 8 * 3
    assert sum(row["category"] == "Ring" and row["label"] == "1.0" for row in rows) == 4
    (listed,) = client.get("/api/v1/studies").json()
    assert (listed["done"], listed["total"]) == (8, 8)
    with pytest.raises(DatabaseError, match="only ever added"), house.storage.writing() as session:
        session.execute(text("DELETE FROM study_answers"))


def test_answers_come_in_turn_once_and_whole(client, judged):
    number = client.post("/api/v1/studies", json={"name": "x", "images": 2}).json()["id"]
    place = f"/api/v1/studies/{number}"
    comes = client.get(f"{place}/next").json()
    said = {"image": comes["image"], "with_findings": comes["with_findings"], "seconds": 1}
    wrong = {**said, "with_findings": not comes["with_findings"], "answers": NOBODY}
    assert client.post(f"{place}/answers", json=wrong).status_code == 409
    missing = client.post(f"{place}/answers", json={**said, "answers": {"Ring": 1}})
    assert (missing.status_code, "Bar" in missing.json()["error"]) == (422, True)
    for bad in (101, -1, "x", None):
        asked = {**said, "answers": {**NOBODY, "Ring": bad}}
        assert client.post(f"{place}/answers", json=asked).status_code == 422
    good = {**said, "answers": NOBODY}
    assert client.post(f"{place}/answers", json=good).status_code == 201
    assert client.post(f"{place}/answers", json=good).status_code == 409


def test_what_cannot_be_studied_is_told(client, judge):
    asked = {"name": "x", "images": 3}
    none = client.post("/api/v1/studies", json=asked)
    assert (none.status_code, "0 now" in none.json()["error"]) == (422, True)
    judge(image_1=0.9, image_2=0.8)
    assert client.post("/api/v1/studies", json=asked).status_code == 422
    assert client.post("/api/v1/studies", json={**asked, "images": 1}).status_code == 422
    for path in ("next", "results", "results.csv"):
        assert client.get(f"/api/v1/studies/7/{path}").status_code == 404


def test_before_anybody_has_read_the_results_say_so(client, judged):
    number = client.post("/api/v1/studies", json={"name": "x", "images": 2}).json()["id"]
    found = client.get(f"/api/v1/studies/{number}/results").json()
    assert found["accuracy"] == found["kappa"] == found["time"] == []
    assert "both ways" in found["notes"][0]
