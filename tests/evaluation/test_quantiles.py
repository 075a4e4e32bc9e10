import numpy as np
import pytest

from sdmad.evaluation.quantiles import ValueSummary


def test_thinning_by_hand():
    # Capacity 8: a full buffer of 32 values goes into 6 cells of 5 1/3 and, for the tail, cells
    # whose survivors change by the factor sqrt 32: 32, 5, 1. The cells end at the ranks 5, 10,
    # 15, 21, 26 (both), 30 and 31, so at most 5 values were moved up.
    summary = ValueSummary(capacity=8)
    summary.add(np.arange(32.0)[::-1].copy())
    ((values, masses),) = summary.entries()
    np.testing.assert_array_equal(values, [5, 10, 15, 21, 26, 30, 31])
    np.testing.assert_array_equal(masses[:, 0], [6, 5, 5, 6, 5, 4, 1])
    assert summary.error() == 5
    above = summary.above(np.array([10.0, 12.0, 31.0, -1.0]))
    np.testing.assert_array_equal(above[:, 0], [21, 21, 0, 32])  # above 12 there were 19
    at_or_above = summary.above(np.array([10.0, 31.0]), inclusive=True)
    np.testing.assert_array_equal(at_or_above[:, 0], [26, 1])


def test_the_error_is_reached_in_the_first_cell():
    # 31 values into 6 even cells that end at the ranks 5, 10, 15, ...: the first holds one more.
    summary = ValueSummary(capacity=8)
    summary.add(np.arange(31.0))
    above = summary.above(np.array([4.5]))[0, 0]
    assert above - 26 == summary.error() == 5  # 0 to 4 were moved up to 5


def test_errors_of_merged_summaries_add_up():
    parts = [ValueSummary(capacity=64) for _ in range(2)]
    rng = np.random.default_rng(0)
    for part in parts:
        part.add(rng.normal(size=1000))
    before = sum(part.error()[0] for part in parts)
    last = parts[1].error()[0]
    parts[0].merge(parts[1])
    # the merged part was thinned once more, to 48 even cells of 2000 values
    assert before < parts[0].error()[0] <= before + 2000 / 48
    assert parts[0].total == 2000
    assert parts[1].error()[0] == last  # the other keeps its content


@pytest.mark.parametrize("masses", [1, 2])
def test_mass_on_either_side_stays_within_the_error(masses):
    rng = np.random.default_rng(1)
    values = np.exp(3 * rng.normal(size=60_000))
    weights = np.stack([np.ones(60_000), rng.random(60_000)], axis=1) if masses == 2 else None
    summary = ValueSummary(masses, capacity=1000)
    for part in np.split(np.arange(60_000), 60):
        summary.add(values[part], None if weights is None else weights[part])
    points = np.quantile(values, np.linspace(0, 1, 200))
    mass = np.ones((60_000, 1)) if weights is None else weights
    exact = np.stack([mass[values > point].sum(axis=0) for point in points])
    wrong = np.abs(summary.above(points) - exact).max(axis=0)
    assert (wrong > 0).all()
    assert (wrong <= summary.error()).all()
    assert (summary.error() < 0.02 * summary.total).all()


def test_the_tail_is_finer():
    values = np.random.default_rng(2).normal(size=400_000)
    summary = ValueSummary(capacity=4096)
    for part in np.split(values, 100):
        summary.add(part)
    points = np.sort(values)[-np.array([10, 100, 1000])]
    np.testing.assert_allclose(summary.above(points)[:, 0], [9, 99, 999], rtol=0.06)


def test_few_distinct_values_lose_nothing():
    values = np.random.default_rng(3).integers(0, 50, 5000).astype(np.float32)
    summary = ValueSummary(capacity=64)
    for part in np.split(values, 50):
        summary.add(part)
    assert summary.error() == 0
    exact = [(values > point).sum() for point in range(50)]
    np.testing.assert_array_equal(summary.above(np.arange(50.0))[:, 0], exact)


def test_nothing_added_is_nothing():
    summary = ValueSummary()
    summary.add(np.zeros(0))
    assert summary.entries() == []
    assert summary.total == summary.error() == 0
