"""The study of all systems, on few phantoms and three of them."""

from dataclasses import replace

import pytest

from benchmarks import comparison as study
from benchmarks import made_with
from benchmarks import results_tables as tables
from sdmad.baselines.registry import SYSTEMS
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.studies import material
from sdmad.table import Table
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
    made_with.digest.cache_clear()  # of systems of which one is a toy


def test_whole_draws_are_read_and_written(few, tmp_path):
    for job in study.jobs(2, study.STUDIED)[:-1]:
        assert study.run_job(tmp_path, job, ("bright",)) == ""
    found = study.read(tmp_path, 2, study.STUDIED)
    assert [len(c.outcomes) for c in found["oct", 1]] == [2, 2, 1]  # the last lacks a draw
    study.write_tables(tmp_path / "comparison", tmp_path, found)
    stored = {kind: tables.load(tmp_path / "comparison", kind) for kind in WRITTEN}
    assert list(stored[tables.COMPARED_MEANS]) == [("1",), ("2",)]
    (bright,) = (r for r in stored[tables.COMPARED_MEANS]["2",].rows if r[0].startswith("bright"))
    assert bright[:2] == ("brightness °", "1")
    (one,) = tables.load(tmp_path / "comparison", tables.SETTLED)
    assert one == ("oct",)
    assert bright.count("n/a") == 4  # of protocols 2 and 3
    decisions = stored[tables.DECISIONS]["oct", "1"]
    assert decisions.rows[0][0] == "none"
    assert "Macro F1" in decisions.header
    by_category = stored[tables.COMPARED_CATEGORIES]["oct", "2"]
    assert len(by_category.rows) == 3  # positives, and the two that were asked
    assert not (tmp_path / "comparison" / "peers.csv").exists()  # SD-MAD is not among them
    assert study.run_job(tmp_path, study.jobs(2, study.STUDIED)[-1], ("bright",)) == ""
    assert [len(c.outcomes) for c in study.read(tmp_path, 2, study.STUDIED)["oct", 1]] == [2, 2, 2]
    # An answer to the one question does not count as answers to all.
    assert not study.done(tmp_path, (0, "oct", "bright"), general_only=False)
    assert study.done(tmp_path, (0, "oct", "bright"), general_only=True)
    assert study.run_job(tmp_path, (0, "oct", "bright"), ()) == ""
    (bright,) = study.read(tmp_path, 2, study.STUDIED)["oct", 1][2:]
    assert [o.image_level_only for o in bright.outcomes] == [False]


def table(*rows):
    return Table("", ("System", "Draws", *METRICS), rows)


METRICS = [METRIC_TITLES[m] for m in (*study.METRICS, *study.PIXEL_METRICS)]


def test_means_are_of_the_systems_that_were_run_on_every_modality():
    rest = ["n/a"] * (len(METRICS) - 1)
    brain = table(("a", "5", "70.0 ± 1.0 [60.0, 80.0]", *rest), ("b", "5", "50.0", *rest))
    chest = table(("a", "3", "80.5", *rest))
    retina = table(("a", "5", "n/a", *rest), ("b", "5", "50.0", *rest))
    assert study.mean_table([brain, chest, retina]).rows == (("a", "3", "75.2", *rest),)  # 75.25
    assert [row[0] for row in study.mean_table([brain, retina]).rows] == ["a", "b"]


def test_tables_of_other_modalities_stay_while_they_are_as_new(tmp_path, monkeypatch):
    folder = tmp_path / "comparison"
    known = {keys: table((keys[0], "5", *"12345678")) for keys in (("brain", "1"), ("oct", "1"))}
    tables.store(folder, tables.RANKING, known.items())
    assert study.kept_tables(folder, tables.RANKING, ["oct"]) == {}  # nobody knows what made them
    made_with.record(folder, "brain")
    kept = study.kept_tables(folder, tables.RANKING, ["oct"])
    assert {keys: [row[0] for row in one.rows] for keys, one in kept.items()} == {
        ("brain", "1"): ["brain"]
    }
    assert study.kept_tables(folder, tables.RANKING, ["brain"]) == {}
    assert study.kept_tables(folder, tables.DECISIONS, []) == {}
    other = {**made_with.INGREDIENTS, "weights": lambda: "another backbone"}
    monkeypatch.setattr(made_with, "INGREDIENTS", other)
    assert study.kept_tables(folder, tables.RANKING, ["oct"]) == {}


def test_systems_that_take_minutes_get_fewer_draws():
    asked = [(job[2], job[0]) for job in study.jobs(5, study.STUDIED) if job[1] == "oct"]
    assert [seed for name, seed in asked if name == "mvfa"] == [0, 1, 2]
    assert [seed for name, seed in asked if name == "lp-plus-plus"] == [0, 1, 2, 3, 4]
    assert [name for name, seed in asked if seed == 0] == list(SYSTEMS)
    assert set(study.SLOW) <= set(SYSTEMS)
    assert study.jobs(2, study.STUDIED)[-1][0] == 1


def test_what_is_trained_elsewhere_is_trained_once(few, monkeypatch, tmp_path):
    built = []
    elsewhere = replace(toy("elsewhere", fitted=built), learns_from="auxiliary set")
    monkeypatch.setitem(SYSTEMS, "elsewhere", elsewhere)
    job = (0, "oct", "elsewhere")
    assert study.run_job(tmp_path, job, ()) == ""
    assert len(built) == 1
    assert study.done(tmp_path, job, general_only=False)  # with every number of shots
