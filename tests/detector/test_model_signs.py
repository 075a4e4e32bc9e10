import shutil

import pytest

from sdmad.detector.model_signs import ModelSigns, read_model_signs
from sdmad.errors import ModelError


def test_the_signs_are_those_that_the_detector_keeps(model_folder, fitted):
    model = read_model_signs(model_folder)
    assert model.bank.categories == fitted.bank_.categories
    assert model.keep == tuple(fitted.head_.keep.tolist())


def test_a_sign_is_looked_up_by_its_category(small_bank):
    model = ModelSigns(small_bank, (True, False, True, True, False, True))
    assert not model.kept("Ring", "an open circle")
    assert model.kept("Bar", "a long bar")
    with pytest.raises(KeyError):
        model.kept("Bar", "a round ring")


def test_an_altered_model_is_refused(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / "bank.yaml").write_text("altered")
    with pytest.raises(ModelError, match="altered"):
        read_model_signs(folder)
    with pytest.raises(ModelError, match="no model directory"):
        read_model_signs(tmp_path / "none")


def test_files_that_do_not_fit_together_are_refused(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sdmad.detector.model_signs.verify", lambda folder: "")
    folder = shutil.copytree(model_folder, tmp_path / "model")
    bank = (folder / "bank.yaml").read_text()
    assert "an open circle" in bank
    fewer = [line for line in bank.splitlines() if "an open circle" not in line]
    (folder / "bank.yaml").write_text("\n".join(fewer))
    with pytest.raises(ModelError, match="keep must be 5 marks"):
        read_model_signs(folder)
    (folder / "adapters.safetensors").write_text("no tensors")
    with pytest.raises(ModelError, match="do not fit together"):
        read_model_signs(folder)
