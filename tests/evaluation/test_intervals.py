from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from sdmad.errors import InputError
from sdmad.evaluation import metrics, resampling
from sdmad.evaluation.intervals import (
    bootstrap_evaluation,
    joint_interval,
    paired_difference,
    percentile_interval,
    summarise_categories,
    summarise_draws,
)
from sdmad.evaluation.labelled_scores import SUMMARY_METRICS, labelled_scores
from sdmad.evaluation.resampling import (
    ResampledMetrics,
    patient_index,
    resample_weights,
)

NAN = float("nan")


def make_scored(seed=0, images=90, categories=3, unknown=0.1, prevalence=0.3):
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, categories)) < prevalence).astype(float)
    scores = np.round(labels * 0.4 + rng.random(labels.shape), 1)
    normal = ~labels.any(axis=1) & (rng.random(images) < 0.8)
    labels[rng.random(labels.shape) < unknown] = NAN
    patients = [f"p{n}" for n in rng.integers(0, images // 2, images)]
    return labelled_scores(labels, scores, scores > 0.8, scores.max(axis=1), normal, patients)


def naive_metrics(scored, patient, weights):
    """One resample, written out: every image as often as its patient was drawn."""
    rows = np.repeat(np.arange(patient.size), weights[patient].astype(int))
    labels, decisions = scored.labels[rows], scored.decisions[rows]

    def mean(drawn, everything):
        defined = ~np.isnan(everything)
        return np.where(np.isnan(drawn), everything, drawn)[defined].mean()

    def both(metric, second, whole_second):
        return mean(metric(labels, second), metric(scored.labels, whole_second))

    return {
        "mean_auroc": both(metrics.category_auroc, scored.scores[rows], scored.scores),
        "image_auroc": metrics.image_auroc(scored.abnormal[rows], scored.abnormality[rows]),
        "hamming_score": metrics.hamming_score(labels, decisions),
        "subset_accuracy": metrics.subset_accuracy(labels, decisions),
        "macro_f1": both(metrics.category_f1, decisions, scored.decisions),
        "sensitivity": both(metrics.sensitivity, decisions, scored.decisions),
        "specificity": both(metrics.specificity, decisions, scored.decisions),
    }


def test_every_resampled_auroc_agrees_with_scikit_learn():
    scored = make_scored(seed=11, images=160, prevalence=0.15)
    (patient,), patients = patient_index(scored.patients)
    weights = next(resample_weights(patients, 50, np.random.default_rng(2)))
    with ThreadPoolExecutor(2) as pool:
        found = ResampledMetrics(scored, patient, patients)(weights, pool)
    columns = [
        (scored.labels[:, k], scored.scores[:, k], found["category_auroc"][k]) for k in (0, 1, 2)
    ]
    columns.append((scored.abnormal, scored.abnormality, found["image_auroc"]))
    for labels, scores, resampled in columns:
        known = ~np.isnan(labels)
        for drawn, value in zip(weights.T, resampled, strict=True):
            times = drawn[patient[known]].astype(int)
            rows = np.repeat(np.flatnonzero(known), times)  # each image as often as it was drawn
            assert value == pytest.approx(roc_auc_score(labels[rows], scores[rows]), abs=1e-9)


def test_one_weight_each_gives_the_plain_metrics():
    scored = make_scored()
    (patient,), patients = patient_index(scored.patients)
    with ThreadPoolExecutor(2) as pool:
        whole = ResampledMetrics(scored, patient, patients)(np.ones((patients, 1)), pool)
    expected = naive_metrics(scored, patient, np.ones(patients))
    for name in SUMMARY_METRICS:
        assert whole[name][0] == pytest.approx(expected[name], abs=1e-12), name


@pytest.mark.parametrize("prevalence", [0.3, 0.04])
def test_bootstrap_agrees_with_a_naive_loop(prevalence):
    scored = make_scored(seed=5, prevalence=prevalence)
    (patient,), patients = patient_index(scored.patients)
    result = bootstrap_evaluation(scored, resamples=25, seed=8)
    weights = np.concatenate(list(resample_weights(patients, 25, np.random.default_rng(8))), axis=1)
    loop = [naive_metrics(scored, patient, column) for column in weights.T]
    for name in SUMMARY_METRICS:
        expected = np.nanpercentile([one[name] for one in loop], [2.5, 97.5])
        np.testing.assert_allclose(result.summary[name], expected, atol=1e-12, err_msg=name)


def test_category_intervals_agree_with_a_naive_loop():
    scored = make_scored(seed=6)
    (patient,), patients = patient_index(scored.patients)
    result = bootstrap_evaluation(scored, resamples=50, seed=1)
    weights = np.concatenate(list(resample_weights(patients, 50, np.random.default_rng(1))), axis=1)
    known = ~np.isnan(scored.labels[:, 1])
    loop = [
        roc_auc_score(
            scored.labels[known, 1],
            scored.scores[known, 1],
            sample_weight=column[patient[known]],
        )
        for column in weights.T
    ]
    np.testing.assert_allclose(
        result.category_auroc[1], np.percentile(loop, [2.5, 97.5]), atol=1e-12
    )


def test_only_an_evaluation_reports_its_progress(monkeypatch):
    seen = []

    def track(items, title):
        seen.append((list(items), title))
        return items

    monkeypatch.setattr(resampling, "track", track)
    bootstrap_evaluation(make_scored(), 150)
    assert seen == [([0, 64, 128], "resampling")]
    summarise_draws(make_scored(), 10)
    assert seen[1:] == [([0], None)]


def test_images_of_a_patient_stay_together():
    # two patients, one always right and one always wrong: a resample is 0, 1/2 or 1
    labels = np.array([[1, 0]] * 10)
    decisions = np.array([[1, 0]] * 5 + [[0, 1]] * 5)
    patients = ["right"] * 5 + ["wrong"] * 5
    scored = labelled_scores(labels, decisions, decisions, np.arange(10), [False] * 10, patients)
    assert bootstrap_evaluation(scored, 200).summary["hamming_score"] == (0, 1)
    alone = replace(scored, patients=tuple(range(10)))
    low, high = bootstrap_evaluation(alone, 200).summary["hamming_score"]
    assert 0.1 <= low < 0.5 < high <= 0.9


def test_same_seed_same_intervals():
    scored = make_scored()
    assert bootstrap_evaluation(scored, 40, seed=2) == bootstrap_evaluation(scored, 40, seed=2)
    assert bootstrap_evaluation(scored, 40, seed=2) != bootstrap_evaluation(scored, 40, seed=3)


def test_one_positive_stays_without_interval_and_out_of_the_mean():
    # drawn twice, the only positive of category 1 would give it an AUROC of 0
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 0], [1, 0], [0, 0]])
    scores = np.array([[3, 0], [3, 1], [1, 1], [1, 1], [3, 1], [1, 1.0]])
    scored = labelled_scores(labels, scores, scores > 2, scores[:, 0], ~labels.any(axis=1))
    result = bootstrap_evaluation(scored, 100)
    assert result.summary["mean_auroc"] == (1, 1)
    assert np.isnan(result.category_auroc[1]).all()


