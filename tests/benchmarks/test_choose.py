"""The choice of settings: ranks and the rule, by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.choose import AFTER, CANDIDATES, CROSS_MODAL, METRICS, agreement
from benchmarks.validation import choose, ranks
from sdmad import SDMADConfig
from tests.benchmarks.remarks import tables

ROOT = Path(__file__).parents[2]


def test_ranks_are_of_the_means_over_the_draws():
    cells = {
        # Means of the draws: a .6, .3, .5; b .5, .3, .6: ranks 1 2, 1.5 1.5, 2 1.
        "x-s-clean-1-0": {"a": [0.5, 0.2, 0.4], "b": [0.6, 0.3, 0.6]},
        "x-s-clean-1-1": {"a": [0.7, 0.4, 0.6], "b": [0.4, 0.3, 0.6]},
        # Another cell: a wins everything.
        "x-s-clean-4-0": {"a": [0.9, 0.9, 0.9], "b": [0.1, 0.1, 0.1]},
    }
    found = ranks(cells)
    assert found["a"] == pytest.approx((1 + 1.5 + 2 + 3 * 1) / 6)
    assert found["b"] == pytest.approx((2 + 1.5 + 1 + 3 * 2) / 6)


def test_the_first_that_is_near_the_best_is_chosen():
    assert choose({"simple": 2.1, "best": 2.0, "worse": 3.0}) == "simple"
    assert choose({"simple": 2.3, "best": 2.0, "near": 2.1}) == "best"


def test_styles_that_agree_correlate():
    same = {"a": [0.9, 0.9, 0.9], "b": [0.5, 0.5, 0.5], "c": [0.1, 0.1, 0.1]}
    other = {"a": [0.1, 0.1, 0.1], "b": [0.5, 0.5, 0.5], "c": [0.9, 0.9, 0.9]}
    pairs = {"x-validation-clean-1-0": same, "x-distant-clean-1-0": same}
    assert "correlate by 1.00" in agreement(pairs)
    assert "correlate by -1.00" in agreement({**pairs, "x-distant-clean-1-0": other})


def test_there_are_eight_candidates_that_differ_in_their_weights_alone():
    assert len({SDMADConfig(**one) for one in CANDIDATES.values()}) == 8
    for one in CANDIDATES.values():
        assert CROSS_MODAL.items() <= one.items()


def test_the_default_is_what_was_chosen():
    assert SDMADConfig(**CANDIDATES["text 1, prior fitted, penalty 30, trunk 1"]) == SDMADConfig()
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert "| text 1, prior fitted, penalty 30, trunk 1 | chosen |" in page


def test_what_is_said_of_training_stands_in_the_table():
    (table,) = (t for names, t in tables("settings.md").items() if names[-1] == "Training")
    assert table.header[-6:] == tuple(
        f"{metric}, {group}" for group in ("distant", "foreign words") for metric in METRICS
    )
    frozen, *trained = (np.array([float(cell) for cell in row[3:]]) for row in table.rows)
    gaps = np.array(trained) - frozen  # (epochs, 3 metrics of each of 3 groups)
    area, subset, f1 = (gaps[:, place::3] for place in range(3))
    said = " ".join(AFTER.split())
    assert (
        f"costs {-area.max():.1f} to {-area.min():.1f} points of AUROC and {-subset.max():.1f} to "
        f"{-subset.min():.1f} of subset accuracy"
    ) in said
    assert f"20 epochs {f1[1, 1]:.1f} points in the distant style, {f1[1, 2]:.1f} with" in said
    assert said in " ".join((ROOT / "docs" / "settings.md").read_text(encoding="utf-8").split())
