"""The REST interface over a model: what is sent is scored, bounded and not kept."""

import gzip
import io
import json
import re
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom import dcmread
from typer.testing import CliRunner

from sdmad import SDMAD, SDMADConfig
from sdmad.cli.main import app as command
from sdmad.errors import InputError
from sdmad.serve.app import create_app
from sdmad.serve.settings import ServeLimits, ServeSettings
from tests.dicom_out.phantoms import US_FRAMES, dicom, lesion, write


@pytest.fixture(scope="module")
def folder(make_data, tmp_path_factory):
    """Ten pictures and a file that is none."""
    place = tmp_path_factory.mktemp("served") / "images"
    make_data(place, 10, seed=4)
    (place / "labels.csv").unlink()
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return place


@pytest.fixture(scope="module")
def app(folder, model_folder):
    limits = ServeLimits(body=1 << 20, files=12, requests=10**6)
    return create_app(ServeSettings((model_folder,), images=folder, limits=limits))


@pytest.fixture(scope="module")
def client(app):
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=bearer) as opened:
        yield opened


@pytest.fixture
def files(folder):
    return sorted(folder.glob("0*.png"))


def sent(paths, field="files"):
    return [(field, (path.name, path.read_bytes(), "image/png")) for path in paths]


def scored(client, seconds=60):
    """Wait until the worklist is scored."""
    until = time.monotonic() + seconds
    while (said := client.get("/api/v1/health").json()["scoring"])["done"] < said["total"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    return said


def test_predict_says_what_the_command_says_to_the_bit(client, files, model_folder):
    said = client.post("/api/v1/predict", files=sent(files))
    assert said.status_code == 200, said.text
    out = CliRunner().invoke(command, ["predict", str(model_folder), *map(str, files), "--json"])
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    for mine, theirs in zip(said.json(), rows, strict=True):
        assert mine["file"] == Path(theirs["file"]).name
        assert mine["error"] is None
        for one in mine["findings"]:
            other = theirs["categories"][one["category"]]
            assert (one["score"], one["threshold"]) == (other["score"], other["threshold"])
            assert one["decision"] == other["found"]
            assert one["sign"]["sentence"] == other["top_sign"]


def test_a_file_that_cannot_be_read_is_a_row_with_its_own_name(client, files, folder):
    said = client.post("/api/v1/predict", files=sent([folder / "broken.png", files[0]]))
    bad, good = said.json()
    assert bad["file"] == "broken.png"
    assert bad["error"].startswith("broken.png")
    assert tempfile.gettempdir() not in said.text
    assert (bad["findings"], good["error"]) == ([], None)


def test_a_bomb_is_a_row_with_an_error(client):
    image = Image.new("L", (30_000, 30_000))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    said = client.post("/api/v1/predict", files={"files": ("bomb.png", buffer.getvalue())})
    assert said.status_code == 200
    (row,) = said.json()
    assert row["error"].startswith("bomb.png")
    nested = gzip.compress(bytes(1 << 28))
    said = client.post("/api/v1/explain", files={"file": ("bomb.nii.gz", nested)})
    assert said.status_code == 422
    assert "bomb.nii.gz" in said.json()["error"]


def test_nothing_that_was_sent_is_left(client, files, tmp_path, monkeypatch):
    made = []

    def make(*args, **named):
        made.append(Path(mkdtemp(*args, **named)))
        return str(made[-1])

    mkdtemp = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # others send to the usual one
    monkeypatch.setattr(tempfile, "mkdtemp", make)
    client.post("/api/v1/predict", files=sent(files[:2]))
    client.post("/api/v1/maps?category=Ring", files=sent(files[:1], "file"))
    assert [folder.parent for folder in made] == [tmp_path] * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "request_", "status", "said"),
    [
        ("predict", {}, 422, "at least one file"),
        ("predict", {"data": {"files": "text"}}, 422, "at least one file"),
        ("predict", {"files": [("files", ("a", b"x"))] * 13}, 400, "Maximum number of files"),
        ("predict", {"files": {"files": ("a", bytes(2 << 20))}}, 413, "at most"),
        ("predict", {"files": {"files": ("a", b"x")}, "data": {"model": "no"}}, 404, "no model"),
        (
            "predict",
            {"files": {"files": ("a", b"x")}, "data": {"prevalence": "x"}},
            422,
            "prevalence",
        ),
        ("explain", {"files": {"file": ("a", b"x")}, "data": {"error_rate": "x"}}, 422, "rate"),
        ("explain", {"files": [("file", ("a", b"x"))] * 2}, 400, "Maximum number of files"),
        ("maps?category=Knob", {"files": {"file": ("a", b"x")}}, 404, "no category"),
        ("maps", {"files": {"file": ("a", b"x")}}, 422, "category"),
    ],
)
def test_what_cannot_be_done_is_told(client, path, request_, status, said):
    found = client.post(f"/api/v1/{path}", **request_)
    assert (found.status_code, list(found.json())) == (status, ["error"])
    assert said in found.json()["error"]


