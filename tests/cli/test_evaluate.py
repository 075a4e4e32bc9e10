import json

import pytest

RESULTS = {"metrics.json", "report.html", "scores.csv", "tables.md"}


@pytest.fixture
def model(sdmad, fit_arguments, tmp_path):
    assert sdmad(*fit_arguments, "--out", tmp_path / "model").status == 0
    return tmp_path / "model"


def test_evaluate_writes_metrics_tables_and_a_report(sdmad, model, data, tmp_path):
    done = sdmad("evaluate", model, data, "--out", tmp_path / "results", "--resamples", 10)
    assert done.status == 0, done.err
    assert {path.name for path in (tmp_path / "results").iterdir()} >= RESULTS
    metrics = json.loads((tmp_path / "results" / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["mean_auroc"] <= 1
    support = json.loads((tmp_path / "model.support.json").read_text(encoding="utf-8"))
    drawn = {name for names in support["served"].values() for name in names}
    people = {int(name[:3]) // 2 for name in drawn}
    assert metrics["images"] == 24 - 2 * len(people)
    assert "images of support patients" in done.err
    assert "Protocol 3" in done.out
    assert f"report: {tmp_path / 'results' / 'report.html'}" in done.out


def test_unreadable_images_are_named_and_the_status_says_so(sdmad, model, data, tmp_path):
    support = (tmp_path / "model.support.json").read_text(encoding="utf-8")
    free = [i for i in range(24) if f"{i:03d}.png" not in support]
    free = [i for i in free if f"{i ^ 1:03d}.png" not in support]
    bad = data.parent / f"{free[0]:03d}.png"
    bad.write_bytes(b"")
    done = sdmad("evaluate", model, data, "--out", tmp_path / "results", "--resamples", 0)
    assert done.status == 3
    assert f"error: {bad}: empty file" in done.err
    assert "could not be read and were left out" in done.err
    assert (tmp_path / "results" / "report.html").is_file()


def test_another_decision_rule_can_be_tried(sdmad, model, data, tmp_path, make_data):
    normals = make_data(tmp_path / "normals", seed=9).parent
    for rule in ("paper", "mean", "fpr:0.25"):
        extra = ["--normals", normals] if rule.startswith("fpr") else []
        arguments = ["--decision", rule, *extra, "--resamples", 0, "--out", tmp_path / rule]
        done = sdmad("evaluate", model, data, *arguments)
        assert done.status == 0, done.err
    done = sdmad("evaluate", model, data, "--decision", "fpr:0.25", "--out", tmp_path / "x")
    assert done.status == 2
    assert "--normals FOLDER" in done.err


def test_nothing_is_replaced_without_force_and_never_the_model(sdmad, model, data, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("years")
    done = sdmad("evaluate", model, data, "--out", tmp_path / "results")
    assert done.status == 2
    assert "--force" in done.err
    for out in (model, data.parent):
        done = sdmad("evaluate", model, data, "--out", out, "--force")
        assert done.status == 2
        assert "would be lost" in done.err
    assert (tmp_path / "results" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    ("error", "status"), [(OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)]
)
@pytest.mark.parametrize("step", ["write_json", "write_report"])
def test_an_error_midway_leaves_nothing_behind(
    sdmad, model, data, tmp_path, monkeypatch, error, status, step
):
    def fail(*_):
        raise error

    monkeypatch.setattr(f"sdmad.reporting.model_evaluation.{step}", fail)
    before = sorted(tmp_path.rglob("*"))
    done = sdmad("evaluate", model, data, "--out", tmp_path / "results", "--resamples", 0)
    assert done.status == status
    assert "Traceback" not in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_model_is_named(sdmad, model, data, tmp_path):
    (model / "bank.yaml").write_text("modality: x")
    done = sdmad("evaluate", model, data, "--out", tmp_path / "results")
    assert done.status == 2
    assert "bank.yaml" in done.err


def test_a_table_of_other_categories_is_refused(sdmad, model, data, tmp_path):
    data.write_text(data.read_text().replace("Dots", "Spots"))
    done = sdmad("evaluate", model, data, "--out", tmp_path / "results")
    assert done.status == 2
    assert "unknown label 'Spots'" in done.err


def test_simpler_systems_stand_beside_the_model_unless_left_out(sdmad, model, data, tmp_path):
    done = sdmad("evaluate", model, data, "--out", tmp_path / "both", "--resamples", 10)
    assert "Did it pay?" in done.out
    assert "linear probe" in done.out
    assert "by mean AUROC" in done.err or "points of mean AUROC" in done.err
    alone = ["--baselines", "none", "--resamples", 10, "--out", tmp_path / "alone"]
    done = sdmad("evaluate", model, data, *alone)
    assert done.status == 0
    assert "linear probe" not in done.out


def test_probabilities_are_held_to_the_labels(sdmad, small_bank, tiny_clip, data, tmp_path):
    from sdmad import SDMAD, SDMADConfig
    from tests.conftest import draw_pictures

    config = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")
    SDMAD(small_bank, str(tiny_clip), config).fit(*draw_pictures(12, seed=5)).save(
        tmp_path / "odds"
    )
    arguments = ["evaluate", tmp_path / "odds", data, "--resamples", 20, "--prevalence"]
    done = sdmad(*arguments, "table", "--out", tmp_path / "held")
    assert done.status == 0, done.err
    assert "Are the probabilities right?" in done.out
    written = json.loads((tmp_path / "held" / "metrics.json").read_text(encoding="utf-8"))
    low, high = written["probabilities"]["interval"]
    assert 0 <= low <= high
    assert "Expected calibration error" in (tmp_path / "held" / "report.html").read_text("utf-8")
    assert sdmad(*arguments, "0.2", "--out", tmp_path / "other").status == 0
    answers = sdmad(*arguments, "table", "--error-rate", "0.4", "--out", tmp_path / "sure")
    assert answers.status == 0, answers.err
    assert "Answers at an error rate of 0.4" in answers.out
    told = json.loads((tmp_path / "sure" / "metrics.json").read_text(encoding="utf-8"))["answers"]
    assert told["error_rate"] == 0.4
    assert 0 <= told["images without"]["wrong"] <= 1
    likely = sdmad(*arguments, "table", "--decision", "likely:0.5", "--out", tmp_path / "likely")
    assert likely.status == 0, likely.err
    few = sdmad(*arguments, "table", "--error-rate", "0.01", "--out", tmp_path / "few")
    assert few.status == 2
    assert "need at least 99 patients with and 99 without" in few.err
    wrong = sdmad(*arguments, "Ring=0.2", "--out", tmp_path / "wrong")
    assert wrong.status == 2
    assert "no prevalence is stated of Bar, Dots" in wrong.err
    assert not (tmp_path / "wrong").exists()


def test_a_model_without_log_odds_has_no_probabilities(sdmad, model, data, tmp_path):
    done = sdmad("evaluate", model, data, "--prevalence", "0.1", "--out", tmp_path / "none")
    assert done.status == 2
    assert "gives no probabilities" in done.err
