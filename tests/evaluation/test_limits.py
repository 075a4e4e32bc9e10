"""Limits of a metric by hand: Wilson's interval, the variances behind it, and never a point."""

import numpy as np
import pytest
from scipy import stats

from sdmad.evaluation.limits import (
    FEW,
    MODEL,
    NORMAL,
    Basis,
    Whole,
    hanley_mcneil,
    score_interval,
    student,
)
from sdmad.evaluation.protocols import evaluate


@pytest.mark.parametrize(("right", "count"), [(0, 10), (7, 10), (45, 50), (50, 50)])
def test_the_score_interval_is_scipys_wilson(right, count):
    wilson = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert score_interval(right / count, count) == pytest.approx((wilson.low, wilson.high))
    assert score_interval(0.3, float("inf")) == (0.3, 0.3)


def test_hanley_and_mcneil_by_hand():
    # One of each at .5: .25. At .8 of 2 and 3: Q1 = .8/1.2, Q2 = 1.28/1.8, less .64 each.
    assert hanley_mcneil(0.5, 1, 1) == 0.25
    expected = (0.16 + (0.8 / 1.2 - 0.64) + 2 * (1.28 / 1.8 - 0.64)) / 6
    assert hanley_mcneil(0.8, 2, 3) == pytest.approx(expected)
    assert hanley_mcneil(0.2, 2, 3) == hanley_mcneil(0.8, 3, 2) == pytest.approx(expected)


def test_an_aurocs_variance_is_the_models_as_far_as_nothing_is_misranked():
    basis, perfect = Basis("auroc", (6, 20)), Whole(1.0, 6)
    assert perfect.shrunk == 6.25 / 6.5
    model = hanley_mcneil(perfect.shrunk, 6, 20)
    assert basis.variance(1.0, 0.0, perfect) == pytest.approx(model)
    assert basis.variance(1.0, float("nan"), perfect, gain=0.5) == pytest.approx(model / 2)
    # At .75 one and a half of six are misranked: .01 counts 1.5, the model 1.
    some = Whole(0.75, 6)
    expected = (1.5 * 0.01 + MODEL * hanley_mcneil(some.shrunk, 6, 20)) / (1.5 + MODEL)
    assert basis.variance(0.75, 0.01, some) == pytest.approx(expected)
    # Scores that are all one: nothing varies, and .5 is no estimate. Without variance otherwise,
    # half of six, 3, count 0, the model 1.
    assert Basis("auroc", (6, 20), flat=True).variance(0.5, 0.0, Whole(0.5, 6)) == 0
    expected = MODEL * hanley_mcneil(0.5, 6, 20) / (3 + MODEL)
    assert basis.variance(0.5, 0.0, Whole(0.5, 6)) == pytest.approx(expected)


def test_a_share_is_worth_what_its_variance_says():
    # .8 of variance .16 / 25: 25 images, of however many patients.
    basis, whole = Basis("share", (60,)), Whole(0.8, 60)
    found = whole.interval(basis.variance(0.8, 0.16 / 25, whole))
    assert found == pytest.approx(score_interval(0.8, 25))
    # Without an error every patient counts as one.
    whole = Whole(1.0, 60)
    assert whole.interval(basis.variance(1.0, 0.0, whole)) == pytest.approx(score_interval(1, 60))


def test_figures_of_pixels_have_students_reach():
    assert Basis("pixels", (11, 30)).quantile == pytest.approx(stats.t.ppf(0.975, 10))
    assert Basis("share", (11,)).quantile == NORMAL == pytest.approx(1.959964)
    assert student(1) == pytest.approx(12.7062, abs=1e-4)


@pytest.mark.parametrize("auroc", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("patients", [(1, 5), (6, 20), (14, 1000)])
def test_an_auroc_of_few_is_never_a_point_and_never_leaves_the_range(auroc, patients):
    basis, whole = Basis("auroc", patients), Whole(auroc, min(patients))
    low, high = whole.interval(basis.variance(auroc, 0.01 * auroc * (1 - auroc), whole))
    assert 0 <= low <= auroc <= high <= 1
    assert high - low > 0.05


def judged(positives, per_patient=1):
    count = positives * per_patient
    labels = np.array([[1.0]] * count + [[0.0]] * 40)
    scores = np.concatenate([np.linspace(2, 3, count), np.linspace(0, 1, 40)])[:, None]
    patients = [f"a{i // per_patient}" for i in range(count)] + [f"b{i}" for i in range(40)]
    normal = labels[:, 0] == 0
    return evaluate(labels, scores, scores > 1.5, scores[:, 0], normal, ["A"], patients, 50)


def test_a_perfect_ranking_is_known_as_well_as_its_patients_tell():
    few, images = judged(FEW - 1), judged(FEW - 1, per_patient=4)
    assert few.categories["A"].interval == few.intervals["image_auroc"]
    assert few.intervals["mean_auroc"] == few.categories["A"].interval
    assert images.categories["A"].interval == few.categories["A"].interval
    assert 0.7 < few.categories["A"].interval[0] < judged(40).categories["A"].interval[0] < 1
    assert "14 patients only" in few.categories["A"].note
    assert judged(FEW).categories["A"].note == ""


def test_one_patients_images_on_either_side_of_all_others_are_no_point():
    """Whoever is resampled, .5: but the scores do tell images apart, and one patient is one."""
    labels = np.array([[1.0]] * 2 + [[0.0]] * 4)
    scores = np.array([[1.0], [0.0]] + [[0.5]] * 4)
    normal = labels[:, 0] == 0
    found = evaluate(labels, scores, normal[:, None], scores[:, 0], normal, ["A"], list("aabcde"))
    low, high = found.categories["A"].interval
    assert found.categories["A"].auroc == 0.5
    assert low < 0.2 < 0.8 < high
    flat = evaluate(labels, 0 * scores, normal[:, None], normal, normal, ["A"], list("aabcde"))
    assert flat.categories["A"].interval == (0.5, 0.5)
