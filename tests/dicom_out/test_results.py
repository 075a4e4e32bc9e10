import io
import logging
import time

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import Dataset, Sequence

from sdmad.data.images import ImageError
from sdmad.detector.base import resize_map
from sdmad.detector.held_out import NO, UNSURE, YES
from sdmad.dicom_out import codes, results
from sdmad.dicom_out.identity import ModelIdentity
from tests.dicom_out.phantoms import (
    CT,
    ENHANCED_MR,
    LESION,
    PLACED,
    SHAPE,
    US_FRAMES,
    dicom,
    lesion,
    seeing,
    weak,
    without,
    write,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),  # of values that a test makes wrong
]

PRIVATE = codes.SCHEME


def parts(made):
    return {part.kind: part.dataset() for part in made.parts}


def groups(report):
    """Each measurement group as what it says: by the meaning of each item's name."""
    (measurements,) = (i for i in report.ContentSequence if _name(i) == "Imaging Measurements")
    told = []
    for group in measurements.ContentSequence:
        said = {}
        for item in group.ContentSequence:
            said.setdefault(_name(item), []).append(_value(item))
        told.append(said)
    return told


def _name(item):
    return item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""


def _value(item):
    kind = item.ValueType
    if kind == "NUM":
        return float(item.MeasuredValueSequence[0].NumericValue)
    if kind == "CODE":
        return item.ConceptCodeSequence[0].CodeMeaning
    return {"TEXT": "TextValue", "UIDREF": "UID", "SCOORD": "GraphicData"}.get(kind) and item.get(
        {"TEXT": "TextValue", "UIDREF": "UID", "SCOORD": "GraphicData"}[kind]
    )


def mask_of(segmentation, number=1):
    return segmentation.pixel_array.reshape(-1, *SHAPE)[number - 1].astype(bool)


def centroid(mask):
    return [float(axis.mean()) for axis in np.nonzero(mask)]


def assert_in_the_lesion(mask):
    row, column = centroid(mask)
    top, bottom, left, right = LESION
    assert top <= row < bottom
    assert left <= column < right


@pytest.fixture(scope="module")
def cr(tmp_path_factory):
    return write(dicom(lesion()), tmp_path_factory.mktemp("cr") / "a.dcm")


def test_the_report_says_what_the_detector_said(make, judge, identity, cr):
    likely = np.array([[0.25, 0.5, 0.125]])
    made = parts(make(cr, probabilities=likely))
    report = made["sr"]
    assert list(made) == ["seg", "pm", "sc", "sr"]
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "COMPLETE")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    image, ring, bar, dots, at_ring, at_dots = groups(report)
    (said,) = judge.explanations(judge.score_images([cr]))
    assert image["How abnormal the image is"] == [pytest.approx(said.abnormality, abs=1e-6)]
    assert "not a medical device" in image["Comment"][0]
    for entry, group, chance in zip(said.categories, (ring, bar, dots), likely[0], strict=True):
        assert group["Finding"] == [entry.category]
        assert group["Score of the finding"] == [pytest.approx(entry.score, abs=1e-6)]
        assert group["Score above which it is found"] == [0]
        assert group["Probability"] == [chance]
        assert group["Sign that decided"] == [entry.deciding_sign.sentence]
        assert group["Decision"] == ["Absent" if entry.category == "Bar" else "Present"]
        assert group["Algorithm Version"] == [identity.version]
        assert f"model SHA-256: {identity.sha256}" in group["Algorithm Parameters"]
        assert "decision: odds" in group["Algorithm Parameters"]
    assert [at["Finding"] for at in (at_ring, at_dots)] == [["Ring"], ["Dots"]]
    assert "Image Region" not in ring


def test_answers_are_present_absent_or_indeterminate(make, cr):
    made = parts(make(cr, answers=np.array([[YES, NO, UNSURE]], np.int8)))
    said = [group["Answer at the stated error rate"] for group in groups(made["sr"])[1:4]]
    assert said == [["Present"], ["Absent"], ["Indeterminate"]]