def test_a_form_that_is_none_is_told(client):
    head = {"Content-Type": "multipart/form-data; boundary=x"}
    found = client.post("/api/v1/predict", content=b"--y\r\nnonsense", headers=head)
    assert found.status_code in (400, 422)
    head = {"Content-Type": "multipart/form-data"}
    assert client.post("/api/v1/predict", content=b"x", headers=head).status_code == 400


def test_the_models_say_what_they_look_for(client, small_bank):
    (model,) = client.get("/api/v1/models").json()
    assert (model["active"], model["kind"]) == (True, "checkpoint")
    assert {c["name"]: tuple(s["sentence"] for s in c["signs"]) for c in model["categories"]} == (
        dict(small_bank.categories)
    )
    assert {c["prevalence"] for c in model["categories"]} == {None}


def test_explain_tells_every_sign(client, files, small_bank):
    said = client.post("/api/v1/explain", files=sent(files[:1], "file")).json()
    for one in said["categories"]:
        assert {sign["sentence"] for sign in one["signs"]} == set(
            small_bank.categories[one["category"]]
        )
        (decided,) = [sign for sign in one["signs"] if sign["decided"]]
        assert decided["sentence"] == one["sign"]["sentence"]


def test_a_map_of_a_file_is_that_of_the_command(client, files, fitted):
    said = client.post("/api/v1/maps?category=Ring", files=sent(files[:1], "file"))
    assert said.headers["content-type"] == "image/png"
    shown = np.asarray(Image.open(io.BytesIO(said.content))).astype(float) / 65535 * 4 - 2
    assert shown == pytest.approx(next(fitted.category_maps(files[0])), abs=4 / 65535)
    said = client.post("/api/v1/maps?category=Ring&format=nifti", files=sent(files[:1], "file"))
    assert said.status_code == 422


