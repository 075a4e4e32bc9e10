import json

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from sdmad import SDMAD
from sdmad.data.table import read_label_table


def test_fit_writes_a_model_and_the_list_of_its_support(sdmad, fit_arguments, tmp_path, data):
    done = sdmad(*fit_arguments, "--seed", 3, "--out", tmp_path / "model")
    assert done.status == 0, done.err
    assert f"model: {tmp_path / 'model'}" in done.out
    assert "fitted on" in done.err
    model = SDMAD.load(tmp_path / "model")
    assert model.categories == ("Ring", "Bar", "Dots")
    assert model.seed == 3
    listing = json.loads((tmp_path / "model.support.json").read_text(encoding="utf-8"))
    drawn = {name for names in listing["served"].values() for name in names}
    assert drawn <= {file.name for file in read_label_table(data).files}
    assert len(model.support_hashes_) == len(drawn)


def test_the_same_command_twice_gives_the_same_files(sdmad, fit_arguments, tmp_path):
    for name in ("one", "two"):
        assert sdmad(*fit_arguments, "--out", tmp_path / name).status == 0
    for name in ("config.json", "bank.yaml", "adapters.safetensors", "training.json"):
        first, second = ((tmp_path / model / name).read_bytes() for model in ("one", "two"))
        assert first == second, name


def test_preset_and_decision_are_taken(sdmad, fit_arguments, tmp_path):
    done = sdmad(*fit_arguments, "--preset", "paper", "--decision", "mean", "-o", tmp_path / "m")
    assert done.status == 0, done.err
    config = SDMAD.load(tmp_path / "m").config
    assert (config.margin, config.decision, config.image_evidence) == (0.0, "mean", "none")


def test_a_support_of_an_earlier_draw_is_taken(sdmad, fit_arguments, tmp_path):
    sdmad(*fit_arguments, "--out", tmp_path / "one")
    listing = tmp_path / "one.support.json"
    done = sdmad(*fit_arguments, "--seed", 8, "--support", listing, "--out", tmp_path / "two")
    assert done.status == 0, done.err
    one, two = SDMAD.load(tmp_path / "one"), SDMAD.load(tmp_path / "two")
    assert one.support_hashes_ == two.support_hashes_


def test_the_image_size_is_taken(sdmad, fit_arguments, tmp_path):
    done = sdmad(*fit_arguments, "--image-size", 48, "--out", tmp_path / "model")
    assert done.status == 0, done.err
    assert SDMAD.load(tmp_path / "model").backbone.preprocessing.size == 48
    done = sdmad(*fit_arguments, "--image-size", 3, "--out", tmp_path / "small")
    assert done.status == 2
    assert "less than one patch" in done.err


def test_notes_are_told(sdmad, fit_arguments, tmp_path, data):
    data.write_text(data.read_text().replace("Ring|Bar", "Ring").replace("Bar", ""))
    done = sdmad(*fit_arguments, "--out", tmp_path / "model")
    assert done.status == 0, done.err
    assert "note: Bar: no positive in the support set" in done.err


# Output


