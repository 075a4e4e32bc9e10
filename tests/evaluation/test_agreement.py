"""Kappa by hand, its interval beside the asymptotic one, and what has none."""

import math

import numpy as np
import pytest

from sdmad.errors import InputError
from sdmad.evaluation.agreement import agreement

ONE = [1] * 25 + [0] * 25
OTHER = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15


def test_two_readers_by_hand():
    assert agreement([ONE, OTHER], range(50)).kappa == pytest.approx(0.4)  # (.7 - .5) / (1 - .5)
    flipped = [1 - v for v in ONE]
    assert agreement([ONE, flipped], range(50)).kappa == pytest.approx(-1)


def test_the_interval_is_as_wide_as_the_asymptotic_one():
    # Fleiss, Cohen and Everitt 1969: shares .4 .1 .2 .3, rows .5 .5, columns .6 .4, kappa .4 and
    # chance .5 give the variance (.4 * .34^2 + .3 * .46^2 + .36 * (.1 * 1.1^2 + .2 * .9^2) - .1^2)
    # / (50 * .5^2) = .016128.
    error = math.sqrt(0.016128)
    found = agreement([ONE, OTHER], range(50), resamples=4000)
    assert (found.high - found.low) / 2 == pytest.approx(2.0096 * error, rel=0.08)  # t of 49
    assert (found.high + found.low) / 2 == pytest.approx(0.4, abs=0.04)  # a little nearer to 0


def test_full_agreement_has_an_interval_by_hand():
    # Half yes: one patient's variance at kappa k is 1 - k^2. With t of 49 squared over 50 patients,
    # c = 2.0096^2 / 50 = .08077, the lower end is where (1 - k)^2 = c (1 - k^2): (1 - c) / (1 + c).
    found = agreement([ONE, ONE], range(50))
    assert (found.kappa, found.high) == (1, 1)
    assert found.low == pytest.approx(0.85053, abs=1e-4)
    flipped = agreement([ONE, [1 - v for v in ONE]], range(50))
    assert (flipped.low, flipped.high) == (-1, pytest.approx(-0.85053, abs=1e-4))


def test_few_who_say_yes_leave_much_open():
    # Three yes each, none in common: resampling never finds any, kappa stays below 0.
    one, other = np.zeros((2, 100))
    one[:3], other[3:6] = 1, 1
    found = agreement([one, other], range(100))
    assert found.kappa == pytest.approx(-0.0309, abs=1e-3)
    assert found.low <= found.kappa
    assert 0.2 < found.high < 0.6


def test_more_readers_are_the_mean_over_pairs():
    third = ONE
    pairs = [agreement(pair, range(50)).kappa for pair in ([ONE, OTHER], [ONE, third])]
    found = agreement([ONE, OTHER, third], range(50)).kappa
    assert found == pytest.approx((pairs[0] + pairs[1] + pairs[0]) / 3)


def test_cases_that_only_one_has_judged_do_not_count():
    nan = float("nan")
    found = agreement([[*ONE, 1, 0], [*OTHER, nan, nan]], range(52))
    assert found.kappa == pytest.approx(0.4)


def test_images_of_one_patient_widen_the_interval():
    patients = np.arange(50) // 5
    wide, narrow = agreement([ONE, OTHER], patients), agreement([ONE, OTHER], range(50))
    assert wide.kappa == narrow.kappa
    assert wide.high - wide.low > narrow.high - narrow.low


def test_what_has_no_interval_has_none():
    assert math.isnan(agreement([ONE, OTHER], range(50), resamples=0).low)
    assert math.isnan(agreement([[1, 1], [1, 1]], range(2)).kappa)
    assert math.isnan(agreement([ONE, OTHER], [0] * 50).low)
    with pytest.raises(InputError, match="two readers"):
        agreement([ONE], range(50))
