"""The study of all systems, on few phantoms and three of them."""

from dataclasses import replace

import pytest

from benchmarks import comparison as study
from benchmarks import results_tables as tables
from sdmad.baselines.registry import SYSTEMS
from sdmad.studies import material
from tests.toys import toy

WRITTEN = (tables.COMPARED_MEANS, tables.DECISIONS, tables.COMPARED_CATEGORIES)


@pytest.fixture
def few(monkeypatch):
    """Three quick systems, the last of them for one kind of anomaly."""
    monkeypatch.setitem(SYSTEMS, "bright", toy())
    monkeypatch.setattr(study, "SYSTEMS", dict.fromkeys(["clip-signs", "linear-probe", "bright"]))
    monkeypatch.setattr(study, "STUDIED", ("oct",))
    monkeypatch.setattr(study, "SHOTS", (1, 2))
    monkeypatch.setattr(study, "RESAMPLES", 20)
    monkeypatch.setattr(
        study,
        "open_material",
        lambda name, root, bank, out, say: material.open_material(name, root, bank, out, say, 60),
    )
    study.material.cache_clear()
    yield
    study.material.cache_clear()


def test_whole_draws_are_read_and_written(few, tmp_path):
    for job in study.jobs(2)[:-1]:
        assert study.run_job(tmp_path, job, ("bright",)) == ""
    found = study.read(tmp_path, 2)
    assert [len(c.outcomes) for c in found["oct", 1]] == [2, 2, 1]  # the last lacks a draw
    study.write_tables(tmp_path / "tables", tmp_path, found)
    stored = {kind: tables.load(tmp_path / "tables", kind) for kind in WRITTEN}
    assert list(stored[tables.COMPARED_MEANS]) == [("1",), ("2",)]
    (bright,) = (r for r in stored[tables.COMPARED_MEANS]["2",].rows if r[0].startswith("bright"))
    assert bright[:2] == ("brightness °", "1")
    assert bright.count("n/a") == 4  # of protocols 2 and 3
    decisions = stored[tables.DECISIONS]["oct", "1"]
    assert decisions.rows[0][0] == "none"
    assert "Macro F1" in decisions.header
    by_category = stored[tables.COMPARED_CATEGORIES]["oct", "2"]
    assert len(by_category.rows) == 3  # positives, and the two that were asked
    assert not (tmp_path / "tables" / "peers.csv").exists()  # SD-MAD is not among them
    assert study.run_job(tmp_path, study.jobs(2)[-1], ("bright",)) == ""
    assert [len(c.outcomes) for c in study.read(tmp_path, 2)["oct", 1]] == [2, 2, 2]
    # An answer to the one question does not count as answers to all.
    assert not study.done(tmp_path, (0, "oct", "bright"), general_only=False)
    assert study.done(tmp_path, (0, "oct", "bright"), general_only=True)
    assert study.run_job(tmp_path, (0, "oct", "bright"), ()) == ""
    (bright,) = study.read(tmp_path, 2)["oct", 1][2:]
    assert [o.image_level_only for o in bright.outcomes] == [False]


def test_systems_that_take_minutes_get_fewer_draws():
    asked = [(job[2], job[0]) for job in study.jobs(5) if job[1] == "oct"]
    assert [seed for name, seed in asked if name == "mvfa"] == [0, 1, 2]
    assert [seed for name, seed in asked if name == "lp-plus-plus"] == [0, 1, 2, 3, 4]
    assert [name for name, seed in asked if seed == 0] == list(SYSTEMS)
    assert set(study.SLOW) <= set(SYSTEMS)
    assert study.jobs(2)[-1][0] == 1


def test_what_is_trained_elsewhere_is_trained_once(few, monkeypatch, tmp_path):
    built = []
    elsewhere = replace(toy("elsewhere", fitted=built), learns_from="auxiliary set")
    monkeypatch.setitem(SYSTEMS, "elsewhere", elsewhere)
    job = (0, "oct", "elsewhere")
    assert study.run_job(tmp_path, job, ()) == ""
    assert len(built) == 1
    assert study.done(tmp_path, job, general_only=False)  # with every number of shots
