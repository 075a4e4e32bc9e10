"""The registry: what models say of themselves."""

import hashlib
import shutil

import pytest

from sdmad.errors import InputError, ModelError
from sdmad.serve.compute.models import Models, UnknownModelError


@pytest.fixture
def models(model_folder):
    found = Models([model_folder])
    yield found
    found.close()


def test_a_checkpoint_says_what_it_is(models, model_folder, fitted, small_bank):
    (model,) = models
    manifest = (model_folder / "manifest.json").read_bytes()
    assert model.hash == hashlib.sha256(manifest).hexdigest()
    assert model.id == f"model-{model.hash[:8]}"
    assert (model.name, model.kind, model.backbone) == (
        "model",
        "checkpoint",
        fitted.backbone_.name,
    )
    assert model.bank.names == small_bank.names
    assert model.rule == fitted.config_.decision
    written = (model_folder / "manifest.json").stat().st_mtime
    assert model.created.timestamp() == int(written)


def test_the_first_answers_until_another_is_chosen(models, model_folder, fitted, tmp_path):
    fitted.with_inference(decision="mean").save(tmp_path / "mean")
    other = models.add(tmp_path / "mean")
    assert models.get(None) is models.active is models.get(f"model-{models.active.hash[:8]}")
    models.activate(other.id)
    assert models.get("") is other
    assert other.rule == "mean"


def test_a_model_that_is_not_there_is_told_with_those_that_are(models):
    with pytest.raises(UnknownModelError, match=f"no model 'x'; there are: {models.active.id}"):
        models.get("x")


def test_the_same_model_twice_is_refused(models, model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "model")
    with pytest.raises(InputError, match="the same model"):
        models.add(tmp_path / "model")
    assert len(models) == 1


def test_no_model_and_no_model_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one model"):
        Models([])
    with pytest.raises(ModelError, match="no model directory"):
        Models([tmp_path / "nothing"])
