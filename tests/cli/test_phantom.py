import numpy as np
import pytest
from PIL import Image

from sdmad.data.table import read_label_table
from sdmad.phantoms.cases import MODALITIES, draw_cases, load_modality


@pytest.mark.parametrize("modality", MODALITIES)
def test_phantoms_are_data_like_anybodys(sdmad, tmp_path, modality):
    out = tmp_path / "phantoms"
    done = sdmad("phantom", modality, "--count", 8, "--seed", 1, "--size", 96, "--out", out)
    assert done.status == 0, done.err
    assert done.out.strip() == str(out / "labels.csv")
    kind = load_modality(modality)
    table = read_label_table(out / "labels.csv", list(kind.categories))
    assert not table.missing()
    cases = list(draw_cases(kind, 8, 1, "test", 96))
    for i, (file, case) in enumerate(zip(table.files, cases, strict=True)):
        assert np.array_equal(np.asarray(Image.open(file)), case.image)
        present = {table.categories[k] for k in np.flatnonzero(table.labels[i] == 1)}
        assert present == set(case.categories)
        assert table.normal[i] == (not case.categories)
        assert table.patients[i] == f"P{case.patient:06d}"
        folder = out / "masks" / file.stem
        assert {p.stem for p in folder.glob("*.png")} == set(case.masks)
        for sign, mask in case.masks.items():
            assert np.array_equal(np.asarray(Image.open(folder / f"{sign}.png")), mask)
    splits = dict(zip(table.patients, table.splits, strict=True))
    assert [splits[p] for p in table.patients] == list(table.splits)


def test_fit_and_evaluate_read_phantoms_back(sdmad, tmp_path, tiny_clip):
    out = tmp_path / "phantoms"
    assert sdmad("phantom", "oct", "--count", 60, "--size", 96, "--out", out).status == 0
    model = tmp_path / "model"
    done = sdmad(
        "fit", out / "labels.csv", "--signs", "oct", "--shots", 1, "--backbone", tiny_clip,
        "--out", model,
    )  # fmt: skip
    assert done.status == 0, done.err
    done = sdmad(
        "evaluate", model, out / "labels.csv", "--resamples", 0, "--out", tmp_path / "results"
    )
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            ["--style", "clinical"],
            "'clinical' is not one of 'pretraining', 'validation', 'test', 'distant'.",
        ),
        (["--size", "4000"], "96 to 2048"),
    ],
)
def test_mistakes_leave_nothing_behind(sdmad, tmp_path, extra, said):
    done = sdmad("phantom", "oct", "--count", 2, *extra, "--out", tmp_path / "phantoms")
    assert done.status == 2
    assert said in done.said
    assert list(tmp_path.iterdir()) == []
    done = sdmad("phantom", "knee", "--out", tmp_path / "phantoms")
    assert "'knee' is not one of 'brain', 'chest', 'oct', 'breast', 'thyroid', " in done.said


def test_nothing_is_replaced_without_force(sdmad, tmp_path):
    out = tmp_path / "phantoms"
    out.mkdir()
    (out / "thesis.txt").write_text("years")
    done = sdmad("phantom", "oct", "--count", 1, "--out", out)
    assert done.status == 2
    assert (out / "thesis.txt").read_text() == "years"
    assert sdmad("phantom", "oct", "--count", 1, "--out", out, "--force").status == 0
    assert not (out / "thesis.txt").exists()


def test_ctrl_c_leaves_nothing_behind(sdmad, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sdmad.phantoms.files.write_csv", interrupted)
    done = sdmad("phantom", "oct", "--count", 2, "--out", tmp_path / "phantoms")
    assert done.status == 130
    assert list(tmp_path.iterdir()) == []
