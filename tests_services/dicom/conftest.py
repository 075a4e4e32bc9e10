"""A PACS on loopback, and what is judged there."""

import json
import subprocess
import time
from pathlib import Path

import pytest
import requests

from tests.cli.conftest import sdmad  # noqa: F401
from tests.conftest import (  # noqa: F401
    fitted,
    make_clip,
    model_folder,
    pictures,
    small_bank,
    tiny_backbone,
    tiny_clip,
)
from tests.dicom_out.conftest import identity, judge, make  # noqa: F401

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "only for this test"
PATIENCE = 60.0


class Orthanc:
    """A running Orthanc, empty at first."""

    def __init__(self, port):
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/dicom-web"
        self.session = requests.Session()
        self.session.auth = (USER, PASSWORD)

    def get(self, path):
        answer = self.session.get(f"{self.root}{path}", timeout=PATIENCE)
        answer.raise_for_status()
        return answer

    def put(self, content):
        self.session.post(f"{self.root}/instances", content, timeout=PATIENCE).raise_for_status()

    def files(self):
        """The bytes of all instances."""
        return [self.get(f"/instances/{one}/file").content for one in self.get("/instances").json()]

    def clear(self):
        for one in self.get("/patients").json():
            self.session.delete(f"{self.root}/patients/{one}", timeout=PATIENCE).raise_for_status()


@pytest.fixture(scope="session")
def running(tool, free_ports, tmp_path_factory):
    program = tool("Orthanc", "orthanc")
    if not PLUGIN.is_file():
        pytest.skip("Orthanc has no DICOMweb: apt-get install orthanc-dicomweb")
    folder = tmp_path_factory.mktemp("orthanc")
    http, dicom = free_ports(2)
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "TemporaryDirectory": str(folder),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder
        )
        try:
            yield _ready(process, Orthanc(http), folder / "log")
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _ready(process, orthanc, log):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            orthanc.get("/system")
        except requests.ConnectionError:
            time.sleep(0.2)
        else:
            return orthanc
    pytest.fail(f"Orthanc does not start:\n{log.read_text()}")


@pytest.fixture
def orthanc(running, monkeypatch):
    """An empty PACS; the environment has its credentials."""
    running.clear()
    monkeypatch.setenv("SDMAD_DICOMWEB_USER", USER)
    monkeypatch.setenv("SDMAD_DICOMWEB_PASSWORD", PASSWORD)
    return running
