"""The sweep against a real PACS."""

import io
import os
import subprocess
import time
from collections import Counter

import pydicom
import pytest

from tests.dicom_out.pacs import encoded
from tests.dicom_out.phantoms import CT, PLACED, dicom, lesion, without

KINDS = Counter({"SR": 1, "OT": 2})  # of an image in which nothing is found


@pytest.fixture
def command(model_folder, orthanc):
    """The words of a sweep over everything."""
    query = ("--query", "StudyDate=19000101-")
    return ["dicomweb", orthanc.url, "--model", model_folder, *query, "--store"]


def modalities(orthanc):
    read = (pydicom.dcmread(io.BytesIO(content)) for content in orthanc.files())
    return Counter(data.Modality for data in read)


def fill(orthanc, count):
    for number in range(count):
        orthanc.put(encoded(dicom(lesion(), uid=f"1.2.3.4.{number + 1}")))


def test_results_are_stored_once_beside_their_images(sdmad, orthanc, command, tmp_path):
    fill(orthanc, 2)
    other = {"StudyInstanceUID": "1.2.4", "SeriesInstanceUID": "1.2.4.1"}
    orthanc.put(encoded(dicom(lesion(), CT, "CT", uid="1.2.4.1.1", **PLACED, **other)))
    done = sdmad(*command, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert "2 studies, 3 images: 3 judged, 3 stored, 0 done before, 0 refused" in done.out
    stored = modalities(orthanc)
    assert (stored["SR"], stored["CR"], stored["CT"]) == (3, 2, 1)
    assert len(orthanc.get("/studies").json()) == 2
    before = sorted(orthanc.files())
    again = sdmad(*command)
    assert "0 judged, 0 stored, 3 done before" in again.out
    assert sorted(orthanc.files()) == before


def test_what_is_written_is_what_is_stored(sdmad, orthanc, command, tmp_path):
    fill(orthanc, 1)
    sdmad(*command, "--out", tmp_path)
    written = {p.read_bytes() for p in tmp_path.rglob("*.dcm")}
    read = {pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID for content in written}
    there = {
        pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID: content for content in orthanc.files()
    }
    assert set(there) == read | {"1.2.3.4.1"}
    for content in written:
        data = pydicom.dcmread(io.BytesIO(content))
        assert pydicom.dcmread(io.BytesIO(there[data.SOPInstanceUID])) == data


def test_a_run_that_was_killed_goes_on(orthanc, command, sdmad_command, tmp_path):
    fill(orthanc, 12)
    words = [*sdmad_command, *map(str, command)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until = time.monotonic() + 300
    while len(orthanc.get("/instances").json()) < 14 and time.monotonic() < until:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.kill()
    process.wait()
    process.stdout.close()
    part = modalities(orthanc)["SR"]
    assert part < 12
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{12 - part} stored, {part} done before" in done.stdout
    assert modalities(orthanc)["SR"] == 12


def test_a_query_chooses(sdmad, orthanc, command):
    fill(orthanc, 1)
    done = sdmad(*command[:4], "--query", "ModalitiesInStudy=MR", "--store")
    assert "0 studies, 0 images" in done.out, done.err


def test_an_image_that_lacks_something_is_told(sdmad, orthanc, command):
    fill(orthanc, 1)
    orthanc.put(encoded(without(dicom(lesion(), uid="1.2.3.4.9"), "AccessionNumber")))
    done = sdmad(*command)
    assert done.status == 3
    assert "instance 1.2.3.4.9" in done.said
    assert "lacks AccessionNumber" in done.said
    assert "1 stored" in done.out


def test_a_wrong_password_is_told_and_not_shown(sdmad, orthanc, command, monkeypatch):
    monkeypatch.setenv("SDMAD_DICOMWEB_PASSWORD", "hunter2")
    done = sdmad(*command)
    assert done.status == 2
    assert "refuses access (HTTP 401)" in done.said
    assert "hunter2" not in done.out + done.err
    assert os.environ["SDMAD_DICOMWEB_USER"] not in done.err.replace("SDMAD_DICOMWEB_USER", "")
