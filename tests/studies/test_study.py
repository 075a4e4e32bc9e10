import numpy as np
import pytest

from sdmad.baselines import ZeroShotCLIP
from sdmad.data.fewshot import draw_support
from sdmad.data.table import read_label_table
from sdmad.evaluation.intervals import DrawSummary
from sdmad.evaluation.labelled_scores import labelled_scores
from sdmad.studies.study import Setting, cell, read_draws, run_draw, trivial_draws


@pytest.fixture
def setting(tmp_path, make_data, small_bank):
    table = read_label_table(make_data(tmp_path / "data"), small_bank.names)
    return Setting("pictures", small_bank, table, 1)


@pytest.fixture
def fit(tiny_backbone):
    """Fit one system, and count how often."""

    def fit_one(episode):
        fit_one.calls += 1
        yield "signs", ZeroShotCLIP(episode.bank, tiny_backbone)

    fit_one.calls = 0
    return fit_one


def test_a_cell_shows_mean_deviation_and_interval_in_percent():
    assert cell(DrawSummary(0.5, 0.01, 0.4, 0.6)) == "50.0 ± 1.0 [40.0, 60.0]"
    assert cell(DrawSummary(float("nan"), 0.0, 0.0, 0.0)) == "n/a"


def test_predicting_nothing_stands_beside_the_systems():
    labels = np.array([[1.0, 0.0], [0.0, 0.0]])
    one = labelled_scores(labels, labels, labels, labels[:, 0], labels.sum(1) == 0, ["a", "b"])
    nothing = trivial_draws([one], "none")[0]
    assert not nothing.decisions.any()
    assert nothing.patients == one.patients


def test_a_draw_holds_what_each_system_said_of_the_judged_images(
    setting, fit, tiny_backbone, tmp_path
):
    run_draw(setting, 3, fit, tmp_path / "draws")
    (found,) = read_draws(setting, [3], tmp_path / "draws")["signs"]
    rest = setting.table.subset(draw_support(setting.table, 1, 3).evaluation(setting.table))
    alone = ZeroShotCLIP(setting.bank, tiny_backbone).score_images(rest.files)
    np.testing.assert_allclose(found.scores, alone.scores, atol=1e-6)
    np.testing.assert_array_equal(found.labels, rest.labels)
    assert found.patients == rest.patient_keys()


def test_a_finished_draw_is_not_run_again(setting, fit, tmp_path):
    for _ in range(2):
        run_draw(setting, 0, fit, tmp_path)
    assert fit.calls == 1


def test_an_interrupted_draw_goes_on_with_the_next_piece(setting, fit, tmp_path, monkeypatch):
    import sdmad.studies.study as study

    monkeypatch.setattr(study, "PIECE", 4)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_draw(setting, 0, fit, whole)
    true_scoring, scored = study.score_systems, []

    def interrupted(systems, images, progress):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(len(images))
        return true_scoring(systems, images, progress)

    monkeypatch.setattr(study, "score_systems", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_draw(setting, 0, fit, cut)
    rest = []
    monkeypatch.setattr(
        study, "score_systems", lambda s, i, p: rest.append(len(i)) or true_scoring(s, i, p)
    )
    run_draw(setting, 0, fit, cut)
    one, other = (read_draws(setting, [0], folder)["signs"][0] for folder in (whole, cut))
    np.testing.assert_array_equal(one.scores, other.scores)
    assert scored == [4, 4]
    assert sum(rest) == len(one.labels) - 8
    assert [path.name for path in cut.iterdir()] == ["pictures-1shot-0.npz"]
