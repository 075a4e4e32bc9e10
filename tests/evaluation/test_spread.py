"""How parts, draws and patients come together, by hand."""

import numpy as np
import pytest
from scipy import stats

from sdmad.evaluation.limits import Basis, score_interval
from sdmad.evaluation.spread import Spread, difference, joint_basis

SHARE, NAN = Basis("share", (40,)), float("nan")
UP_DOWN = np.tile([0.05, -0.05], 500)
VARIANCE = 0.0025 * 1000 / 999


def test_draws_and_patients_add_up_as_squares_each_side_for_itself():
    # Draws at .5, .6 and .7, all .05 higher or lower with other patients.
    points = np.array([[0.5, 0.6, 0.7]])
    one = Spread(points, points[:, :, None] + UP_DOWN, (SHARE,))
    of_draws = stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert one.draws_reach == pytest.approx(of_draws)
    low, high = score_interval(0.6, 0.24 / VARIANCE)
    assert one.interval(draws=False) == pytest.approx((low, high))
    expected = (0.6 - np.hypot(of_draws, 0.6 - low), 0.6 + np.hypot(of_draws, high - 0.6))
    assert one.interval() == pytest.approx(expected)


def test_what_patients_do_to_each_draw_apart_is_in_the_draws_already():
    # Eight resamples in which each draw goes up and down whatever the others do.
    points = np.array([[0.5, 0.6, 0.7]])
    signs = np.array([[1, 1, 1, 1, -1, -1, -1, -1], [1, 1, -1, -1] * 2, [1, -1] * 4])
    one = Spread(points, points[:, :, None] + 0.05 * signs[None], (SHARE,))
    assert one.interval() == pytest.approx((0.6 - one.draws_reach, 0.6 + one.draws_reach))


def test_one_draw_and_draws_that_are_all_alike_have_the_patients_interval():
    values = 0.6 + UP_DOWN
    one = Spread(np.array([[0.6]]), values[None, None], (SHARE,))
    alike = Spread(np.full((1, 3), 0.6), np.tile(values, (1, 3, 1)), (SHARE,))
    assert one.interval() == pytest.approx(score_interval(0.6, 0.24 / VARIANCE))
    assert alike.interval() == pytest.approx(one.interval())
    assert np.isnan(one.deviation)
    assert one.draws_reach == alike.draws_reach == 0


@pytest.mark.parametrize(("second", "times"), [(UP_DOWN, 1.0), (-UP_DOWN, 0.0)])
def test_the_mean_of_parts_varies_by_their_correlation(second, times):
    points = np.array([[0.6], [0.6]])
    both = Spread(points, np.stack([0.6 + UP_DOWN, 0.6 + second])[:, None], (SHARE, SHARE))
    low, high = both.interval()
    if times:
        assert (low, high) == pytest.approx(score_interval(0.6, 0.24 / VARIANCE))
    else:
        assert (low, high) == pytest.approx((0.6, 0.6))


def test_a_part_without_a_value_is_left_out():
    points, values = np.array([[0.6], [NAN]]), np.stack([0.6 + UP_DOWN, np.full(1000, NAN)])
    both = Spread(points, values[:, None], (SHARE, SHARE))
    assert both.mean == 0.6
    assert both.interval() == pytest.approx(both.part(0).interval())
    assert np.isnan(both.part(1).interval()).all()


def test_a_rare_part_that_varies_in_no_resample_still_counts():
    # Two categories of 5 and 50 patients, both ranked perfectly in every resample.
    bases = (Basis("auroc", (5, 100)), Basis("auroc", (50, 100)))
    both = Spread(np.ones((2, 1)), np.ones((2, 1, 100)), bases)
    low, high = both.interval()
    assert both.part(0).interval()[0] < low < both.part(1).interval()[0] < high == 1


def test_a_differences_freedom_is_that_of_its_few():
    # Variances alike of 5 and of 40 patients: Satterthwaite's (1 + 1)^2 / (1 / 4 + 1 / 39).
    few = (Basis("auroc", (5, 90)), Basis("auroc", (40, 90)))
    values = np.stack([np.repeat(UP_DOWN, 2), np.tile(UP_DOWN, 2)])[:, None]
    a = Spread(np.zeros((2, 1)), values, few)
    b = Spread(np.zeros((2, 1)), np.zeros_like(values), few)
    variance = 0.0025 * 2000 / 1999
    reach = stats.t.ppf(0.975, 4 / (1 / 4 + 1 / 39)) * np.sqrt(variance / 2)
    assert difference(a, b).difference_interval() == pytest.approx((-reach, reach), rel=1e-6)
    assert np.isnan(difference(a, a).difference_interval()).all()


def test_without_resamples_there_is_no_interval():
    one = Spread(np.array([[0.6, 0.7]]), np.zeros((1, 2, 0)), (SHARE,))
    assert np.isnan([*one.interval(), *one.difference_interval()]).all()
    assert one.mean == pytest.approx(0.65)


def test_draws_that_judge_other_patients_rest_on_their_mean_number():
    bases = [Basis("auroc", (4, 20)), Basis("auroc", (5, 22)), Basis("auroc", (6, 21))]
    assert joint_basis(bases) == Basis("auroc", (5, 21))