@pytest.mark.parametrize("resamples", [0, 30])
def test_one_patient_or_no_resample_gives_no_interval(resamples):
    scored = make_scored()
    if resamples:
        scored = replace(scored, patients=("one",) * len(scored.labels))
    result = bootstrap_evaluation(scored, resamples)
    assert all(np.isnan(ends).all() for ends in result.summary.values())
    assert result.resamples == 0


def test_percentile_interval_needs_half_of_the_resamples():
    np.testing.assert_allclose(percentile_interval(np.arange(101.0)), (2.5, 97.5))
    assert np.isnan(percentile_interval(np.array([1, NAN, NAN]))).all()
    np.testing.assert_allclose(percentile_interval(np.array([1, 1, NAN])), (1, 1))


def test_a_system_does_not_differ_from_itself():
    scored = make_scored()
    for gap in paired_difference(scored, scored, 30).values():
        assert (gap.difference, gap.low, gap.high) == (0, 0, 0)


def test_paired_difference_agrees_with_a_naive_loop():
    a = make_scored(seed=1)
    b = replace(a, scores=a.scores[:, ::-1], decisions=~a.decisions, abnormality=-a.abnormality)
    (patient,), patients = patient_index(a.patients)
    weights = np.concatenate(list(resample_weights(patients, 15, np.random.default_rng(4))), axis=1)
    first = [naive_metrics(a, patient, column) for column in weights.T]
    second = [naive_metrics(b, patient, column) for column in weights.T]
    whole = [naive_metrics(one, patient, np.ones(patients)) for one in (a, b)]
    result = paired_difference(a, b, 15, seed=4)
    for name in SUMMARY_METRICS:
        gaps = [x[name] - y[name] for x, y in zip(first, second, strict=True)]
        expected = [whole[0][name] - whole[1][name], *np.percentile(gaps, [2.5, 97.5])]
        got = [result[name].difference, result[name].low, result[name].high]
        np.testing.assert_allclose(got, expected, atol=1e-12, err_msg=name)


