import dataclasses

import pytest

import sdmad.studies.stress.results as results
import sdmad.studies.stress.runs as runs
from sdmad.detector.sdmad import train_adapters


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One epoch, one kind and amount of noise, few resamples."""

    def short(images, texts, labels, category, config, *rest):
        config = dataclasses.replace(config, epochs=min(config.epochs, 1))
        return train_adapters(images, texts, labels, category, config, *rest)

    monkeypatch.setattr("sdmad.detector.sdmad.train_adapters", short)
    for module in (runs, results):
        monkeypatch.setattr(module, "COUNTS", (1,))
        monkeypatch.setattr(module, "KINDS", ("wrong",))
    monkeypatch.setattr(results, "RESAMPLES", 20)


def test_the_results_are_written_and_told(sdmad, small_bank_file, data, tiny_clip, tmp_path):
    out = tmp_path / "stress"
    done = sdmad(
        *("signs", "stress", small_bank_file, "--labels", data, "--backbone", tiny_clip),
        *("--shots", 1, "--seeds", 1, "--out", out),
    )
    assert done.status == 0, done.err
    endings = ("md", "csv", "json", "png")
    assert done.out.split() == [str(out / f"stress.{ending}") for ending in endings]
    assert all((out / f"stress.{ending}").stat().st_size > 0 for ending in endings)
    assert "wrong, 1 added a category (2 of 2): draw 1 of 1" in done.err


def test_a_users_mistakes_end_in_one_line(sdmad, small_bank_file, data, tiny_clip, tmp_path):
    mine = ("signs", "stress", small_bank_file, "--backbone", tiny_clip)
    done = sdmad(*mine, "--out", tmp_path / "out")
    assert done.status == 2
    assert "no phantoms of 'picture'" in done.err
    assert "Traceback" not in done.err
    (tmp_path / "file").write_text("in the way")
    done = sdmad(*mine, "--labels", data, "--out", tmp_path / "file")
    assert done.status == 2
    assert "a file is in the way" in done.err
    (data.parent / "000.png").write_text("no picture")
    done = sdmad(*mine, "--labels", data, "--out", tmp_path / "out", "--shots", 1, "--seeds", 1)
    assert done.status == 2
    assert "000.png" in done.err
