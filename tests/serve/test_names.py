"""No patient's name on a page, in a message or in a log, unless it is asked for."""

import logging

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from sdmad.serve.told import without_place
from sdmad.serve.worklist import name_of

API = "/api/v1"
NAME, NUMBER = "Testperson^Erika", "PAT-4711"

PARTS = ("", "/pixels", "/thumbnail", "/pixels?slice=7", "/readings", "/similar")


def write_dicom(path, cut=False):
    """A CT slice of a named patient, at a place that has the name too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Dataset()
    image.PatientName, image.PatientID = NAME, NUMBER
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.Rows, image.Columns, image.SamplesPerPixel = 8, 9, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    image.WindowCenter, image.WindowWidth = 40, 400
    image.PixelData = np.arange(72, dtype="<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path, enforce_file_format=True)
    if cut:
        path.write_bytes(path.read_bytes()[:-100])


@pytest.fixture
def patients(folder):
    write_dicom(folder / NAME / f"{NAME}.dcm")
    write_dicom(folder / NAME / f"{NUMBER}", cut=True)
    return folder


def everything(app):
    """All that pages get of the images."""
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    told = []
    with TestClient(app, base_url="http://localhost", headers=bearer) as client:
        listed = client.get(f"{API}/images", params={"sort": "name"})
        told.append(listed)
        for item in listed.json()["items"]:
            place = f"{API}/images/{item['id']}"
            told += [client.get(f"{place}{part}") for part in PARTS]
        told.append(client.get(f"{API}/events"))
        told.append(client.get(f"{API}/images", params={"text": "Testp"}))
    return told


@pytest.mark.filterwarnings("ignore")  # as the command does
def test_no_answer_and_no_log_has_a_patients_name(make_app, patients, caplog):
    with caplog.at_level(logging.INFO):
        answers = everything(make_app())
    names = [item["name"] for item in answers[0].json()["items"]]
    assert sorted(name.split()[0] for name in names)[-2:] == ["DICOM", "DICOM"]
    assert answers[-1].json()["total"] == 0
    assert {answer.status_code for answer in answers} == {200, 422}
    said = "".join(answer.text + str(answer.headers) for answer in answers) + caplog.text
    for word in ("Testperson", "Erika", NUMBER, str(patients)):
        assert word not in said


def test_names_are_shown_where_that_is_asked_for(make_app, patients):
    names = [item["name"] for item in everything(make_app(show_names=True))[0].json()["items"]]
    assert f"{NAME}.dcm" in names


def test_the_pixels_of_a_ct_are_in_hounsfield_units(make_app, patients):
    answers = everything(make_app())
    ct = next(a for a in answers if a.headers.get("x-intercept") not in (None, "0.0"))
    values = np.frombuffer(ct.content, "<u2") * float(ct.headers["x-slope"])
    units = values + float(ct.headers["x-intercept"])
    np.testing.assert_array_equal(units, np.arange(72) - 1024.0)


@pytest.mark.parametrize("name", ["a.dcm", "a.DICOM", "IM0001"])
def test_what_may_be_dicom_is_called_by_letters_that_tell_nothing(tmp_path, name):
    one, other = (name_of(str(tmp_path / place / name), False) for place in ("a", "b"))
    assert one.startswith("DICOM ")
    assert one != other
    assert name_of(str(tmp_path / name), True) == name


def test_other_files_are_called_by_their_names(tmp_path):
    assert name_of(str(tmp_path / "a.png"), False) == "a.png"
    assert name_of(str(tmp_path / "scan.nii.gz#80"), False) == "scan.nii.gz#80"
    assert name_of(str(tmp_path / "a\x1b.png"), False) == "a\\x1b.png"


def test_a_message_is_told_without_the_place():
    place = "/data/Erika/a\tb.nii.gz#3"
    message = "'/data/Erika/a\\tb.nii.gz': cannot be read; /data/Erika/a\tb.nii.gz#3 neither"
    assert without_place(message, place, "scan") == "scan: cannot be read; scan neither"