@pytest.mark.parametrize("inverted", [False, True])
def test_the_place_lies_in_the_lesion(make, tmp_path, inverted):
    kind = {"PhotometricInterpretation": "MONOCHROME1" if inverted else "MONOCHROME2"}
    path = write(dicom(lesion(inverted=inverted), **kind), tmp_path / "a.dcm")
    made = parts(make(path))
    assert_in_the_lesion(mask_of(made["seg"]))
    line = np.reshape(groups(made["sr"])[4]["Image Region"][0], (-1, 2))
    assert (line[0] == line[-1]).all()
    assert_in_the_lesion(_filled(line))


def _filled(line):
    from PIL import Image, ImageDraw

    picture = Image.new("1", SHAPE[::-1])
    ImageDraw.Draw(picture).polygon([tuple(point) for point in line], fill=1)
    return np.asarray(picture)


def test_segments_are_the_highest_tenth_of_the_maps(make, judge, cr):
    segmentation = parts(make(cr))["seg"]
    small, shape = judge.image_maps(cr)
    assert [s.SegmentLabel for s in segmentation.SegmentSequence] == ["Ring", "Dots"]
    assert segmentation.SegmentationType == "BINARY"
    for number, k in ((1, 0), (2, 2)):
        values = resize_map(small.categories[0, k], shape)
        mask = mask_of(segmentation, number)
        np.testing.assert_array_equal(mask, values >= np.percentile(values, 90))
        described = segmentation.SegmentSequence[number - 1]
        assert described.SegmentAlgorithmType == "AUTOMATIC"
        assert described.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == PRIVATE


def test_the_parametric_map_holds_the_maps_themselves(make, judge, cr):
    made = parts(make(cr))["pm"]
    small, shape = judge.image_maps(cr)
    values = np.frombuffer(made.FloatPixelData, np.float32).reshape(-1, *SHAPE)
    expected = [small.anomaly[0], small.categories[0, 0], small.categories[0, 2]]
    np.testing.assert_array_equal(values, [resize_map(v, shape) for v in expected])
    frames = made.PerFrameFunctionalGroupsSequence
    labels = [frame.FrameContentSequence[0].FrameLabel for frame in frames]
    assert labels == ["anomaly", "Ring", "Dots"]
    mapping = frames[1].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)


def test_maps_of_cosines_have_a_window_that_may_be_narrower_than_1(make, judge, cr):
    made = parts(make(cr, judge=weak(judge)))["pm"]
    values = np.frombuffer(made.FloatPixelData, np.float32)
    (window,) = made.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
    assert window.VOILUTFunction == "LINEAR_EXACT"  # PS3.3 C.11.2.1.2.1: LINEAR takes 1 or more
    assert 0 < window.WindowWidth < 1
    half = window.WindowWidth / 2
    ends = [window.WindowCenter - half, window.WindowCenter + half]
    np.testing.assert_allclose(ends, [values.min(), values.max()], rtol=1e-6)


def test_results_lie_where_a_placed_source_lies(make, tmp_path):
    made = parts(make(write(dicom(lesion(), CT, "CT", **PLACED), tmp_path / "a.dcm")))
    for kind in ("seg", "pm"):
        shared = made[kind].SharedFunctionalGroupsSequence[0]
        own = made[kind].PerFrameFunctionalGroupsSequence[0]
        assert made[kind].FrameOfReferenceUID == "1.2.3.7"
        assert own.PlanePositionSequence[0].ImagePositionPatient == [-80, -48, 12.5]
        axes = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        assert axes == [1, 0, 0, 0, 1, 0]
        assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.75, 0.5]


def test_a_source_without_a_place_gets_none_but_the_map_a_space_of_its_own(make, tmp_path):
    one = parts(make(write(dicom(lesion()), tmp_path / "a.dcm")))
    other = parts(make(write(dicom(lesion(), uid="1.2.3.4.6"), tmp_path / "b.dcm")))
    assert "FrameOfReferenceUID" not in one["seg"]
    assert one["pm"].FrameOfReferenceUID != other["pm"].FrameOfReferenceUID


