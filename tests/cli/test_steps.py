import json

import numpy as np
import pytest

from sdmad import SDMADConfig
from sdmad.cli.steps.fitting import (
    PRESETS,
    FitRequest,
    fit_on_table,
    make_config,
    support_path,
)
from sdmad.cli.steps.loading import load_with_decision
from sdmad.errors import InputError, ModelError


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch):
    monkeypatch.setitem(PRESETS, "recommended", lambda **changes: SDMADConfig(epochs=1, **changes))


@pytest.fixture
def request_for(tmp_path, make_data, small_bank_file, tiny_clip):
    """A request on fresh data; keywords replace its parts."""
    table = make_data(tmp_path / "data")

    def make(**changes):
        parts = {"labels": table, "signs": str(small_bank_file), "backbone": str(tiny_clip)}
        return FitRequest(**{**parts, "shots": 1, **changes})

    return make


def test_presets_and_decisions_make_a_config():
    assert make_config("paper", None) == SDMADConfig.paper()
    assert make_config("paper", "mean").decision == "mean"
    with pytest.raises(InputError, match="fpr:RATE"):
        make_config("paper", "fpr:7")


def test_a_fit_draws_its_support_from_the_table(request_for):
    fitted = fit_on_table(request_for(shots=2))
    table, drawn = fitted.table, fitted.support.indices
    assert (table.labels[list(drawn)].sum(axis=0) >= 2).all()
    assert table.normal[list(drawn)].sum() == 2
    assert len(fitted.detector.support_hashes_) == len(drawn)
    people = {table.patients[i] for i in drawn}
    found = fitted.detector.support_patients_.contain(table.patients)
    assert found == [patient in people for patient in table.patients]


def test_the_same_request_gives_the_same_model_and_another_seed_another(request_for):
    first, second = fit_on_table(request_for()), fit_on_table(request_for())
    other = fit_on_table(request_for(seed=1))
    files = first.table.files[:6]
    scores = first.detector.decision_function(files)
    assert np.array_equal(scores, second.detector.decision_function(files))
    assert not np.array_equal(scores, other.detector.decision_function(files))


def test_the_list_of_the_draw_lies_beside_the_model_and_can_be_given_back(request_for, tmp_path):
    fitted = fit_on_table(request_for(seed=4))
    path = fitted.write_support(tmp_path / "model")
    assert path == tmp_path / "model.support.json"
    names = json.loads(path.read_text(encoding="utf-8"))["served"]
    assert set(names) == {"Ring", "Bar", "Dots", "normal"}
    again = fit_on_table(request_for(seed=9, support=path))
    assert again.support.indices == fitted.support.indices


def test_the_list_has_a_place_for_every_way_to_name_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = tmp_path / "m.support.json"
    for name in ("m", "m/", "./m", "x/../m"):
        assert support_path(type(tmp_path)(name)) == expected
    (tmp_path / "m").mkdir()
    monkeypatch.chdir(tmp_path / "m")
    assert support_path(type(tmp_path)(".")) == expected


def test_notes_of_table_draw_and_fit_are_told_once(request_for, tmp_path):
    table = tmp_path / "data" / "labels.csv"
    text = table.read_text().replace("Ring|Bar", "Ring").replace("Bar", "")
    table.write_text(text)
    fitted = fit_on_table(request_for())
    assert "Bar: no positive in the support set" in fitted.notes
    assert any(note.startswith("Bar: 0 of 1 shots") for note in fitted.notes)
    assert len(set(fitted.notes)) == len(fitted.notes)


def test_an_unreadable_support_image_is_named(request_for, tmp_path):
    for file in (tmp_path / "data").glob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"\d{3}\.png.*empty file"):
        fit_on_table(request_for())


# Decision rules


def test_a_rate_without_normal_images_and_normal_images_without_a_rate_are_refused(
    request_for, tmp_path, model_folder
):
    with pytest.raises(InputError, match=r"--normals FOLDER"):
        fit_on_table(request_for(decision="fpr:0.1"))
    with pytest.raises(InputError, match=r"--normals goes with --decision fpr:RATE"):
        fit_on_table(request_for(normals=tmp_path / "data"))
    with pytest.raises(InputError, match=r"--normals FOLDER"):
        load_with_decision(model_folder, "fpr:0.1")
    with pytest.raises(InputError, match=r"--normals goes with"):
        load_with_decision(model_folder, normals=tmp_path / "data")
    with pytest.raises(InputError, match="decision rule must be"):
        load_with_decision(model_folder, "always")


def test_a_fit_at_a_rate_sets_thresholds_on_the_folder(request_for, tmp_path, make_data):
    normals = make_data(tmp_path / "normals", seed=5).parent
    fitted = fit_on_table(request_for(decision="fpr:0.25", normals=normals))
    files = sorted(normals.glob("*.png"))
    assert (fitted.detector.predict(files).mean(axis=0) <= 0.25).all()
    with pytest.raises(InputError, match="no such file or folder"):
        fit_on_table(request_for(decision="fpr:0.25", normals=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="at least 99 normal images, got 24"):
        fit_on_table(request_for(decision="fpr:0.01", normals=normals))


def test_a_model_can_decide_otherwise_when_it_is_loaded(model_folder, fitted, pictures):
    images, _ = pictures
    paper = load_with_decision(model_folder, "paper")
    assert np.array_equal(paper.decision_function(images), fitted.decision_function(images))
    expected = fitted.with_inference(decision="paper").predict(images)
    assert np.array_equal(paper.predict(images), expected)


def test_thresholds_travel_with_the_model_but_not_to_another_rate(request_for, tmp_path, make_data):
    normals = make_data(tmp_path / "normals", seed=5).parent
    fitted = fit_on_table(request_for(decision="fpr:0.25", normals=normals))
    fitted.detector.save(tmp_path / "model")
    again = load_with_decision(tmp_path / "model")
    assert np.array_equal(again.thresholds_, fitted.detector.thresholds_)
    same = load_with_decision(tmp_path / "model", "fpr:0.25")
    assert np.array_equal(same.thresholds_, fitted.detector.thresholds_)
    with pytest.raises(InputError, match=r"fpr:0.5 takes its thresholds"):
        load_with_decision(tmp_path / "model", "fpr:0.5")
    looser = load_with_decision(tmp_path / "model", "fpr:0.5", normals)
    assert (looser.thresholds_ <= again.thresholds_).all()


def test_a_model_that_is_none_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no model directory"):
        load_with_decision(tmp_path / "nothing")