def test_draws_count_with_their_own_variance():
    # Draw 0: a is always right and b always wrong; draw 1: both right. Whatever the patients, the
    # differences are 1 and 0: Student's t of one degree of freedom, 12.7 times .5, cut to [-1, 1].
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    right = labelled_scores(labels, labels, labels, labels[:, 0], ~labels.any(axis=1), list("abcd"))
    wrong = replace(right, decisions=~right.decisions)
    gap = paired_difference([right, right], [wrong, right], 400)["hamming_score"]
    assert (gap.difference, gap.low, gap.high) == (0.5, -1, 1)
    one = summarise_draws([right, wrong], 400)["hamming_score"]
    assert (one.mean, one.low, one.high) == (0.5, 0, 1)
    assert one.deviation == pytest.approx(np.sqrt(0.5))  # of 0 and 1, divisor 1


def test_reaches_of_draws_and_patients_add_up_as_squares():
    # Three draws at .5, .6 and .7 whose mean over resampled patients is .55 or .65, as often.
    point, values = (
        np.array([0.5, 0.6, 0.7]),
        np.tile([-0.05, 0.05], 500) + np.array([[0.5], [0.6], [0.7]]),
    )
    of_draws = stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    of_patients = stats.norm.ppf(0.975) * 0.05 * np.sqrt(1000 / 999)
    reach = np.sqrt(of_draws**2 + of_patients**2)
    assert joint_interval(point, values) == pytest.approx((0.6 - reach, 0.6 + reach))
    # Of one draw, or of draws that are all alike, it is the percentile interval.
    assert joint_interval(point[:1], values[:1]) == pytest.approx((0.45, 0.55))
    alike = joint_interval(np.full(3, 0.6), np.tile(values[1], (3, 1)))
    assert alike == pytest.approx((0.55, 0.65))


