"""The study of the real sets, on pictures made up and two of the systems."""

import pytest

from benchmarks import realdata as study
from sdmad import SignBank
from sdmad.baselines.registry import SYSTEMS
from tests.conftest import write_data

REAL = study.RealSet("pictures", "Pictures", "small")


def test_every_system_that_runs_has_its_rows(monkeypatch, small_bank, tmp_path):
    monkeypatch.setattr(study, "SYSTEMS", dict.fromkeys(["clip-signs", "sd-mad", "medclip"]))
    monkeypatch.setattr(study, "SHOTS", 1)
    monkeypatch.setattr(study, "DRAWS", 2)
    monkeypatch.setattr(study, "RESAMPLES", 20)
    monkeypatch.setattr(study.SignBank, "load", lambda _: small_bank)
    write_data(tmp_path / "pictures")
    draws, engine = study.draws_on(REAL, tmp_path), study.engine_of(REAL, tmp_path / "out")
    for name in study.SYSTEMS:
        study.run_system(SYSTEMS[name], draws, engine)
    rows = list(study.read(draws, engine).values())
    assert [one.system.name for one in rows] == ["clip-signs", "sd-mad"]  # no weights of MedCLIP
    assert [len(one.outcomes) for one in rows] == [2, 2]
    engine.path(study.Variant(SYSTEMS["clip-signs"]), draws[1]).unlink()
    assert list(study.read(draws, engine)) == ["sd-mad"]
    everything, categories, gaps = study.tables_of(REAL, small_bank, rows)
    assert everything.title == "Pictures, 1 shot, 2 draws"
    assert [row[0] for row in everything.rows][-2:] == [
        SYSTEMS[n].title for n in ("clip-signs", "sd-mad")
    ]
    assert categories.header[1:] == small_bank.names
    assert {row[1] for row in gaps.rows} == {SYSTEMS["clip-signs"].title}


@pytest.mark.parametrize("real", study.SETS, ids=lambda real: real.folder)
def test_every_set_has_a_bank(real):
    assert SignBank.load(real.bank).names