def test_nothing_is_replaced_without_force(sdmad, fit_arguments, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years")
    done = sdmad(*fit_arguments, "--out", tmp_path / "model")
    assert done.status == 2
    assert "--force" in done.err
    assert (tmp_path / "model" / "thesis.txt").read_text() == "years"
    (tmp_path / "other.support.json").write_text("precious")
    done = sdmad(*fit_arguments, "--out", tmp_path / "other")
    assert done.status == 2
    assert "other.support.json" in done.err
    assert not (tmp_path / "other").exists()
    assert sdmad(*fit_arguments, "--out", tmp_path / "other", "--force").status == 0
    assert (tmp_path / "other.support.json").read_text() != "precious"


@pytest.mark.parametrize("out", ["data", ".", "data/.."])
def test_force_never_replaces_the_data_or_the_current_folder(
    sdmad, fit_arguments, tmp_path, data, monkeypatch, out
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = sdmad(*fit_arguments, "--out", out, "--force")
    assert done.status == 2
    assert "would be lost" in done.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("step", "error", "status"),
    [
        ("sdmad.detector.training.inter_anomaly_loss", KeyboardInterrupt(), 130),
        ("sdmad.detector.checkpoint.write_json", KeyboardInterrupt(), 130),
        ("sdmad.detector.checkpoint.write_json", OSError(28, "No space left on device"), 2),
    ],
)
def test_an_error_midway_leaves_nothing_behind(
    sdmad, fit_arguments, tmp_path, monkeypatch, error, status, step
):
    def fail(*_):
        raise error

    monkeypatch.setattr(step, fail)
    before = sorted(tmp_path.rglob("*"))
    done = sdmad(*fit_arguments, "--out", tmp_path / "model")
    assert done.status == status
    assert "Traceback" not in done.err
    assert sorted(tmp_path.rglob("*")) == before


# Mistakes


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("patient,labels", "patient,diagnosis", "diagnosis"),
        ("patient,labels", "patient,patient_id", "mean the same"),
        ("003.png,person1,Ring|Bar", "003.png,person1,Rung|Bar", "row 5, column labels.*'Rung'"),
        ("003.png,person1,Ring|Bar", "003.png,person1", "row 5: 2 fields"),
        ("003.png,person1,Ring|Bar", ",person1,Ring|Bar", "row 5, column file"),
        ("003.png,person1,Ring|Bar", "002.png,person1,Ring|Bar", "rows 4 and 5"),
        ("003.png,person1,Ring|Bar", "003.png,person1,Ring|normal", "row 5, column labels"),
        ("file,", "picture,", "no column named file"),
    ],
)
def test_a_wrong_table_stops_with_row_and_column(
    sdmad, fit_arguments, tmp_path, data, old, new, said
):
    import re

    text = data.read_text()
    assert old in text
    data.write_text(text.replace(old, new, 1))
    done = sdmad(*fit_arguments, "--out", tmp_path / "model")
    assert done.status == 2
    assert len(done.err.strip().splitlines()) == 1
    assert "labels.csv" in done.err
    assert re.search(said, done.err)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--signs", "lungs"], "no sign bank 'lungs'"),
        (["--backbone", "nowhere"], "no folder 'nowhere'"),
        (["--preset", "best"], "'best' is not one of 'recommended', 'paper'."),
        (["--decision", "fpr:2"], "decision rule must be"),
        (["--decision", "fpr:0.05"], "--normals FOLDER"),
        (["--normals", "."], "--normals goes with"),
        (["--support", "nowhere.json"], "nowhere.json"),
        (["--device", "abacus"], "'abacus' is none of auto, cpu"),
        (["--seed", str(2**70)], "seed"),
    ],
)
def test_other_mistakes_are_one_line(sdmad, fit_arguments, tmp_path, extra, said):
    done = sdmad(*fit_arguments, *extra, "--out", tmp_path / "model")
    assert done.status == 2
    assert said in done.said
    assert "Traceback" not in done.err
    assert not (tmp_path / "model").exists()


def test_a_bank_without_a_normal_sentence_names_its_line(sdmad, fit_arguments, tmp_path):
    bank = tmp_path / "bank.yaml"
    bank.write_text("modality: x\nnormal: []\ncategories:\n  Ring: {signs: [a ring]}\n")
    done = sdmad(*fit_arguments, "--signs", bank, "--out", tmp_path / "model")
    assert done.status == 2
    assert "bank.yaml, line 2" in done.err


def test_the_window_travels_with_the_model(sdmad, fit_arguments, tmp_path):
    done = sdmad(*fit_arguments, "--window", "40,400", "--out", tmp_path / "model")
    assert done.status == 0, done.err
    assert SDMAD.load(tmp_path / "model").backbone.preprocessing.window == (40, 400)
    done = sdmad(*fit_arguments, "--window", "lung", "--out", tmp_path / "other")
    assert done.status == 2
    assert "window" in done.err


def test_dicom_files_are_fitted_and_scored_without_a_name_leaking(
    sdmad, small_bank_file, pictures, tiny_clip, tmp_path
):
    """A hospital's folder: DICOM files without ending, a table that names them."""
    images, labels = pictures
    for i, picture in enumerate(images):
        write_dicom(tmp_path / f"IM{i:04d}", picture)
    names = ("Ring", "Bar", "Dots")
    lines = ["file,labels"]
    lines += [
        f"IM{i:04d},{'|'.join(n for n, v in zip(names, row, strict=True) if v) or 'normal'}"
        for i, row in enumerate(labels)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "model"
    given = ("--signs", small_bank_file, "--backbone", tiny_clip, "--shots", 1, "--out", out)
    done = sdmad("fit", tmp_path / "labels.csv", *given)
    assert done.status == 0, done.err
    files = [tmp_path / f"IM{i:04d}" for i in range(3)]
    scored = sdmad("predict", out, *files, "--out", tmp_path / "s.csv")
    assert scored.status == 0, scored.err
    written = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "IM" not in p.name]
    told = [done.out, done.err, scored.out, scored.err]
    assert not any(b"Hyde" in content for content in written)
    assert not any("Hyde" in text for text in told)
    assert len((tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()) == 4


def write_dicom(path, picture):
    """A MONOCHROME2 image of 12 bits with a patient's name."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.PatientName, dataset.PatientID = "Hyde^Edward", "Hyde-1886"
    dataset.Rows, dataset.Columns = picture.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = (picture.astype(np.uint16) * 16).tobytes()
    dataset.save_as(path, enforce_file_format=True)
