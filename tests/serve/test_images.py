"""The list of images, an image, its pixels."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.dicom_out.phantoms import dicom, lesion

API = "/api/v1"


def names(client, **query):
    return [item["name"] for item in client.get(f"{API}/images", params=query).json()["items"]]


def test_the_list_is_in_the_order_of_how_abnormal(client, judge):
    judge(image_1=0.2, image_2=0.9, image_3=0.6)
    assert names(client) == ["1.png", "2.png", "0.png", "3.png"]  # the last is not scored yet
    assert names(client, sort="unsure") == ["0.png", "2.png", "1.png", "3.png"]
    assert names(client, sort="name") == ["0.png", "1.png", "2.png", "3.png"]


def test_a_page_and_what_it_counts(client, judge):
    judge(image_1=0.2, image_2=0.9, image_3=0.6)
    found = client.get(f"{API}/images", params={"page": 2, "size": 3}).json()
    assert (found["total"], found["page"], found["size"]) == (4, 2, 3)
    assert [item["id"] for item in found["items"]] == [4]
    assert found["counts"] == {"new": 4, "read": 0, "unsure": 0}
    assert client.get(f"{API}/images", params={"page": 9}).json()["items"] == []


def test_the_filters(client, judge):
    judge(image_1=0.2, image_2=0.9, image_3=0.6)
    assert names(client, category="Ring") == ["1.png", "2.png"]  # above one half it is found
    assert names(client, category="Bar") == []
    assert names(client, text="2.P") == ["2.png"]
    assert names(client, text="%") == []  # no wildcard
    client.post(f"{API}/images/2/readings", json={"category": "Ring", "verdict": "accept"})
    client.post(f"{API}/images/3/readings", json={"verdict": "unsure"})
    assert names(client, state="read") == ["1.png"]
    assert names(client, state="unsure") == ["2.png"]
    assert names(client, sort="changed")[:2] == ["2.png", "1.png"]
    me = client.get(f"{API}/me").json()["reader"]
    assert names(client, reader=me) == ["1.png", "2.png"]
    assert names(client, reader="someone else") == []
    found = client.get(f"{API}/images", params={"state": "read", "category": "Ring"}).json()
    assert (found["total"], found["counts"]) == (1, {"new": 0, "read": 1, "unsure": 1})
    assert found["items"][0]["readers"] == [me]


def test_an_image_with_its_findings(client, judge):
    judge(image_2=0.9)
    found = client.get(f"{API}/images/2").json()
    assert found["name"] == "1.png"
    assert [f["category"] for f in found["findings"]] == ["Ring", "Bar"]
    assert found["top"] == found["findings"][0]
    assert found["top"]["sign"] == {
        "name": "Ring-1",
        "sentence": "a Ring",
        "contribution": 0.1,
    }
    assert (found["width"], found["height"], found["slices"], found["model"]) == (
        *(30, 20, 1),
        "made-up",
    )
    assert found["window"] == {"center": 127.5, "width": 255.0, "low": 0.0, "high": 255.0}


@pytest.mark.parametrize("sort", ["abnormal", "unsure", "name", "changed"])
def test_the_neighbours_are_those_of_the_list(client, judge, sort):
    judge(image_1=0.2, image_3=0.6)  # two are not scored yet
    listed = client.get(f"{API}/images", params={"sort": sort}).json()["items"]
    order = [item["id"] for item in listed]
    for place, number in enumerate(order):
        found = client.get(f"{API}/images/{number}", params={"sort": sort}).json()
        before = order[place - 1] if place else None
        behind = order[place + 1] if place + 1 < len(order) else None
        assert (found["previous"], found["next"]) == (before, behind), (sort, place)


def test_the_pixels_are_the_files(client, folder):
    answer = client.get(f"{API}/images/3/pixels")
    shape = [int(answer.headers[f"X-{side}"]) for side in ("Height", "Width", "Channels")]
    assert shape == [20, 30, 1]
    pixels = np.frombuffer(answer.content, "<u2").reshape(20, 30)
    assert (pixels == np.asarray(Image.open(folder / "2.png"))).all()
    assert (answer.headers["X-Slope"], answer.headers["X-Intercept"]) == ("1.0", "0.0")


def test_only_of_a_dicom_file_it_is_said_that_it_is_one(make_app, folder):
    dicom(lesion()).save_as(folder / "4.png")  # by its content
    (folder / "5.dcm").write_bytes((folder / "0.png").read_bytes())
    (folder / "6.dcm").write_bytes((folder / "4.png").read_bytes()[:-100])  # cannot be read
    app = make_app()
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=bearer) as client:
        listed = client.get(f"{API}/images", params={"sort": "name"}).json()["items"]
        told = [client.get(f"{API}/images/{item['id']}").json() for item in listed]
    assert sorted(one["dicom"] for one in told) == [False] * 6 + [True]
    assert [one["name"].startswith("DICOM") for one in told if one["dicom"]] == [True]


def test_a_thumbnail_keeps_the_shape_and_is_made_once(client, house, monkeypatch):
    answer = client.get(f"{API}/images/3/thumbnail")
    assert Image.open(io.BytesIO(answer.content)).size == (128, 85)
    monkeypatch.setattr(house.pictures, "_shrink", None)
    assert client.get(f"{API}/images/3/thumbnail").content == answer.content


def test_what_cannot_be_read_says_so_without_its_place(client, folder):
    (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    found = client.get(f"{API}/images/2").json()
    assert found["width"] is None
    assert found["error"].startswith("1.png: not an image")
    answer = client.get(f"{API}/images/2/pixels")
    assert answer.status_code == 422
    assert str(folder) not in answer.text + found["error"]


@pytest.mark.parametrize(
    "place", ["images/99", "images/99/pixels", "images/99/thumbnail", "images/99/readings"]
)
def test_there_is_no_such_image(client, place):
    answer = client.get(f"{API}/{place}")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no image 99"})


@pytest.mark.parametrize(
    "query", ["page=0", "size=201", "sort=color", "state=old", "text=%00", "page=x"]
)
def test_a_wrong_question_is_told(client, query):
    answer = client.get(f"{API}/images?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(query.split("=")[0])


def test_what_the_folder_lost_is_not_listed_and_keeps_its_readings(make_app, folder):
    def opened():
        app = make_app()
        token = app.state.house.token.text
        return TestClient(
            app, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {token}"}
        )

    with opened() as client:
        client.post(f"{API}/images/2/readings", json={"verdict": "normal"})
    kept = (folder / "1.png").read_bytes()
    (folder / "1.png").unlink()
    with opened() as client:
        assert names(client, sort="name") == ["0.png", "2.png", "3.png"]
        assert client.get(f"{API}/images/2").status_code == 404
    (folder / "1.png").write_bytes(kept)
    with opened() as client:
        assert client.get(f"{API}/images/2").json()["readings"][0]["verdict"] == "normal"
