"""Readers read the images of a real PACS."""

import io
import re
import subprocess
import time
import zipfile
from contextlib import contextmanager

import httpx
import pydicom
import pytest

from tests.dicom_out.pacs import encoded
from tests.dicom_out.phantoms import dicom, lesion

API = "/api/v1"
PATIENCE = 120


@pytest.fixture
def served(orthanc, model_folder, sdmad_command, tmp_path):
    """Start a server on the studies of 2024; gives a program's connection to it."""
    words = (
        "serve",
        model_folder,
        "--dicomweb",
        orthanc.url,
        "--query",
        "StudyDate=20240101-20241231",
    )

    @contextmanager
    def start():
        program = [*sdmad_command, *map(str, words), "--port", "0"]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
            try:
                found = re.fullmatch(r"(http://\S+)/\?token=(\S+)\n", process.stdout.readline())
                bearer = {"Authorization": f"Bearer {found[2]}"}
                with httpx.Client(base_url=found[1], headers=bearer, timeout=PATIENCE) as client:
                    yield client
            finally:
                process.terminate()

    return start


def scored(client, count):
    """The images, once all are scored."""
    until = time.monotonic() + PATIENCE
    while client.get(f"{API}/health").json()["scoring"] != {"done": count, "total": count}:
        assert time.monotonic() < until
        time.sleep(0.2)
    return client.get(f"{API}/images").json()["items"]


def test_images_of_a_pacs_are_scored_read_and_kept(orthanc, served):
    for number in range(2):
        orthanc.put(encoded(dicom(lesion(), uid=f"1.2.3.4.{number + 1}")))
    other = {"StudyInstanceUID": "1.2.4", "SeriesInstanceUID": "1.2.4.1", "StudyDate": "20200101"}
    orthanc.put(encoded(dicom(lesion(), uid="1.2.4.1.1", **other)))
    with served() as client:
        images = scored(client, 2)
        assert all(0 <= image["abnormal"] <= 1 for image in images)
        assert "Doe" not in client.get(f"{API}/images").text
        number = images[0]["id"]
        client.post(f"{API}/images/{number}/readings", json={"verdict": "normal"})
        archive = zipfile.ZipFile(io.BytesIO(client.get(f"{API}/images/{number}/dicom").content))
        report = pydicom.dcmread(io.BytesIO(archive.read("sr.dcm")))
    assert report.StudyInstanceUID == "1.2.3"
    for parts in archive.namelist():
        orthanc.put(archive.read(parts))
    with served() as client:
        assert {image["id"]: image["state"] for image in scored(client, 2)}[number] == "read"
