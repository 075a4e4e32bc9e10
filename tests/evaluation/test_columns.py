import numpy as np
import pytest
from scipy import stats

from sdmad.evaluation.columns import Column, auroc, evaluate_columns, share
from sdmad.evaluation.delong import delong_auroc
from sdmad.evaluation.labelled_scores import SUMMARY_METRICS
from sdmad.evaluation.protocols import evaluate

NAMES = ("A", "B", "C")


def world(images=600, seed=0, alike=1):
    """Images of patients who have so many each, alike in labels and partly in scores."""
    rng = np.random.default_rng(seed)
    people = images // alike
    patient = np.repeat(np.arange(people), alike)
    labels = (rng.random((people, 3)) < (0.3, 0.1, 0.6)).astype(float)[patient]
    own = rng.normal(size=(people, 3))[patient]
    scores = labels + own + 0.5 * rng.normal(size=labels.shape)
    labels[rng.random(labels.shape) < 0.1] = np.nan
    return labels, scores, scores > 0.5, scores.max(axis=1), (labels == 0).all(axis=1), patient


def by_columns(labels, scores, found, abnormality, normal, patient):
    def column(name):
        k = NAMES.index(name)
        return Column(labels[:, k], scores[:, k], found[:, k])

    return evaluate_columns(
        NAMES, column, abnormality, normal, patient, np.zeros(len(patient), bool)
    )


@pytest.mark.parametrize("alike", [1, 3])
def test_figures_are_those_of_the_whole_matrix_and_intervals_near(alike):
    made = world(alike=alike)
    mine = by_columns(*made)
    other = evaluate(*made[:5], NAMES, [f"p{i}" for i in made[5]], resamples=2000)
    for name in SUMMARY_METRICS:
        assert getattr(mine, name) == pytest.approx(getattr(other, name), abs=1e-12)
        width = other.intervals[name][1] - other.intervals[name][0]
        for end, wanted in zip(mine.intervals[name], other.intervals[name], strict=True):
            assert end == pytest.approx(wanted, abs=0.15 * width), name
    for name in NAMES:
        a, b = mine.categories[name], other.categories[name]
        assert (a.positives, a.negatives, a.unknown) == (b.positives, b.negatives, b.unknown)
        for figure in ("auroc", "f1", "sensitivity", "specificity"):
            assert getattr(a, figure) == pytest.approx(getattr(b, figure), abs=1e-12)
    for rule, row in other.trivial.items():
        for name, value in row.items():
            assert mine.trivial[rule][name] == pytest.approx(value, abs=1e-12), (rule, name)
    assert (mine.normal_images, mine.abnormal_images) == (
        other.normal_images,
        other.abnormal_images,
    )


def test_influences_of_lone_patients_add_up_to_delongs_variance():
    labels, scores = world(400)[:2]
    known = ~np.isnan(labels[:, 0])
    y, s = labels[known, 0], scores[known, 0]
    found = auroc(y, s, np.arange(len(y)), len(y))
    delong = delong_auroc(y, s)
    assert found.value == pytest.approx(delong.auroc, abs=1e-12)
    variance = (found.influence**2).sum()
    assert variance == pytest.approx(delong.variance, rel=0.02)  # divisors m and m - 1


def test_twins_count_once():
    """Every image twice: the same figure, the same variance; as many again would halve it."""
    labels, scores = world(300)[:2]
    y, s = np.nan_to_num(labels[:, 0]), scores[:, 0]
    lone = auroc(y, s, np.arange(300), 300)
    twins = auroc(np.repeat(y, 2), np.repeat(s, 2), np.repeat(np.arange(300), 2), 300)
    assert twins.value == pytest.approx(lone.value, abs=1e-12)
    np.testing.assert_allclose(twins.influence, lone.influence, atol=1e-12)


def test_a_share_by_hand():
    """Patients with 1 of 2, 0 of 1 and 3 of 3 right: 4 of 6."""
    found = share(np.array([1.0, 0, 3]), np.array([2.0, 1, 3]))
    assert found.value == pytest.approx(4 / 6)
    np.testing.assert_allclose(found.influence, np.array([-1 / 3, -2 / 3, 1]) / 6)
    assert np.isnan(share(np.zeros(2), np.zeros(2)).value)


def test_a_category_without_positives_has_no_figure():
    labels, scores, found, abnormality, _, patient = world(60)
    labels[:, 1] = 0
    mine = by_columns(labels, scores, found, abnormality, (labels == 0).all(axis=1), patient)
    assert np.isnan(mine.categories["B"].auroc)
    assert np.isnan(mine.categories["B"].f1)
    assert mine.categories["B"].note.startswith("no AUROC")
    assert not np.isnan(mine.mean_auroc)


def rare(positives=(2, 2, 100), images=500, auroc=0.9, seed=0):
    """A category of each number of positives, every image a patient's own."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((images, 3))
    for k, (count, start) in enumerate(zip(positives, (0, 10, 20), strict=True)):
        labels[start : start + count, k] = 1
    return labels, labels * np.sqrt(2) * stats.norm.ppf(auroc) + rng.normal(size=labels.shape)


def test_a_mean_over_rare_categories_knows_what_they_cannot_tell():
    """Two positives, both ranked at the top: their own variance is 0, and that of the mean is not.

    The influences of .9 +- .02 alone would leave the mean of three an interval of a few points.
    """
    labels, scores = rare()
    scores[[0, 1], 0] = scores[[10, 11], 1] = 9.0
    made = (labels, scores, scores > 1, scores.max(axis=1), ~labels.any(axis=1), np.arange(500))
    mine, other = by_columns(*made), evaluate(*made[:5], NAMES, made[5].tolist(), resamples=500)
    low, high = mine.intervals["mean_auroc"]
    assert (low, high) == pytest.approx(other.intervals["mean_auroc"], abs=0.01)
    assert low < 0.9
    assert mine.categories["A"].interval == pytest.approx(other.categories["A"].interval)


def test_the_interval_of_a_mean_over_rare_categories_covers():
    """Simulated: 95 in 100 hold the true mean; without what Hanley and McNeil add 57 did."""
    held = 0
    for seed in range(150):
        labels, scores = rare(seed=seed)
        normal = ~labels.any(axis=1)
        made = (labels, scores, scores > 1, scores.max(axis=1), normal, np.arange(500))
        low, high = by_columns(*made).intervals["mean_auroc"]
        held += low <= 0.9 <= high
    assert held >= 138  # 92 in 100


def test_images_of_unknown_patients_are_told_as_images():
    labels, scores = rare()
    unknown = np.ones(500, bool)
    unknown[0] = False
    args = (scores.max(axis=1), ~labels.any(axis=1), np.arange(500), unknown)
    found = evaluate_columns(
        NAMES,
        lambda n: Column(labels[:, NAMES.index(n)], scores[:, NAMES.index(n)], unknown),
        *args,
    )
    assert (found.patients, found.unknown_patients) == (1, 499)
    told = "positives from 1 patient and 1 image of an unknown patient only: few to go by"
    assert found.categories["A"].note == told
    assert any("Of 499 images patients are unknown: images were taken" in n for n in found.notes)
