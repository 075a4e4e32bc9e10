"""Images of a DICOMweb server: fetched while the server runs, and kept."""

import logging
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from sdmad.dicom_out import server
from sdmad.dicom_out.making import SOFTWARE
from sdmad.errors import InputError
from sdmad.serve import app as application
from sdmad.serve import fetching, worklist
from sdmad.serve.settings import Remote, ServeSettings
from tests.dicom_out.pacs import running
from tests.dicom_out.phantoms import dicom, lesion, without

API = "/api/v1"
QUERY = {"StudyDate": "20240101-"}
PATIENCE = 60


@pytest.fixture
def pacs():
    with running() as pacs:
        yield pacs


@pytest.fixture
def opened(make_app, pacs, monkeypatch, tmp_path, caplog):
    """A program's connection to a server with the images of the PACS, once all are fetched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetching, "PAUSE", 0.05)
    _hear(monkeypatch, caplog)
    monkeypatch.setattr(application, "PARTS", (worklist.growing,))

    @contextmanager
    def open_it(wait=True, before=lambda: None, **settings):
        app = make_app(dicomweb=Remote(pacs.url, QUERY), **settings)
        before()
        bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
        with TestClient(app, base_url="http://localhost", headers=bearer) as client:
            client.house = app.state.house
            if wait:
                until(lambda: client.house.fetching.waiting == 0)
            yield client

    return open_it


def _hear(monkeypatch, caplog):
    """Have the log heard whatever a library of another test did to loggers."""
    caplog.set_level(logging.WARNING, fetching._log.name)
    logger = fetching._log
    while logger.parent is not None:
        monkeypatch.setattr(logger, "disabled", False)
        monkeypatch.setattr(logger, "propagate", True)
        logger = logger.parent


def refuse(handler):
    handler._send(b"", status=403)


def until(done):
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def listed(client):
    return client.get(f"{API}/images", params={"sort": "name"}).json()["items"]


def retrieved(pacs):
    """The UIDs of the images that were asked for."""
    places = (line.split("/instances/") for line in pacs.asked)
    return sorted(place[1] for place in places if len(place) == 2)


def test_images_of_the_studies_that_are_asked_for_are_listed_with_their_pixels(opened, pacs):
    pixels = lesion()
    old = {"StudyInstanceUID": "1.2.4", "StudyDate": "20200101"}
    pacs.hold(dicom(pixels), dicom(pixels, uid="1.2.3.4.6"), dicom(pixels, uid="1.2.4.1", **old))
    with opened() as client:
        one, other = listed(client)
        answer = client.get(f"{API}/images/{one['id']}/pixels")
    values = np.frombuffer(answer.content, "<u2") * float(answer.headers["x-slope"])
    np.testing.assert_array_equal(values + float(answer.headers["x-intercept"]), pixels.ravel())
    assert retrieved(pacs) == ["1.2.3.4.5", "1.2.3.4.6"]
    assert [image["name"][:6] for image in (one, other)] == ["DICOM "] * 2


def test_a_restart_has_what_was_fetched_and_what_was_read(opened, pacs):
    pacs.hold(dicom(lesion()))
    with opened() as client:
        (before,) = listed(client)
        client.post(f"{API}/images/{before['id']}/readings", json={"verdict": "normal"})
    pacs.asked.clear()
    pacs.hold(dicom(lesion(), uid="1.2.3.4.6"))
    with opened() as client:
        images = listed(client)
    assert {image["id"]: image["state"] for image in images}[before["id"]] == "read"
    assert len(images) == 2
    assert retrieved(pacs) == ["1.2.3.4.6"]


def test_what_is_kept_lies_beside_the_database_and_nobody_else_may_read_it(opened, pacs, tmp_path):
    pacs.hold(dicom(lesion()))
    with opened(database=f"sqlite:///{tmp_path}/a.sdmad-serve.sqlite"):
        pass
    folder = tmp_path / f"a{fetching.IMAGES}"
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*")] == [
        "1.2.3",
        "1.2.3/1.2.3.4.5.dcm",
    ]
    assert folder.stat().st_mode & 0o077 == 0


def test_files_of_two_servers_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {
        ServeSettings((), dicomweb=Remote(url)).beside(".x")
        for url in ("http://a/web", "http://a/web?", "https://a/web", "http://a-web")
    }
    assert len(places) == 4
    assert {place.parent for place in places} == {tmp_path}


def test_images_of_one_study_are_exported_as_one_patients(opened, pacs):
    other = {"StudyInstanceUID": "1.2.4", "SeriesInstanceUID": "1.2.4.1"}
    pacs.hold(
        dicom(lesion()), dicom(lesion(), uid="1.2.3.4.6"), dicom(lesion(), uid="1.2.4.1.1", **other)
    )
    with opened() as client:
        for image in listed(client):
            client.post(f"{API}/images/{image['id']}/readings", json={"verdict": "normal"})
        rows = client.get(f"{API}/labels.csv").text.splitlines()
    patients = [row.split(",")[1] for row in rows[1:]]
    assert sorted(patients) == ["P1", "P1", "P2"] or sorted(patients) == ["P1", "P2", "P2"]


def test_nothing_tells_a_patients_name(opened, pacs, caplog):
    pacs.hold(dicom(lesion()), dicom(lesion()[:5], uid="1.2.3.4.6", Rows=4000))
    with caplog.at_level(logging.INFO), opened() as client:
        said = [client.get(f"{API}/images").text, client.get(f"{API}/events").text]
        said += [client.get(f"{API}/images/{image['id']}").text for image in listed(client)]
    for word in ("Doe", "Jan", "P1"):
        assert word not in "".join(said) + caplog.text


def test_what_cannot_be_used_is_told_and_the_others_go_on(opened, pacs, monkeypatch, caplog):
    monkeypatch.setattr(server, "MOST_IMAGE", 50_000)
    large = dicom(np.tile(lesion(), (2, 2)), uid="1.2.3.4.7")
    ours = dicom(lesion(), uid="1.2.3.4.8", Manufacturer=SOFTWARE)
    pacs.hold(large, ours, without(dicom(lesion()), "AccessionNumber"))
    with opened() as client:
        (image,) = listed(client)
        assert client.get(f"{API}/images/{image['id']}/pixels").status_code == 200
    assert "instance 1.2.3.4.7" in caplog.text
    assert "longer than 50,000 bytes" in caplog.text
    assert "1.2.3.4.8" not in caplog.text


def test_a_server_that_is_away_for_a_while_is_asked_again(opened, pacs, caplog):
    pacs.hold(dicom(lesion()))
    with opened(wait=False, before=lambda: setattr(pacs, "answer", refuse)) as client:
        until(lambda: "refuses access" in caplog.text)
        assert listed(client) == []
        pacs.answer = None
        until(lambda: client.house.fetching.waiting == 0)
        assert len(listed(client)) == 1
    assert caplog.text.count("refuses access") == 1


def test_a_full_disk_ends_fetching(opened, pacs, monkeypatch, caplog):
    pacs.hold(dicom(lesion()))
    full = SimpleNamespace(free=server.MOST_IMAGE - 1)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: full)
    with opened(wait=False) as client:
        until(lambda: "make room" in caplog.text)
        assert listed(client) == []
        full.free += 1
        until(lambda: client.house.fetching.waiting == 0)
        assert len(listed(client)) == 1


def test_a_server_that_is_not_there_is_told_at_once(make_app, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with running() as gone:
        url = gone.url
    with pytest.raises(InputError, match="no server answers there") as caught:
        make_app(dicomweb=Remote(url, QUERY))
    assert str(caught.value).startswith(url)


def test_that_no_study_is_found_is_told(opened, pacs):
    told = "no study there fits --query StudyDate=20240101-"
    with pytest.warns(UserWarning, match=told), opened() as client:
        assert listed(client) == []
