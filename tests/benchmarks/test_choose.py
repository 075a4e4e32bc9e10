"""The choice of settings: ranks and the rule, by hand."""

from pathlib import Path

import pytest

from benchmarks.choose import CANDIDATES, CROSS_MODAL, agreement
from benchmarks.validation import choose, ranks
from sdmad import SDMADConfig

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
