"""Probabilities held to labels: by hand, by simulation, and the interval's coverage."""

import numpy as np
import pytest

from sdmad.errors import InputError
from sdmad.evaluation.reliability import reliability


def test_the_error_by_hand():
    # Two bins of equal probabilities: .2 where 1 of 4 is positive, .8 where 4 of 4 are.
    likely = np.array([[0.2]] * 4 + [[0.8]] * 4)
    labels = np.array([[1.0], [0], [0], [0], [1], [1], [1], [1]])
    found = reliability(likely, labels, range(8), resamples=0)
    assert found.cells == (4, 4)
    assert found.predicted == pytest.approx((0.2, 0.8))
    assert found.observed == (0.25, 1.0)
    assert found.error == pytest.approx((4 * 0.05 + 4 * 0.2) / 8)
    assert np.isnan(found.interval).all()


def test_bins_hold_as_many_cells_each_and_unknown_labels_none():
    likely = np.linspace(0.01, 0.99, 100)[:, None]
    labels = np.zeros((100, 1))
    labels[:50] = np.nan
    found = reliability(likely, labels, range(100), resamples=0)
    assert found.cells == (5,) * 10
    assert found.predicted[0] > 0.5
    with pytest.raises(InputError, match="no label is known"):
        reliability(likely, np.full((100, 1), np.nan), range(100))


def draw(seed, bent=1.0, patients=150):
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1, 1.5, (patients, 3))
    truth = rng.random(odds.shape) < 1 / (1 + np.exp(-odds))
    return 1 / (1 + np.exp(-bent * odds)), truth.astype(float), range(patients)


def test_true_probabilities_have_a_small_error_and_bent_ones_a_large_one():
    right = reliability(*draw(0, patients=5000), resamples=20)
    wrong = reliability(*draw(0, bent=3.0, patients=5000), resamples=20)
    assert right.error < 0.015
    assert wrong.error > 0.08
    assert right.interval[0] <= right.error <= max(right.interval[1], right.error)


def test_the_interval_holds_the_error_of_many_images():
    truth = reliability(*draw(10**6, bent=2.0, patients=200_000), resamples=0).error
    held = 0
    for seed in range(60):
        low, high = reliability(*draw(seed, bent=2.0), resamples=200).interval
        held += low <= truth <= high
    assert held >= 52


def test_right_probabilities_keep_zero_in_their_interval():
    held = 0
    for seed in range(60):
        found = reliability(*draw(seed), resamples=200)
        low, high = found.interval
        assert low <= found.error <= high
        held += low == 0
    assert held >= 52
    assert reliability(*draw(0, bent=3.0, patients=2000), resamples=50).interval[0] > 0.03


def test_images_of_one_patient_are_resampled_together():
    likely, labels, _ = draw(1)
    alone = reliability(likely, labels, range(150), resamples=300)
    together = reliability(
        np.repeat(likely, 8, 0), np.repeat(labels, 8, 0), [i // 8 for i in range(1200)], 300
    )
    assert together.error == pytest.approx(alone.error, abs=1e-9)
    assert together.interval[1] == pytest.approx(alone.interval[1], rel=0.15)
    assert np.isnan(reliability(likely, labels, [0] * 150).interval).all()


def test_an_interval_by_hand():
    # One bin of ten images called .5 of which eight are positive: the gap is .3, and resampling
    # moves it by .1 either way. Were the true gap f times .3, .3 would be seen or passed in half of
    # the cases from f = 2/3 (.2 + .1) to f = 4/3 (.4 - .1) and always beyond.
    from sdmad.evaluation.reliability import _inverted

    low, high = _inverted(np.array([[0.3]]), np.tile([0.1, -0.1], 50)[None])
    assert (low, high) == pytest.approx((0.2, 0.4))
