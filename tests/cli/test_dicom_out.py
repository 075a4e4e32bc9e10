"""``predict --dicom-out`` and ``dicomweb`` as a person runs them."""

import csv
import io
import json

import pydicom
import pytest
from PIL import Image

from sdmad import SDMAD, SDMADConfig
from tests.dicom_out.pacs import running
from tests.dicom_out.phantoms import dicom, lesion, without, write


@pytest.fixture
def images(tmp_path, pictures):
    """Two DICOM files, one that lacks something, and a PNG."""
    folder = tmp_path / "images"
    write(dicom(lesion()), folder / "a.dcm")
    write(without(dicom(lesion(), uid="1.2.3.4.6"), "PatientID"), folder / "b.dcm")
    Image.fromarray(pictures[0][0]).save(folder / "c.png")
    return folder


def listed(folder):
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_results_stand_in_a_folder_with_a_list(sdmad, model_folder, images, tmp_path):
    out = tmp_path / "results"
    plain = sdmad("predict", model_folder, images)
    done = sdmad("predict", model_folder, images, "--dicom-out", out)
    assert (done.status, done.out) == (3, plain.out)
    rows = listed(out)
    assert {row["file"] for row in rows} == {str(images / "a.dcm")}
    assert {row["source"] for row in rows} == {"1.2.3.4.5"}
    for row in rows:
        data = pydicom.dcmread(out / row["written"])
        assert data.SOPInstanceUID == row["uid"]
    assert [row["written"] for row in rows][-1] == "000001-a-dcm/sr.dcm"
    assert "1 of 3 images are no DICOM files and have no DICOM results" in done.said
    assert "(the first is c.png)" in done.said
    assert "lacks PatientID" in done.said
    assert "1 of 3 images have no DICOM results" in done.said


def test_the_same_run_twice_gives_the_same_bytes(sdmad, model_folder, images, tmp_path):
    for name in ("one", "two"):
        done = sdmad("predict", model_folder, images / "a.dcm", "--dicom-out", tmp_path / name)
        assert done.status == 0, done.err
    paths = sorted((tmp_path / "one").rglob("*.dcm"))
    assert len(paths) > 2
    for path in paths:
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_another_rule_gives_other_uids(sdmad, model_folder, images, tmp_path):
    rules = ("mean", "paper")
    for rule in rules:
        how = ("--decision", rule, "--dicom-out", tmp_path / rule)
        assert sdmad("predict", model_folder, images / "a.dcm", *how).status == 0
    one, other = ({row["uid"] for row in listed(tmp_path / rule)} for rule in rules)
    assert not one & other


def test_images_without_any_dicom_file_are_refused_before_any_work(
    sdmad, model_folder, images, tmp_path, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("scored before the images were looked at")

    monkeypatch.setattr(SDMAD, "score_images", never)
    out = tmp_path / "results"
    done = sdmad("predict", model_folder, images / "c.png", "--dicom-out", out)
    assert done.status == 2
    assert "none of the images is a DICOM file" in done.said
    assert not out.exists()


def test_a_folder_that_holds_something_is_kept(sdmad, model_folder, images, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "work.txt").write_text("years")
    done = sdmad("predict", model_folder, images / "a.dcm", "--dicom-out", tmp_path / "results")
    assert done.status == 2
    assert "--force" in done.err
    assert (tmp_path / "results" / "work.txt").read_text() == "years"


def test_a_server_is_swept_once(sdmad, model_folder, tmp_path):
    with running() as pacs:
        pacs.hold(dicom(lesion()), without(dicom(lesion(), uid="1.2.3.4.6"), "StudyTime"))
        command = ("dicomweb", pacs.url, "--model", model_folder, "--query", "StudyDate=2024-")
        done = sdmad(*command, "--store", "--out", tmp_path / "out")
        assert done.status == 3, done.err
        assert "1 studies, 2 images: 1 judged, 1 stored, 0 done before, 1 refused" in done.out
        assert "lacks StudyTime" in done.said
        again = sdmad(*command, "--store", "--out", tmp_path / "out")
        assert "0 judged, 0 stored, 1 done before, 1 refused" in again.out
        kinds = [pydicom.dcmread(io.BytesIO(c)).Modality for c in pacs.instances.values()]
        assert kinds.count("SR") == 1
    (line,) = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    assert json.loads(line)["source"] == "1.2.3.4.5"


def test_somewhere_results_must_go(sdmad, model_folder):
    done = sdmad(
        "dicomweb", "http://127.0.0.1:9", "--model", model_folder, "--query", "PatientID=1"
    )
    assert done.status == 2
    assert "--store, --out FOLDER or both" in done.said


def test_an_export_gives_a_report_and_a_picture(sdmad, model_folder, images, tmp_path):
    pytest.importorskip("onnxruntime")
    made = sdmad("export", model_folder, "--format", "onnx", "--out", tmp_path / "fast")
    assert made.status == 0, made.err
    out = tmp_path / "results"
    done = sdmad("predict", tmp_path / "fast", images / "a.dcm", "--dicom-out", out)
    assert done.status == 0, done.err
    assert [row["kind"] for row in listed(out)] == ["sc", "sr"]


def test_probabilities_stand_in_the_report(
    sdmad, small_bank, tiny_clip, pictures, images, tmp_path
):
    settings = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")
    SDMAD(small_bank, str(tiny_clip), settings).fit(*pictures).save(tmp_path / "model")
    how = ("--prevalence", "0.2", "--json", "--dicom-out", tmp_path / "results")
    done = sdmad("predict", tmp_path / "model", images / "a.dcm", *how)
    assert done.status == 0, done.err
    said = json.loads(done.out)["categories"]
    report = pydicom.dcmread(tmp_path / "results" / "000001-a-dcm" / "sr.dcm").to_json()
    for category in said.values():
        assert str(round(category["probability"], 6)) in report
    assert "prevalence: 0.2" in report