def test_the_frame_of_several_is_named_and_its_place_is_in_it(make, tmp_path):
    frames = np.stack([np.full(SHAPE, 300, np.uint16), lesion(), lesion()[::-1]])
    path = write(dicom(frames, US_FRAMES, "US"), tmp_path / "a.dcm")
    middle, last = make(path), make(path.with_name("a.dcm#2"))
    assert [made.source.said.frame for made in (middle, last)] == [1, 2]
    assert not {p.uid for p in middle.parts} & {p.uid for p in last.parts}
    assert_in_the_lesion(mask_of(parts(middle)["seg"]))
    assert_in_the_lesion(mask_of(parts(last)["seg"])[::-1])
    for number, made in ((2, parts(middle)), (3, parts(last))):
        derived = made["seg"].PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
        reference = derived.SourceImageSequence[0]
        assert reference.ReferencedFrameNumber == number
        assert reference.ReferencedSOPClassUID == US_FRAMES
        assert reference.ReferencedSOPInstanceUID == "1.2.3.4.5"


def test_a_frame_of_functional_groups_lies_where_they_say(make, tmp_path):
    data = dicom(np.stack([lesion()] * 2), ENHANCED_MR, "MR", FrameOfReferenceUID="1.2.3.7")
    shared, own = Dataset(), [Dataset(), Dataset()]
    for keyword, group in (
        ("ImageOrientationPatient", "PlaneOrientationSequence"),
        ("PixelSpacing", "PixelMeasuresSequence"),
    ):
        item = Dataset()
        setattr(item, keyword, PLACED[keyword])
        setattr(shared, group, Sequence([item]))
    for z, one in enumerate(own):
        position = Dataset()
        position.ImagePositionPatient = [1, 2, 10 * z]
        one.PlanePositionSequence = Sequence([position])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PerFrameFunctionalGroupsSequence = Sequence(own)
    path = write(data, tmp_path / "a.dcm")
    made = parts(make(path.with_name("a.dcm#1")))["seg"]
    position = made.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    assert position.ImagePositionPatient == [1, 2, 10]


