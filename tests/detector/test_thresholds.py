import numpy as np
import pytest

from sdmad.detector.head import thresholds_at


@pytest.mark.parametrize(
    ("count", "rate", "exceeding"),
    [(20, 0.05, 1), (20, 0.1, 2), (39, 0.05, 1), (100, 0.29, 29), (10, 0.1, 1), (3, 0.5, 1)],
)
def test_the_threshold_is_the_least_that_keeps_the_rate(count, rate, exceeding):
    scores = np.random.default_rng(count).permutation(np.arange(float(count)))[:, None]
    threshold = thresholds_at(scores, rate)
    assert (scores > threshold).sum() == exceeding
    assert exceeding <= rate * count + 1e-9
    assert (scores > threshold - 1).sum() > rate * count


def test_ties_never_exceed_the_rate():
    assert (np.ones((20, 2)) > thresholds_at(np.ones((20, 2)), 0.1)).sum() == 0
