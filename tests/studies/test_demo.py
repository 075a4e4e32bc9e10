"""The demo end to end on few phantoms and the small random backbone."""

import csv
import json

import pytest

import sdmad.studies.demo as demonstration
from sdmad import SDMAD, load_backbone
from sdmad.baselines.registry import load_system
from sdmad.cli import main
from sdmad.data.table import read_label_table
from sdmad.studies.draw import PAPER_SYSTEMS


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
    for name in [load_system(system).title for system in PAPER_SYSTEMS]:
        assert name in said.out
        assert name in report
        assert name in tables
    assert "predict nothing" in said.out
    assert "zero-shot CLIP, category names (names not seen in pretraining)" in report
    with (out / "scores.csv").open(encoding="utf-8") as file:
        assert all((out / row["file"]).is_file() for row in csv.DictReader(file))
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

    monkeypatch.setattr(demonstration, "evaluate_scores", interrupted)
    arguments = ("oct", "--shots", 1, "--out", tmp_path / "demo")
    assert run(monkeypatch, *arguments) == 130
    assert list(tmp_path.iterdir()) == []


def test_the_demo_replaces_nothing_without_force(small_demo, tmp_path, monkeypatch, capsys):
    (tmp_path / "thesis.txt").write_text("years")
    assert run(monkeypatch, "oct", "--out", tmp_path) == 2
    assert "--force" in capsys.readouterr().err
