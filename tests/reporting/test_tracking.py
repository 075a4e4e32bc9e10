import sys

import pytest

from sdmad.errors import SDMADError
from sdmad.reporting.tracking import track_fit


@pytest.fixture
def store(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(None)
    return mlflow


def test_settings_figures_and_the_model_are_logged_and_no_patient(
    store, fitted, model_folder, tmp_path
):
    number = track_fit(fitted, model_folder, {"shots": 4}, 1.5)
    run = store.get_run(number)
    assert run.data.params["shots"] == "4"
    assert run.data.params["bank"] == "small"
    assert run.data.params["epochs"] == "2"
    assert run.data.metrics["seconds"] == 1.5
    assert run.data.metrics["support_images"] == 12
    losses = store.MlflowClient().get_metric_history(number, "loss")
    assert [one.value for one in losses] == pytest.approx(list(fitted.losses))
    (manifest,) = tmp_path.glob("**/artifacts/model/manifest.json")
    assert manifest.read_bytes() == (model_folder / "manifest.json").read_bytes()
    for path in tmp_path.glob("**/*"):
        assert not path.is_file() or b"patient-0" not in path.read_bytes()


def test_what_mlflow_refuses_is_one_line(store, fitted, model_folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://host")
    with pytest.raises(SDMADError, match="MLflow refuses") as told:
        track_fit(fitted, model_folder, {}, 1.0)
    assert str(model_folder) in str(told.value)


def test_it_sends_no_statistics():
    from mlflow.telemetry.utils import is_telemetry_disabled

    from sdmad.reporting.tracking import check_tracker

    check_tracker()
    assert is_telemetry_disabled()


def test_without_mlflow_nothing_is_fitted(monkeypatch, tmp_path, capsys):
    from sdmad.cli import main

    monkeypatch.setitem(sys.modules, "mlflow", None)
    out = tmp_path / "model"
    given = ["fit", "none.csv", "--signs", "brain", "--out", str(out), "--track", "mlflow"]
    monkeypatch.setattr(sys, "argv", ["sdmad", *given])
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == 2
    assert "pip install 'sdmad[mlflow]'" in capsys.readouterr().err