def test_colour_has_results_too(make, tmp_path):
    grey = (lesion() >> 4).astype(np.uint8)
    path = write(dicom(np.stack([grey, grey, grey // 2], -1), modality="XC"), tmp_path / "a.dcm")
    assert_in_the_lesion(mask_of(parts(make(path))["seg"]))


def test_the_same_question_gives_the_same_bytes(make, cr, monkeypatch):
    one = make(cr)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    time.sleep(0.01)
    other = make(cr)
    assert [part.content for part in one.parts] == [part.content for part in other.parts]
    for part in one.parts:
        data = part.dataset()
        assert part.uid.startswith("2.25.")
        assert (data.ContentDate, data.ContentTime) == ("20240229", "101530")
        now = time.strftime("%Y%m%d")
        assert now not in data.to_json()
        assert hd.__version__ not in data.get("SoftwareVersions", "")


def test_another_model_rule_image_or_frame_gives_other_uids(fitted, model_folder, identity):
    said = {"prevalence": 0.1}
    others = [
        identity,
        ModelIdentity.of(fitted, model_folder, **said),
        ModelIdentity.of(fitted.with_inference(decision="mean"), model_folder),
        ModelIdentity(identity.name, "0" * 64, identity.settings),
        ModelIdentity(identity.name, identity.sha256, identity.settings, "9.9"),
    ]
    assert len({other.fingerprint for other in others}) == len(others)


def test_results_carry_the_patient_and_the_study_and_letters_of_any_kind(make, cr):
    for part in make(cr).parts:
        data = part.dataset()
        assert str(data.PatientName) == "Doe^Jané"
        assert (data.PatientID, data.PatientBirthDate, data.PatientSex) == ("P1", "19600101", "F")
        assert (data.StudyInstanceUID, data.AccessionNumber) == ("1.2.3", "A7")
        assert data.SeriesInstanceUID != "1.2.3.4"
        assert data.InstanceNumber == 5


def test_the_picture_says_what_it_is_and_shows_the_place(make, cr):
    capture = parts(make(cr))["sc"]
    pixels = capture.pixel_array
    assert pixels.shape[1] == 512
    assert (pixels[:40].max(axis=(1, 2)) > 200).any()
    assert "not a medical device" in capture.DerivationDescription
    coloured = (pixels.max(axis=-1).astype(int) - pixels.min(axis=-1)) > 60
    assert coloured.any()
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"


@pytest.mark.parametrize(
    ("remove", "told"),
    [
        (("PatientID", "StudyTime"), "lacks PatientID, StudyTime, which must be there but may be"),
        (("StudyInstanceUID",), "has no StudyInstanceUID"),
    ],
)
def test_what_is_missing_is_named(make, tmp_path, remove, told):
    path = write(without(dicom(lesion()), *remove), tmp_path / "a.dcm")
    with pytest.raises(ImageError, match=told):
        make(path)


def test_blank_is_enough_for_what_names_the_patient(make, tmp_path):
    names = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
    blank = dict.fromkeys((*names, "StudyID", "AccessionNumber", "ContentDate", "ContentTime"), "")
    made = parts(make(write(dicom(lesion(), **blank), tmp_path / "a.dcm")))
    assert made["sr"].PatientName == ""
    assert (made["sr"].ContentDate, made["sr"].ContentTime) == ("19000101", "000000")


def test_a_value_that_dicom_forbids_is_refused_without_its_text(make, tmp_path, caplog, capsys):
    data = dicom(lesion())
    with pydicom.config.disable_value_validation():
        data.PatientBirthDate = "Secret"
        data.PatientSex = "Secret"
    path = write(data, tmp_path / "a.dcm")
    caplog.clear()
    with caplog.at_level(logging.DEBUG), pytest.raises(ImageError) as caught:
        make(path)
    assert "PatientBirthDate, PatientSex is none that DICOM allows" in str(caught.value)
    said = capsys.readouterr()
    assert "Secret" not in str(caught.value) + caplog.text + said.out + said.err


def test_an_odd_value_of_what_is_not_needed_is_left_out(make, tmp_path):
    data = dicom(lesion(), FrameOfReferenceUID="1.2.3.7", ImagePositionPatient=[0, 0, 0])
    with pydicom.config.disable_value_validation():
        data.StudyDescription = "x" * 2000
        data.AcquisitionDate = "yesterday"
    made = parts(make(write(data, tmp_path / "a.dcm")))
    assert "StudyDescription" not in made["sr"]
    assert "FrameOfReferenceUID" not in made["sr"]


def test_no_dicom_file_no_results(make, tmp_path, pictures):
    from PIL import Image

    path = tmp_path / "a.png"
    Image.fromarray(pictures[0][0]).save(path)
    with pytest.raises(ImageError, match="it is no DICOM file"):
        make(path)


def test_a_model_without_maps_gives_a_report_and_a_picture(make, judge, cr, monkeypatch):
    monkeypatch.setattr("sdmad.detector.sdmad.gives_maps", lambda backbone: False)
    made = parts(make(cr))
    assert list(made) == ["sc", "sr"]
    assert len(groups(made["sr"])) == 4


def test_nothing_found_has_no_place(make, fitted, cr):
    made = parts(make(cr, judge=seeing(fitted)))
    assert list(made) == ["pm", "sc", "sr"]
    assert [g["Decision"] for g in groups(made["sr"])[1:]] == [["Absent"]] * 3


def test_without_the_library_the_extra_is_named(make, cr, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(Exception, match=r"sdmad\[dicom-out\]"):
        results.check_can_make()


def test_results_can_be_read_by_the_library_that_checks_them(make, cr):
    for part in make(cr).parts:
        stream = io.BytesIO(part.content)
        if part.kind == "sr":
            assert len(hd.sr.srread(stream).content.get_image_measurement_groups()) == 4
        if part.kind == "seg":
            assert hd.seg.segread(stream).number_of_segments == 2
        if part.kind == "pm":
            assert hd.pm.ParametricMap.from_dataset(part.dataset()).number_of_frames == 3
