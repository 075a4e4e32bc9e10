import numpy as np
import pydicom
import pytest
from pydicom import Dataset, Sequence

from sdmad.data import dicom_source
from sdmad.data.dicom_source import BLANK_ALLOWED, IDENTIFIERS, LONGEST
from sdmad.data.plane import ImageError
from tests.dicom_out.phantoms import CT, ENHANCED_MR, PLACED, SHAPE, dicom, lesion, without, write


def read(data, path, index=None):
    said = dicom_source.read(write(data, path), index)
    return said, Dataset.from_json(said.attributes)


def test_what_results_need_comes_out_and_nothing_else(tmp_path):
    data = dicom(lesion(), CT, "CT", **PLACED)
    data.PatientComments, data.OtherPatientIDs = "Secret", "Secret"
    data.add_new(0x00091001, "LO", "Secret")
    said, header = read(data, tmp_path / "a.dcm")
    assert (said.shape, said.frame, said.frames, said.unusable) == (SHAPE, 0, 1, [])
    for keyword in (*IDENTIFIERS, *BLANK_ALLOWED, *PLACED):
        assert header[keyword].value == data[keyword].value, keyword
    assert "Secret" not in str(said.attributes)
    assert "PixelData" not in header


def test_values_that_dicom_forbids_are_named_and_left_out(tmp_path):
    data = dicom(lesion())
    with pydicom.config.disable_value_validation():
        data.PatientBirthDate, data.PatientSex = "soon", "?"
        data.SeriesInstanceUID = "1.2.x"
        data.StudyID = "x" * 17
        data.AccessionNumber = "x" * (LONGEST + 1)
    said, header = read(data, tmp_path / "a.dcm")
    wrong = ["PatientBirthDate", "PatientSex", "SeriesInstanceUID", "StudyID", "AccessionNumber"]
    assert sorted(said.unusable) == sorted(wrong)
    assert not any(keyword in header for keyword in wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {"ImagePositionPatient": [1, 2]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]},
        {"PixelSpacing": [0, 1]},
        {"PixelSpacing": None},
    ],
)
def test_half_a_place_is_none(tmp_path, changes):
    _, header = read(dicom(lesion(), CT, "CT", **{**PLACED, **changes}), tmp_path / "a.dcm")
    assert "ImagePositionPatient" not in header


def test_a_frames_own_groups_come_before_those_of_all(tmp_path):
    data = dicom(np.stack([lesion()] * 2), ENHANCED_MR, "MR")

    def groups(**values):
        item = Dataset()
        for keyword, value in values.items():
            inner = Dataset()
            setattr(inner, keyword, value)
            setattr(item, dicom_source.GEOMETRY[keyword], Sequence([inner]))
        return item

    axes = PLACED["ImageOrientationPatient"]
    shared = groups(
        ImagePositionPatient=[9, 9, 9], ImageOrientationPatient=axes, PixelSpacing=[1, 2]
    )
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    own = [groups(ImagePositionPatient=[0, 0, z]) for z in (3, 4)]
    data.PerFrameFunctionalGroupsSequence = Sequence(own)
    for index, place in ((0, 3), (1, 4), (None, 4)):
        said, header = read(data, tmp_path / "a.dcm", index)
        assert said.frames == 2
        assert header.ImagePositionPatient == [0, 0, place]
        assert header.PixelSpacing == [1, 2]
    with pytest.raises(ImageError, match="no slice 2"):
        read(data, tmp_path / "a.dcm", 2)


def test_what_is_missing_is_missing(tmp_path):
    _, header = read(without(dicom(lesion()), "PatientID"), tmp_path / "a.dcm")
    assert "PatientID" not in header
