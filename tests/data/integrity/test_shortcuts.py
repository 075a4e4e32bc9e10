import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sdmad.data.integrity.shortcuts import _area, _hanley, judge


@pytest.mark.parametrize("seed", range(5))
def test_area_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, 60) / 6
    member = rng.random(60) < 0.3
    assert _area(scores, member) == pytest.approx(roc_auc_score(member, scores))


def test_standard_error_of_hanley_and_mcneil():
    # A = 0.8, 50 and 50: Q1 = 0.8/1.2, Q2 = 1.28/1.8
    # (0.16 + 49 * (0.666667 - 0.64) + 49 * (0.711111 - 0.64)) / 2500 = 0.0019804
    assert _hanley(0.8, 50, 50) == pytest.approx(np.sqrt(0.00198044), rel=1e-4)


def test_a_class_is_judged_on_images_that_it_was_not_fitted_on():
    """Sizes that are all different tell nothing of another image."""
    headers = [f"{i}" for i in range(40)]
    member = np.arange(40) % 2 == 0
    found = judge("x", headers, member, np.ones(40, bool), np.arange(40) % 4 < 2)
    assert found.auroc == 0.5
    assert not found.gives_away


def test_by_hand():
    # each half: 10 of the class (8 "a"), 10 others (2 "a"): 0.8 * 0.8 + 0.5 * (2 * 0.8 * 0.2)
    headers = (["a"] * 8 + ["b"] * 2 + ["a"] * 2 + ["b"] * 8) * 2
    member = np.array(([True] * 10 + [False] * 10) * 2)
    found = judge("x", headers, member, np.ones(40, bool), np.arange(40) < 20)
    assert found.auroc == pytest.approx(0.64 + 0.16)
    assert found.tells == "b: 4 of 20, and 16 of 20 others"


def test_few_images_are_not_judged():
    member = np.arange(30) < 9
    assert judge("x", ["a"] * 30, member, np.ones(30, bool), np.arange(30) % 2 == 0) is None


def test_unknown_labels_do_not_count():
    headers = ["a"] * 20 + ["b"] * 20 + ["a"] * 20
    member = np.array([True] * 20 + [False] * 40)
    known = np.arange(60) < 40
    found = judge("x", headers, member, known, np.arange(60) % 2 == 0)
    assert found.auroc == 1.0
