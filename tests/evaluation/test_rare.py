"""The interval where positives are few: by hand, never degenerate, and it covers."""

import numpy as np
import pytest
from scipy import stats

from sdmad.evaluation.protocols import evaluate
from sdmad.evaluation.rare import FEW, rare_interval


def test_the_interval_by_hand():
    # One positive and one negative at .5: shrunk .5 again; variance .25, reach 1.96 * .5 / .25.
    # At 1 it is shrunk to 1.25 / 1.5 = 5 / 6, of variance 5 / 36: reach 1.96 * sqrt(36 / 5).
    low, high = rare_interval(0.5, 1, 1)
    assert low == pytest.approx(1 / (1 + np.exp(2 * 1.959964)))
    assert high == pytest.approx(1 - low)
    low, high = rare_interval(1.0, 1, 1)
    assert low == pytest.approx(1 / (1 + np.exp(1.959964 * np.sqrt(36 / 5)) / 5))


@pytest.mark.parametrize("auroc", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("positives", "negatives"), [(1, 5), (6, 20), (14, 1000)])
def test_it_is_never_a_point_and_never_leaves_the_range(auroc, positives, negatives):
    low, high = rare_interval(auroc, positives, negatives)
    assert 0 < low < high < 1
    assert high - low > 0.01
    assert high - low < 1 - positives / 30


@pytest.mark.parametrize("auroc", [0.76, 0.96, 0.99])
@pytest.mark.parametrize("positives", [2, 3, 5, 12])
def test_it_covers(auroc, positives):
    rng, shift = np.random.default_rng(positives), np.sqrt(2) * stats.norm.ppf(auroc)
    held = 0
    for _ in range(300):
        ill, well = rng.normal(shift, 1, positives), rng.normal(0, 1, 100)
        low, high = rare_interval(float((ill[:, None] > well).mean()), positives, 100)
        held += low <= auroc <= high
    assert held >= 276  # 92%; the bootstrap's held 57 to 85%


def judged(positives, per_patient=1):
    count = positives * per_patient
    labels = np.array([[1.0]] * count + [[0.0]] * 40)
    scores = np.concatenate([np.linspace(2, 3, count), np.linspace(0, 1, 40)])[:, None]
    patients = [f"a{i // per_patient}" for i in range(count)] + [f"b{i}" for i in range(40)]
    normal = labels[:, 0] == 0
    return evaluate(labels, scores, scores > 1.5, scores[:, 0], normal, ["A"], patients, 50)


def test_few_patients_get_it_and_many_do_not():
    few, many = judged(FEW - 1), judged(FEW)
    assert few.categories["A"].interval == rare_interval(1.0, FEW - 1, 40)
    assert few.intervals["image_auroc"] == rare_interval(1.0, FEW - 1, 40)
    assert "14 patients only" in few.categories["A"].note
    assert many.categories["A"].interval == (1.0, 1.0)  # the bootstrap's
    assert many.categories["A"].note == ""


def test_patients_are_counted_and_not_images():
    found = judged(5, per_patient=4)
    assert found.categories["A"].interval == rare_interval(1.0, 5, 40)
