import io
import json

import pydicom

from tests.dicom_out.pacs import running
from tests.dicom_out.phantoms import dicom, lesion, without


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
