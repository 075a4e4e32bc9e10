import dataclasses
import json

import numpy as np
import pytest

import sdmad.studies.demo as demonstration
from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.baselines import ZeroShotCLIP
from sdmad.cli import main
from sdmad.data.fewshot import draw_support
from sdmad.data.table import read_label_table
from sdmad.detector.sdmad import train_adapters
from sdmad.evaluation.protocols import evaluate_scored
from sdmad.studies.experiment import (
    NAMES,
    PRINTED,
    PRINTED_SELECTED,
    PROBE,
    RECOMMENDED,
    SELECTED,
    SIGNS,
    SYSTEMS,
    fit_systems,
    judged,
    score_systems,
    table_episode,
)


@pytest.fixture
def one_epoch(monkeypatch):
    """Every training takes one epoch, whatever the settings say."""

    def short(images, texts, labels, category, config, *rest):
        quick = dataclasses.replace(config, epochs=1)
        return train_adapters(images, texts, labels, category, quick, *rest)

    monkeypatch.setattr("sdmad.detector.sdmad.train_adapters", short)


@pytest.fixture
def table(tmp_path, make_data, small_bank):
    return read_label_table(make_data(tmp_path / "data"), small_bank.names)


@pytest.fixture
def episode(table, small_bank, tiny_backbone):
    return table_episode(small_bank, table, draw_support(table, 1, 0), seed=0)


def test_an_episode_keeps_the_drawn_patients_out_of_the_test(table, small_bank, tiny_backbone):
    support = draw_support(table, 1, 0)
    episode = table_episode(small_bank, table, support, 0)
    drawn = {table.patient_keys()[i] for i in support.indices}
    assert not drawn & set(episode.patients)
    assert len(episode.images) == len(support.indices) == len(episode.labels)
    assert len(episode.test_images) == len(episode.test_labels) == len(episode.normal)
    assert len(episode.test_images) == 24 - 2 * len(drawn)
    rest = [f for f, key in zip(table.files, table.patient_keys(), strict=True) if key not in drawn]
    assert list(episode.test_images) == rest


def test_every_system_is_fitted_in_the_order_of_the_table(episode, tiny_backbone, one_epoch):
    found = dict(fit_systems(episode, tiny_backbone))
    assert tuple(found) == SYSTEMS
    assert found[NAMES].bank.sentences[0] == "picture with ring"
    assert found[SIGNS].head.keep.all()
    assert found[SELECTED].head.signs.equal(found[SIGNS].head.signs)
    assert found[PRINTED_SELECTED].config == SDMADConfig.paper()
    assert found[PRINTED].config == SDMADConfig.paper(selection="none")
    assert found[PRINTED].head.keep.all()
    assert found[PRINTED].head.signs.equal(found[PRINTED_SELECTED].head.signs)
    assert found[RECOMMENDED].config == SDMADConfig()
    for scores in score_systems(found, episode.test_images).values():
        assert scores.scores.shape == (len(episode.test_images), 3)
        evaluation = evaluate_scored(judged(episode, scores), episode.bank.names, 0)
        assert 0 <= evaluation.mean_auroc <= 1


def test_a_choice_of_systems_is_fitted_alone(episode, tiny_backbone, one_epoch):
    assert [n for n, _ in fit_systems(episode, tiny_backbone, (PROBE, SIGNS))] == [SIGNS, PROBE]
    printed = dict(fit_systems(episode, tiny_backbone, (PRINTED,)))
    both = dict(fit_systems(episode, tiny_backbone, (PRINTED, PRINTED_SELECTED)))
    assert list(printed) == [PRINTED]
    assert printed[PRINTED].head.signs.equal(both[PRINTED].head.signs)


def test_systems_that_are_scored_together_say_what_each_says_alone(fitted, table, make_clip):
    other = ZeroShotCLIP(fitted.bank_, load_backbone(make_clip(seed=5), image_size=24))
    scores = score_systems({"fitted": fitted, "other": other}, table.files)
    for name, system in (("fitted", fitted), ("other", other)):
        alone = system.decision_function(table.files)
        np.testing.assert_allclose(scores[name].scores, alone, atol=1e-5)
    assert not np.allclose(scores["fitted"].scores, scores["other"].scores)


# The demo


@pytest.fixture
def small_demo(monkeypatch, one_epoch, tiny_clip):
    """Sixty phantoms, one epoch, few resamples, on the small random backbone."""
    monkeypatch.setattr(demonstration, "IMAGES", 60)
    monkeypatch.setattr(demonstration, "RESAMPLES", 10)
    monkeypatch.setattr(demonstration, "load_backbone", lambda name: load_backbone(tiny_clip))


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["sdmad", "demo", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main.run()
    return end.value.code


def test_the_demo_leaves_phantoms_a_model_and_a_report_with_every_system(
    small_demo, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "demo"
    assert run(monkeypatch, "oct", "--shots", 1, "--out", out) == 0
    said = capsys.readouterr()
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["mean_auroc"] <= 1
    assert f"report: {out / 'report.html'}" in said.out
    report = (out / "report.html").read_text(encoding="utf-8")
    tables = (out / "tables.md").read_text(encoding="utf-8")
    for name in SYSTEMS:
        assert name in said.out
        assert name in report
        assert name in tables
    assert "predict nothing" in said.out
    assert f"{NAMES} (names not seen in pretraining)" in report
    model = SDMAD.load(out / "model")
    table = read_label_table(out / "phantoms" / "labels.csv", model.categories)
    support = json.loads((out / "model.support.json").read_text(encoding="utf-8"))
    drawn = {name for names in support["served"].values() for name in names}
    assert len(model.support_hashes_) == len(drawn)
    people = {
        patient
        for file, patient in zip(table.files, table.patients, strict=True)
        if f"images/{file.name}" in drawn
    }
    known = model.support_patients_.contain(table.patients)
    assert known == [patient in people for patient in table.patients]


def test_an_interrupted_demo_leaves_nothing_behind(small_demo, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(demonstration, "judge", interrupted)
    arguments = ("oct", "--shots", 1, "--out", tmp_path / "demo")
    assert run(monkeypatch, *arguments) == 130
    assert list(tmp_path.iterdir()) == []


def test_the_demo_replaces_nothing_without_force(small_demo, tmp_path, monkeypatch, capsys):
    (tmp_path / "thesis.txt").write_text("years")
    assert run(monkeypatch, "oct", "--out", tmp_path) == 2
    assert "--force" in capsys.readouterr().err
