"""Every object against dciodvfy and dsrdump, which did not make it."""

import subprocess

import numpy as np
import pydicom.data
import pytest
from pydicom import Dataset, Sequence

from tests.dicom_out.phantoms import (
    CR,
    CT,
    ENHANCED_MR,
    MR,
    PLACED,
    RF,
    US_FRAMES,
    dicom,
    lesion,
    seeing,
    weak,
    write,
)

pytestmark = pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning")
MG, PHOTOGRAPH, CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("1.2", "77.1.4", "7"))
NAMES = {"seg": "Segmentation", "pm": "ParametricMap", "sc": "SCImage", "sr": "ComprehensiveSR"}


def frames_that_lie_in_space():
    data = dicom(np.stack([lesion()] * 2), ENHANCED_MR, "MR", FrameOfReferenceUID="1.2.3.7")
    shared, own = Dataset(), [Dataset(), Dataset()]
    axes, spacing = Dataset(), Dataset()
    axes.ImageOrientationPatient = PLACED["ImageOrientationPatient"]
    spacing.PixelSpacing, spacing.SliceThickness = PLACED["PixelSpacing"], 2
    shared.PlaneOrientationSequence = Sequence([axes])
    shared.PixelMeasuresSequence = Sequence([spacing])
    for z, one in enumerate(own):
        position = Dataset()
        position.ImagePositionPatient = [0, 0, z]
        one.PlanePositionSequence = Sequence([position])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PerFrameFunctionalGroupsSequence = Sequence(own)
    return data


def colour():
    grey = (lesion() >> 4).astype(np.uint8)
    return np.stack([grey, grey, grey // 2], -1)


SOURCES = {
    "radiograph": lambda: dicom(lesion(), CR, "CR"),
    "mammogram": lambda: dicom(
        lesion(), MG, "MG", ImageLaterality="L", PatientOrientation=["P", "F"], PixelSpacing=[1, 1]
    ),
    "CT": lambda: dicom(lesion(), CT, "CT", **PLACED),
    "MR": lambda: dicom(lesion(), MR, "MR", **PLACED),
    "enhanced MR": frames_that_lie_in_space,
    "ultrasound": lambda: dicom(np.stack([lesion()] * 3), US_FRAMES, "US"),
    "fluoroscopy": lambda: dicom(np.stack([lesion()] * 3), RF, "RF"),
    "photograph": lambda: dicom(colour(), PHOTOGRAPH, "XC"),
    "capture": lambda: dicom(lesion(), CAPTURE, "OT", LossyImageCompression="00"),
    "a file of the world": lambda: pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm")),
}


@pytest.fixture(scope="session")
def dciodvfy(tool):
    """The lines that the validator says of a file."""
    program = tool("dciodvfy", "dicom3tools")

    def check(path):
        done = subprocess.run([program, path], capture_output=True, text=True, timeout=60)
        return f"{done.stdout}\n{done.stderr}".splitlines()

    return check


@pytest.mark.parametrize("name", SOURCES)
def test_the_validator_finds_no_error(make, dciodvfy, tmp_path, name):
    source = write(SOURCES[name](), tmp_path / "source.dcm")
    probabilities, answers = np.array([[0.1, 0.2, 0.3]]), np.array([[1, 0, -1]], np.int8)
    parts = make(source, probabilities=probabilities, answers=answers).parts
    assert [part.kind for part in parts] == list(NAMES)
    for part in parts:
        path = tmp_path / f"{part.kind}.dcm"
        path.write_bytes(part.content)
        said = dciodvfy(path)
        assert NAMES[part.kind] in said
        assert [line for line in said if line.startswith(("Error", "Abort"))] == []


def test_the_validator_would_find_an_error(make, dciodvfy, tmp_path):
    data = make(write(SOURCES["radiograph"](), tmp_path / "a.dcm")).parts[-1].dataset()
    del data.VerificationFlag
    said = dciodvfy(write(data, tmp_path / "sr.dcm"))
    assert any(line.startswith("Error") and "VerificationFlag" in line for line in said)


def test_nothing_found_is_valid_too(make, fitted, dciodvfy, tmp_path):
    parts = make(write(SOURCES["CT"](), tmp_path / "a.dcm"), judge=seeing(fitted)).parts
    for part in parts:
        path = tmp_path / "part.dcm"
        path.write_bytes(part.content)
        assert not any(line.startswith("Error") for line in dciodvfy(path))


def test_maps_as_weak_as_cosines_are_valid(make, judge, dciodvfy, tmp_path):
    parts = make(write(SOURCES["MR"](), tmp_path / "a.dcm"), judge=weak(judge)).parts
    for part in parts:
        path = tmp_path / "part.dcm"
        path.write_bytes(part.content)
        assert [line for line in dciodvfy(path) if line.startswith("Error")] == []


def test_the_report_is_read_as_text(make, judge, tool, tmp_path):
    source = write(SOURCES["ultrasound"](), tmp_path / "a.dcm")
    report = make(source).parts[-1]
    path = tmp_path / "sr.dcm"
    path.write_bytes(report.content)
    program = tool("dsrdump", "dcmtk")
    done = subprocess.run([program, "+Pl", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert not [line for line in done.stderr.splitlines() if line.startswith(("E:", "F:"))]
    text = done.stdout
    assert "Verification Flag   : UNVERIFIED" in text
    (said,) = judge.explanations(judge.score_images([source]))
    for entry in said.categories:
        assert f'"Sign that decided")="{entry.deciding_sign.sentence}"' in text
        assert f'99SDMAD,"{entry.category}")' in text
    assert text.count("POLYLINE") == 2
    assert "not a medical device" in text
