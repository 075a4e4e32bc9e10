"""Readings: kept, undone, and the labels that they make."""

import csv
import io

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sdmad.serve.storage import readings
from sdmad.serve.storage.tables import ReadingRow

API = "/api/v1"


def said(client, image, **reading):
    answer = client.post(f"{API}/images/{image}/readings", json=reading)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_reading_says_who_and_when(client):
    kept = said(client, 2, category="Ring", verdict="accept", note="left")
    assert kept["reader"] == client.get(f"{API}/me").json()["reader"]
    assert kept["at"].endswith("Z")
    assert client.get(f"{API}/images/2/readings").json() == [kept]
    assert client.get(f"{API}/images/2").json()["state"] == "read"


def test_an_undone_reading_is_kept_and_does_not_count(client):
    kept = said(client, 2, category="Ring", verdict="accept")
    undone = client.post(f"{API}/readings/{kept['id']}/undo")
    assert undone.json() == {**kept, "undone": True}
    assert client.get(f"{API}/images/2/readings").json() == [{**kept, "undone": True}]
    assert client.get(f"{API}/images/2").json()["state"] == "new"
    again = client.post(f"{API}/readings/{kept['id']}/undo")
    assert (again.status_code, again.json()["error"]) == (409, "reading 1 was undone already")
    assert client.post(f"{API}/readings/77/undo").status_code == 404


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        ({"verdict": "accept"}, "name the category"),
        ({"verdict": "normal", "category": "Ring"}, "whole image"),
        ({"verdict": "accept", "category": "Cat"}, "not a category of the model (Ring, Bar, Dots)"),
        ({"verdict": "maybe", "category": "Ring"}, "verdict"),
        ({"verdict": "normal", "note": "x" * 4001}, "note"),
        ({}, "verdict"),
    ],
)
def test_a_reading_that_says_nothing_is_refused(client, reading, why):
    answer = client.post(f"{API}/images/2/readings", json=reading)
    assert answer.status_code == 422
    assert why in answer.json()["error"]
    assert client.get(f"{API}/images/2/readings").json() == []


def test_the_database_itself_refuses_to_change_a_reading(client, house):
    said(client, 2, verdict="normal")
    for change in (
        "UPDATE readings SET reader = 'x'",
        "DELETE FROM readings",
        "DELETE FROM events",
    ):
        with pytest.raises(DBAPIError, match="only ever added"), house.storage.writing() as session:
            session.execute(text(change))


def rows(*told):
    return [
        ReadingRow(id=i, image_id=1, category=category, verdict=verdict, note="", reader="r")
        for i, (category, verdict) in enumerate(told)
    ]


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([], "new"),
        ([("A", "accept")], "read"),
        ([("A", "unsure")], "unsure"),
        ([("A", "unsure"), ("A", "reject")], "read"),
        ([("A", "accept"), (None, "unsure")], "unsure"),
        ([("A", "unsure"), (None, "normal")], "read"),
        ([(None, "unsure"), ("A", "accept")], "unsure"),
    ],
)
def test_the_state_is_what_was_said_last(told, state):
    assert readings.state_of(rows(*told)) == state


GIVEN = {"A": 1.0, "B": 0.0}


@pytest.mark.parametrize(
    ("given", "normal", "told", "labels", "is_normal"),
    [
        (GIVEN, False, [], {"A": 1.0, "B": 0.0, "C": None}, False),
        (GIVEN, False, [("A", "reject"), ("C", "add")], {"A": 0.0, "B": 0.0, "C": 1.0}, False),
        (GIVEN, False, [("B", "accept"), ("B", "unsure")], {"A": 1.0, "B": None, "C": None}, False),
        (GIVEN, False, [(None, "normal")], {"A": 0.0, "B": 0.0, "C": 0.0}, True),
        ({}, False, [(None, "normal"), ("B", "add")], {"A": 0.0, "B": 1.0, "C": 0.0}, False),
        ({}, True, [("B", "reject")], {"A": None, "B": 0.0, "C": None}, True),
        (GIVEN, False, [(None, "unsure")], {"A": None, "B": None, "C": None}, False),
    ],
)
def test_labels_are_the_tables_changed_by_the_readings(given, normal, told, labels, is_normal):
    found = readings.labels_of(given, normal, ("A", "B", "C"), rows(*told))
    assert found == (labels, is_normal)


def test_the_label_table_holds_what_was_read(client, folder):
    said(client, 1, verdict="normal")
    said(client, 2, category="Ring", verdict="accept")
    said(client, 2, category="Dots", verdict="reject")
    said(client, 3, verdict="unsure")
    answer = client.get(f"{API}/labels.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    table = list(csv.reader(io.StringIO(answer.text)))
    assert table == [
        ["file", "patient", "split", "Ring", "Bar", "Dots", "normal"],
        [str(folder / "0.png"), "", "", "0", "0", "0", "1"],
        [str(folder / "1.png"), "", "", "1", "", "0", "0"],
    ]


def test_a_tables_labels_and_patients_are_kept(make_app, folder, tmp_path):
    from fastapi.testclient import TestClient

    lines = ["file,patient,split,Ring,Bar,Dots"]
    lines += ["0.png,Smith,train,1,0,", "1.png,Smith,train,0,0,0", "2.png,Jones,test,,,"]
    (folder / "labels.csv").write_text("\n".join(lines))
    for show, patients in ((False, ["P1", "P1", "P2"]), (True, ["Smith", "Smith", "Jones"])):
        url = f"sqlite:///{tmp_path / f'{show}.sqlite'}"
        app = make_app(table=folder / "labels.csv", show_names=show, database=url)
        bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
        with TestClient(app, base_url="http://localhost", headers=bearer) as client:
            said(client, 1, category="Ring", verdict="reject")
            said(client, 3, category="Bar", verdict="add")
            told = list(csv.reader(io.StringIO(client.get(f"{API}/labels.csv").text)))[1:]
            pages = client.get(f"{API}/images").text + client.get(f"{API}/images/1").text
        assert [row[1] for row in told] == patients
        assert [row[2:] for row in told] == [
            ["train", "0", "0", "", "0"],
            ["train", "0", "0", "0", "1"],
            ["test", "", "1", "", "0"],
        ]
        assert "Smith" not in pages
