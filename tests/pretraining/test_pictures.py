"""Pretraining's pictures: which patch shows what, and that a run goes on where it was."""

import numpy as np
import pytest

from pretraining import pictures
from pretraining.pictures import (
    GRID,
    chunk_path,
    draw_pictures,
    load_pictures,
    patch_shares,
)
from sdmad.backbones import LITE_FOLDER


def test_shares_of_a_mask_that_fits_the_grid():
    mask = np.zeros((240, 240), bool)
    mask[48:72, 96:120] = True  # one patch
    mask[150:156, 0:24] = True  # a quarter of another
    shares = patch_shares(mask)
    assert shares[2, 4] == pytest.approx(1)
    assert shares[6, 0] == pytest.approx(0.25)
    assert shares.sum() == pytest.approx(1.25)


def test_shares_of_a_mask_whose_pixels_lie_across_patches():
    mask = np.zeros((128, 128), bool)
    mask[12, 25] = (
        True  # patches are 12.8 px: the row is .8 in the first, the column .6 in the second
    )
    shares = patch_shares(mask) * 12.8**2
    assert shares[0, 1] == pytest.approx(0.8 * 0.6, abs=1e-4)
    assert shares[1, 1] == pytest.approx(0.2 * 0.6, abs=1e-4)
    assert shares.sum() == pytest.approx(1, abs=1e-4)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 4)
    monkeypatch.setattr(pictures, "TRUNK_BATCH", 2)
    monkeypatch.setattr(pictures, "DRAWN", (96,))


def test_an_interrupted_run_draws_only_what_is_missing(small, tmp_path, capsys):
    draw_pictures({"oct": 8}, LITE_FOLDER, tmp_path, workers=1)
    first = load_pictures("oct", 8, tmp_path)
    rows = np.array([1, 6])
    before = first.maps_of(rows)
    chunk_path(tmp_path, "oct", 1).unlink()
    stamp = chunk_path(tmp_path, "oct", 0).stat().st_mtime_ns
    capsys.readouterr()
    draw_pictures({"oct": 8}, LITE_FOLDER, tmp_path, workers=1)
    assert chunk_path(tmp_path, "oct", 0).stat().st_mtime_ns == stamp
    assert capsys.readouterr().out == "drew chunk 1 of 1\n"
    again = load_pictures("oct", 8, tmp_path)
    assert (again.maps_of(rows) == before).all()
    np.testing.assert_array_equal(again.signs, first.signs)
    assert before.shape == (2, 152, 3 * GRID, 3 * GRID)
