"""The study of all systems, on few phantoms and three of them."""

from dataclasses import replace

import pytest

from benchmarks import comparison as study
from sdmad.baselines.registry import SYSTEMS
from sdmad.studies import material
from tests.toys import toy


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(study, "SYSTEMS", dict.fromkeys(["clip-signs", "linear-probe", "winclip"]))
    monkeypatch.setattr(study, "MODALITIES", ("oct",))
    monkeypatch.setattr(study, "SHOTS", (1, 2))
    monkeypatch.setattr(study, "RESAMPLES", 20)
    monkeypatch.setattr(
        study,
        "open_material",
        lambda name, root, bank, out, say: material.open_material(name, root, bank, out, say, 40),
    )
    study.material.cache_clear()
    yield
    study.material.cache_clear()


def test_whole_draws_are_read_and_written(few, tmp_path):
    for job in study.jobs(2)[:-1]:
        assert study.run_job(tmp_path, job, ("winclip",)) == ""
    found = study.read(tmp_path, 2)
    assert [len(c.outcomes) for c in found["oct", 1]] == [2, 2, 1]  # the last lacks a draw
    page = study.page(tmp_path, found)
    assert "nano backbone; 2 draws, fewer where the table says so" in page
    assert "### Mean of the three modalities, 2 shots" in page
    winclip = next(line for line in page.splitlines() if line.startswith("| WinCLIP, zero-shot °"))
    assert winclip.startswith("| WinCLIP, zero-shot ° | 1 |")
    assert winclip.count("n/a") == 4  # of protocols 2 and 3
    decisions = page.split("### oct, 1 shot: decisions")[1].split("###")[0]
    assert "| none | " in decisions
    assert "Macro F1" in decisions
    by_category = page.split("### oct, 2 shots: each category's AUROC")[1].split("###")[0]
    assert by_category.count("\n| ") == 5  # names, a line, positives, and the two that were asked
    assert "oct, 1 shot: against the best peer" not in page  # SD-MAD is not among them
    assert study.run_job(tmp_path, study.jobs(2)[-1], ("winclip",)) == ""
    assert [len(c.outcomes) for c in study.read(tmp_path, 2)["oct", 1]] == [2, 2, 2]
    # An answer to the one question does not count as answers to all.
    assert not study.done(tmp_path, (0, "oct", "winclip"), general_only=False)
    assert study.done(tmp_path, (0, "oct", "winclip"), general_only=True)
    assert study.run_job(tmp_path, (0, "oct", "winclip"), ()) == ""
    (winclip,) = study.read(tmp_path, 2)["oct", 1][2:]
    assert [o.image_level_only for o in winclip.outcomes] == [False]


def test_what_is_trained_elsewhere_is_trained_once(few, monkeypatch, tmp_path):
    built = []
    elsewhere = replace(toy("elsewhere", fitted=built), learns_from="auxiliary set")
    monkeypatch.setitem(SYSTEMS, "elsewhere", elsewhere)
    job = (0, "oct", "elsewhere")
    assert study.run_job(tmp_path, job, ()) == ""
    assert len(built) == 1
    assert study.done(tmp_path, job, general_only=False)  # with every number of shots