@pytest.mark.parametrize("draws", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.15, 0.6])
def test_intervals_over_few_draws_cover_what_they_should(draws, spread):
    """Draws differ in how well they separate; the truth is the mean over draws and patients."""
    rng, patients = np.random.default_rng(draws), 60
    labels = np.zeros((patients, 1))
    labels[: patients // 3] = 1
    held = []
    for _ in range(150):
        noise = rng.normal(size=patients)
        point, values = [], []
        quality = 1 + spread * rng.normal(size=draws)
        weights = rng.multinomial(patients, np.full(patients, 1 / patients), 200)
        for one in quality:  # the share called rightly: exact moments, and quick to resample
            right = (noise + rng.normal(size=patients) + one > 0).astype(float)
            point.append(right.mean())
            values.append(weights @ right / patients)
        low, high = joint_interval(np.array(point), np.array(values))
        truth = stats.norm.cdf(1 / np.sqrt(2 + spread**2))
        held.append(low <= truth <= high)
    assert 0.91 <= np.mean(held) <= 1.0


def test_draws_may_leave_out_different_patients():
    whole = make_scored(seed=2)

    def without(name):
        kept = np.array([patient != name for patient in whole.patients])
        return replace(
            whole,
            **{
                field: getattr(whole, field)[kept]
                for field in ("labels", "scores", "decisions", "abnormality", "normal")
            },
            patients=tuple(p for p in whole.patients if p != name),
        )

    draws = [without("p1"), without("p2")]
    result = summarise_draws(draws, 30)
    for name, metric in (
        ("hamming_score", metrics.hamming_score),
        ("subset_accuracy", metrics.subset_accuracy),
    ):
        values = [metric(draw.labels, draw.decisions) for draw in draws]
        assert result[name].mean == pytest.approx(np.mean(values))
        assert result[name].low < result[name].mean < result[name].high


def test_different_images_cannot_be_paired():
    a, b = make_scored(seed=1), make_scored(seed=2)
    with pytest.raises(InputError, match="draw 0"):
        paired_difference(a, b)
    with pytest.raises(InputError, match="2 draws of a, 1 of b"):
        paired_difference([a, a], [a])
    with pytest.raises(InputError, match="no draw"):
        summarise_draws([])
    with pytest.raises(InputError, match="resamples"):
        bootstrap_evaluation(a, -1)


def test_intervals_over_draws_and_over_cases_are_told_apart():
    # Three draws whose Hamming scores are 1, .5 and .5 on four patients of one image each.
    labels = np.array([[1.0], [0.0], [1.0], [0.0]])
    calls = ([1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1])
    draws = [
        labelled_scores(
            labels, labels, np.array(c)[:, None], labels[:, 0], labels[:, 0] == 0, "abcd"
        )
        for c in calls
    ]
    found = summarise_draws(draws, 200)["hamming_score"]
    assert found.mean == pytest.approx(2 / 3)
    # Student's t with two degrees of freedom: 4.3027 times .28868 / sqrt(3) = .717 either way.
    assert found.draws == (0, 1)
    three = [draws[1], draws[1], draws[2], draws[2]]
    assert summarise_draws(three, 50)["hamming_score"].draws == (0.5, 0.5)
    assert found.low <= found.cases[0] <= found.mean <= found.cases[1] <= found.high
    assert (found.low, found.high) == (0, 1)  # 4.3 times the draws' own .17, and more
    one = summarise_draws(draws[:1], 50)["hamming_score"]
    assert np.isnan(one.draws).all()
    assert one.cases == (1.0, 1.0)


def test_an_interval_over_draws_is_students():
    # Hamming scores .5, .625 and .75 on eight images: mean .625, deviation .125; two degrees of
    # freedom: 4.302653 * .125 / sqrt(3) = .310517 either way.
    labels = np.array([[1.0], [0.0]] * 4)
    draws = []
    for wrong in (4, 3, 2):
        calls = labels.copy()
        calls[:wrong] = 1 - calls[:wrong]
        normal = labels[:, 0] == 0
        draws.append(labelled_scores(labels, labels, calls, labels[:, 0], normal, range(8)))
    found = summarise_draws(draws, 20)["hamming_score"]
    assert found.deviation == pytest.approx(0.125)
    assert found.draws == pytest.approx((0.625 - 0.310517, 0.625 + 0.310517), abs=1e-6)


def test_categories_are_summarised_as_their_mean_is():
    rng = np.random.default_rng(0)
    labels = np.tile([[1.0, 0.0], [0.0, 1.0]], (10, 1))
    draws = [
        labelled_scores(
            labels, rng.normal(size=(20, 2)), labels, labels[:, 0], np.zeros(20, bool), range(20)
        )
        for _ in range(2)
    ]
    first, second = summarise_categories(draws, 50)
    whole = summarise_draws(draws, 50)["mean_auroc"]
    assert (first.mean + second.mean) / 2 == pytest.approx(whole.mean)
    expected = [roc_auc_score(d.labels[:, 0], d.scores[:, 0]) for d in draws]
    assert first.mean == pytest.approx(np.mean(expected))