@pytest.fixture
def scan(tmp_path):
    """A volume of five slices of 3 mm."""
    nibabel = pytest.importorskip("nibabel")
    volume = np.random.default_rng(0).integers(0, 255, (20, 24, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([2, 2, 3, 1])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize(("asked", "millimetres"), [({}, 6), ({"slice": "4"}, 12)])
def test_a_map_of_a_slice_lies_where_the_slice_lies(client, tmp_path, scan, asked, millimetres):
    nibabel = pytest.importorskip("nibabel")
    place = "/api/v1/maps?category=Bar&format=nifti"
    said = client.post(place, files=sent([scan], "file"), data=asked)
    assert said.status_code == 200, said.text
    (tmp_path / "map.nii.gz").write_bytes(said.content)
    found = nibabel.load(tmp_path / "map.nii.gz")
    assert found.shape == (20, 24, 1)
    assert found.affine[2, 3] == millimetres


@pytest.mark.parametrize(("asked", "slice_"), [({}, 2), ({"slice": "0"}, 0), ({"slice": "4"}, 4)])
def test_the_slice_that_is_judged_is_chosen_and_told(client, scan, files, fitted, asked, slice_):
    said = client.post("/api/v1/predict", files=sent([scan]), data=asked).json()
    (scores,) = fitted.decision_function([f"{scan}#{slice_}"])
    told = [[one["score"] for one in row["findings"]] for row in said]
    assert np.array(told) == pytest.approx(scores[None], abs=1e-5)
    assert [(row["slice"], row["slices"]) for row in said] == [(slice_, 5)]
    told = client.post("/api/v1/explain", files=sent([scan], "file"), data=asked).json()
    assert (told["file"], told["slice"], told["slices"]) == ("scan.nii.gz", slice_, 5)
    (picture,) = client.post("/api/v1/predict", files=sent(files[:1])).json()
    assert (picture["slice"], picture["slices"]) == (None, None)


def test_a_frame_of_several_is_chosen_and_told(client, tmp_path, fitted):
    frames = np.stack([lesion() // (number + 1) for number in range(3)])
    path = write(dicom(frames, US_FRAMES, "US"), tmp_path / "cine.dcm")
    (said,) = client.post("/api/v1/predict", files=sent([path]), data={"slice": "2"}).json()
    assert (said["slice"], said["slices"]) == (2, 3)
    (scores,) = fitted.decision_function([f"{path}#2"])
    assert [one["score"] for one in said["findings"]] == pytest.approx(scores.tolist(), abs=1e-5)


def test_a_slice_that_there_is_not_is_told(client, scan, files):
    said = client.post("/api/v1/predict", files=sent([scan, files[0]]), data={"slice": "5"})
    errors = [row["error"] for row in said.json()]
    assert errors[0] == "scan.nii.gz: holds 5 slices, 0 to 4; there is no slice 5"
    assert errors[1].endswith("holds one picture; there is no slice 5")
    for wrong in ("-1", "x", "1000000", "2.0", "\u0663"):
        said = client.post("/api/v1/predict", files=sent([scan]), data={"slice": wrong})
        assert said.status_code == 422
        assert "slice: a whole number" in said.json()["error"]


def test_the_worklist_is_scored_behind(client, files, folder):
    assert scored(client) == {"done": 11, "total": 11}
    items = client.get("/api/v1/images?size=20&sort=name").json()["items"]
    assert {item["name"]: item["error"] is None for item in items} == {
        path.name: path.name != "broken.png" for path in folder.iterdir()
    }
    (bad,) = [item for item in items if item["error"]]
    assert bad["error"].startswith("broken.png")
    asked = client.post("/api/v1/predict", files=sent(files)).json()
    for item, row in zip([i for i in items if not i["error"]], asked, strict=True):
        assert item["name"] == row["file"]
        shown = client.get(f"/api/v1/images/{item['id']}").json()
        theirs = {one["category"]: one for one in row["findings"]}
        for one in shown["findings"]:
            assert one["score"] == pytest.approx(theirs[one["category"]]["score"], abs=1e-5)
            assert one["sign"]["sentence"] == theirs[one["category"]]["sign"]["sentence"]


def test_a_map_of_an_image_is_an_overlay_of_its_size(client, files):
    items = client.get("/api/v1/images?sort=name").json()["items"]
    place = f"/api/v1/images/{items[0]['id']}/maps"
    said = client.get(f"{place}/Ring")
    assert said.status_code == 200, said.text
    shown = Image.open(io.BytesIO(said.content))
    assert (shown.mode, shown.size) == ("L", (32, 32))
    assert np.ptp(np.asarray(shown)) == 255
    assert client.get(f"{place}/Knob").status_code == 404
    assert client.get(f"{place}/Ring?slice=3").status_code == 422
    assert client.get("/api/v1/images/999/maps/Ring").status_code == 404


def test_counts_have_no_names(client, files, folder):
    client.get("/api/v1/nowhere/patient-smith")
    text = client.get("/api/v1/metrics").text
    assert re.search(r'method="POST",route="(/api/v1)?/predict",status="200"', text)
    assert 'route="elsewhere"' in text
    assert "sdmad_worklist_images 11.0" in text
    assert "smith" not in text
    assert not any(path.name in text for path in folder.iterdir())


def test_a_refit_of_the_readings_is_started_and_told(client):
    scored(client)
    said = client.post("/api/v1/refits", json={"shots": 2, "seed": 0})
    assert said.status_code == 201, said.text
    number = said.json()["id"]
    until = time.monotonic() + 90
    while (found := client.get(f"/api/v1/refits/{number}").json())["state"] in (
        "waiting",
        "running",
    ):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert found["state"] == "failed"  # nobody has read anything
    assert [one["id"] for one in client.get("/api/v1/refits").json()] == [number]
    assert client.post(f"/api/v1/refits/{number}/switch").status_code == 409
    assert client.get("/api/v1/refits/99").status_code == 404


@pytest.fixture(scope="module")
def frozen_folder(small_bank, tiny_clip, pictures, tmp_path_factory):
    """A model whose scores are log odds."""
    config = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")
    place = tmp_path_factory.mktemp("frozen") / "model"
    SDMAD(small_bank, str(tiny_clip), config).fit(*pictures).save(place)
    return place


def test_findings_have_the_probability_at_the_servers_prevalence(folder, frozen_folder):
    app = create_app(ServeSettings((frozen_folder,), images=folder, prevalence=0.1))
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=bearer) as opened:
        scored(opened)
        detail = opened.get("/api/v1/images/1").json()
        (told,) = opened.get("/api/v1/models").json()
        first = next(one for one in opened.get("/api/v1/images").json()["items"] if one["id"] == 1)
    model = app.state.house.models.active
    file = sorted(folder.glob("*.png"))[0]
    scores = model.judge.score_images([file])
    wanted = model.judge.at_prevalence(0.1)(scores)[0]
    by_name = {one["category"]: one["probability"] for one in detail["findings"]}
    assert [by_name[name] for name in model.bank.names] == pytest.approx(wanted.tolist(), rel=1e-4)
    assert first["top"]["probability"] == by_name[first["top"]["category"]]
    assert {one["prevalence"] for one in told["categories"]} == {0.1}


def test_a_prevalence_that_gives_no_probabilities_is_refused_at_the_start(
    folder, model_folder, frozen_folder
):
    with pytest.raises(InputError, match="no prevalence is stated of"):
        create_app(ServeSettings((frozen_folder,), images=folder, prevalence={"Ring": 0.1}))
    with pytest.raises(InputError, match="gives no probabilities"):
        create_app(ServeSettings((model_folder,), images=folder, prevalence=0.1))


def test_what_a_model_says_goes_to_a_pacs(tmp_path, model_folder):
    dicom(lesion()).save_as(tmp_path / "Doe.dcm", enforce_file_format=True)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "plain.png")
    app = create_app(ServeSettings((model_folder,), images=tmp_path))
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=bearer) as opened:
        items = {one["name"]: one["id"] for one in opened.get("/api/v1/images").json()["items"]}
        plain = opened.get(f"/api/v1/images/{items.pop('plain.png')}/dicom")
        (number,) = items.values()
        answer = opened.get(f"/api/v1/images/{number}/dicom")
        again = opened.get(f"/api/v1/images/{number}/dicom")
    assert plain.status_code == 422
    assert "DICOM" in plain.json()["error"]
    assert str(tmp_path) not in plain.json()["error"]
    assert answer.headers["content-type"] == "application/zip"
    assert answer.content == again.content
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {"pm.dcm", "sc.dcm", "sr.dcm"} <= set(archive.namelist())
        report = dcmread(io.BytesIO(archive.read("sr.dcm")))
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.StudyInstanceUID == "1.2.3"
