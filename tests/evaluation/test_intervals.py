from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from sdmad.errors import InputError
from sdmad.evaluation import intervals, metrics, resampling
from sdmad.evaluation.intervals import (
    evaluation_intervals,
    paired_difference,
    summarise_categories,
    summarise_draws,
)
from sdmad.evaluation.labelled_scores import SUMMARY_METRICS, labelled_scores
from sdmad.evaluation.limits import Whole, hanley_mcneil, score_interval
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


def naive_parts(scored, patient, weights):
    """One resample, written out: every image as often as its patient was drawn."""
    rows = np.repeat(np.arange(patient.size), weights[patient].astype(int))
    labels, decisions = scored.labels[rows], scored.decisions[rows]
    auroc = metrics.category_auroc(labels, scored.scores[rows])
    auroc[np.isnan(metrics.category_auroc(scored.labels, scored.scores))] = NAN
    return {
        "mean_auroc": auroc,
        "image_auroc": metrics.image_auroc(scored.abnormal[rows], scored.abnormality[rows]),
        "hamming_score": metrics.hamming_score(labels, decisions),
        "subset_accuracy": metrics.subset_accuracy(labels, decisions),
        "macro_f1": metrics.category_f1(labels, decisions),
        "sensitivity": metrics.sensitivity(labels, decisions),
        "specificity": metrics.specificity(labels, decisions),
    }


def naive_loop(scored, resamples, seed):
    """Parts of each metric on all patients ``(m,)`` and on resampled ones ``(m, R)``."""
    (patient,), patients = patient_index(scored.patients)
    rng = np.random.default_rng(seed)
    weights = np.concatenate(list(resample_weights(patients, resamples, rng)), axis=1)
    whole = naive_parts(scored, patient, np.ones(patients))
    loop = [naive_parts(scored, patient, column) for column in weights.T]
    return {
        name: (np.atleast_1d(whole[name]), np.stack([np.atleast_1d(one[name]) for one in loop], 1))
        for name in SUMMARY_METRICS
    }


def test_every_resampled_auroc_agrees_with_scikit_learn():
    scored = make_scored(seed=11, images=160, prevalence=0.15)
    (patient,), patients = patient_index(scored.patients)
    weights = next(resample_weights(patients, 50, np.random.default_rng(2)))
    found = ResampledMetrics(scored, patient, patients)(weights, map)
    columns = [
        (scored.labels[:, k], scored.scores[:, k], found["mean_auroc"][k]) for k in (0, 1, 2)
    ]
    columns.append((scored.abnormal, scored.abnormality, found["image_auroc"][0]))
    for labels, scores, resampled in columns:
        known = ~np.isnan(labels)
        for drawn, value in zip(weights.T, resampled, strict=True):
            times = drawn[patient[known]].astype(int)
            rows = np.repeat(np.flatnonzero(known), times)  # each image as often as it was drawn
            assert value == pytest.approx(roc_auc_score(labels[rows], scores[rows]), abs=1e-9)


@pytest.mark.parametrize("prevalence", [0.3, 0.04])
def test_every_resampled_part_agrees_with_a_naive_loop(prevalence):
    scored = make_scored(seed=5, prevalence=prevalence)
    (patient,), patients = patient_index(scored.patients)
    system = ResampledMetrics(scored, patient, patients)
    weights = next(resample_weights(patients, 25, np.random.default_rng(8)))
    whole, drawn = system(np.ones((patients, 1)), map), system(weights, map)
    for name, (point, values) in naive_loop(scored, 25, 8).items():
        np.testing.assert_allclose(whole[name][:, 0], point, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(drawn[name], values, atol=1e-12, err_msg=name)


def test_threads_change_nothing(monkeypatch):
    scored = make_scored(seed=3)
    before = evaluation_intervals(scored, 150)
    monkeypatch.setattr(intervals, "MANY", 2)
    assert evaluation_intervals(scored, 150) == before


def test_what_parts_rest_on_is_counted_by_patients():
    # Patients a (1 0, called 1 1), b (1 0, called 0 0; 0 0, called 0 0), c (0 unknown, called 1 0).
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, NAN]])
    calls = np.array([[1, 1], [0, 0], [0, 0], [1, 0]])
    scored = labelled_scores(labels, labels == 1, calls, labels[:, 0], [0, 0, 1, 1], list("abbc"))
    (patient,), patients = patient_index(scored.patients)
    bases = ResampledMetrics(scored, patient, patients).bases
    counts = {name: [one.patients for one in parts] for name, parts in bases.items()}
    assert counts == {
        "mean_auroc": [(2, 2), (0, 2)],
        "image_auroc": [(2, 2)],
        "hamming_score": [(3,)],
        "subset_accuracy": [(3,)],
        "macro_f1": [(3,), (1,)],  # of what is positive or called
        "sensitivity": [(2,), (0,)],
        "specificity": [(2,), (2,)],
    }


def test_intervals_of_shares_are_wilsons_at_the_resampled_variance():
    scored = make_scored(seed=5)
    loop = naive_loop(scored, 60, 8)
    found = evaluation_intervals(scored, 60, seed=8).summary
    for name in ("hamming_score", "subset_accuracy"):
        (point,), (values,) = loop[name]
        expected = score_interval(point, point * (1 - point) / values.var(ddof=1))
        assert found[name] == pytest.approx(expected), name
    for name in ("sensitivity", "specificity", "macro_f1"):
        points, values = loop[name]  # no part is without a value, so the mean varies as it varies
        point, variance = points.mean(), values.mean(axis=0).var(ddof=1)
        assert not np.isnan(values).any()
        expected = score_interval(point, point * (1 - point) / variance)
        assert found[name] == pytest.approx(expected), name


def test_intervals_of_aurocs_know_hanley_and_mcneil():
    scored = make_scored(seed=6)
    result = evaluation_intervals(scored, 60, seed=1)
    points, values = naive_loop(scored, 60, 1)["mean_auroc"]
    sides = [
        [len({p for p, x in zip(scored.patients, row, strict=True) if x == s}) for s in (1, 0)]
        for row in scored.labels.T
    ]

    def blended(k, whole):
        few, model = min(sides[k]), hanley_mcneil(whole.shrunk, *sides[k])
        misranked = few * min(points[k], 1 - points[k])
        return (misranked * values[k].var(ddof=1) + model) / (misranked + 1)

    one = Whole(points[1], min(sides[1]))
    assert result.category_auroc[1] == pytest.approx(one.interval(blended(1, one)))
    whole = Whole(points.mean(), sum(map(min, sides)))
    deviations = np.sqrt([blended(k, whole) for k in range(3)])
    variance = deviations @ np.corrcoef(values) @ deviations / 9
    assert result.summary["mean_auroc"] == pytest.approx(whole.interval(variance))


def test_only_an_evaluation_reports_its_progress(monkeypatch):
    seen = []

    def track(items, title):
        seen.append((list(items), title))
        return items

    monkeypatch.setattr(resampling, "track", track)
    evaluation_intervals(make_scored(), 150)
    assert seen == [([0, 64, 128], "resampling")]
    summarise_draws(make_scored(), 10)
    assert seen[1:] == [([0], None)]


def test_images_of_a_patient_stay_together():
    # One patient in three is always wrong; ten images each tell no more than one.
    labels = np.array([[1, 0]] * 300)
    decisions = np.array([[1, 0]] * 200 + [[0, 1]] * 100)
    patients = [row // 10 for row in range(300)]
    scored = labelled_scores(labels, decisions, decisions, np.arange(300), [False] * 300, patients)
    together = evaluation_intervals(scored, 2000).summary["hamming_score"]
    assert together == pytest.approx(score_interval(2 / 3, 30), abs=0.01)
    alone = replace(scored, patients=tuple(range(300)))
    apart = evaluation_intervals(alone, 2000).summary["hamming_score"]
    assert apart == pytest.approx(score_interval(2 / 3, 300), abs=0.003)


def test_same_seed_same_intervals():
    scored = make_scored()
    assert evaluation_intervals(scored, 40, seed=2) == evaluation_intervals(scored, 40, seed=2)
    assert evaluation_intervals(scored, 40, seed=2) != evaluation_intervals(scored, 40, seed=3)


def test_one_positive_stays_without_interval_and_out_of_the_mean():
    # drawn twice, the only positive of category 1 would give it an AUROC of 0
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 0], [1, 0], [0, 0]])
    scores = np.array([[3, 0], [3, 1], [1, 1], [1, 1], [3, 1], [1, 1.0]])
    scored = labelled_scores(labels, scores, scores > 2, scores[:, 0], ~labels.any(axis=1))
    result = evaluation_intervals(scored, 100)
    assert result.summary["mean_auroc"] == result.category_auroc[0]
    assert np.isnan(result.category_auroc[1]).all()


@pytest.mark.parametrize("resamples", [0, 30])
def test_one_patient_or_no_resample_gives_no_interval(resamples):
    scored = make_scored()
    if resamples:
        scored = replace(scored, patients=("one",) * len(scored.labels))
    result = evaluation_intervals(scored, resamples)
    assert all(np.isnan(ends).all() for ends in result.summary.values())
    assert result.resamples == 0


def test_a_system_does_not_differ_from_itself_which_needs_no_interval():
    scored = make_scored()
    for gap in paired_difference(scored, scored, 30).values():
        assert gap.difference == 0
        assert np.isnan([gap.low, gap.high]).all()


def test_two_patients_who_are_ranked_alike_tell_nothing_of_others():
    # Both rank both positives at the top, by other scores: 0 of these, nobody knows of others. And
    # where a finds both and b none, two patients are no proof that a always does.
    labels = np.array([[1.0]] * 2 + [[0.0]] * 30)
    rng = np.random.default_rng(0)
    calls = np.zeros((2, 32, 1))
    calls[0, :2] = 1
    a, b = (
        labelled_scores(
            labels, 9 * labels + rng.random((32, 1)), c, labels[:, 0], labels[:, 0] == 0
        )
        for c in calls
    )
    found = paired_difference(a, b, 50)
    assert (found["mean_auroc"].difference, found["sensitivity"].difference) == (0, 1)
    for name in ("mean_auroc", "sensitivity"):
        assert np.isnan([found[name].low, found[name].high]).all()
    assert found["macro_f1"].difference == 1
    assert not np.isnan(paired_difference([a, a], [b, a], 50)["sensitivity"].low)


def test_paired_difference_agrees_with_a_naive_loop():
    a = make_scored(seed=1)
    b = replace(a, scores=a.scores[:, ::-1], decisions=~a.decisions, abnormality=-a.abnormality)
    first, second = naive_loop(a, 30, 4), naive_loop(b, 30, 4)
    people = len(set(a.patients))
    result = paired_difference(a, b, 30, seed=4)
    for name in SUMMARY_METRICS:
        point = first[name][0].mean() - second[name][0].mean()
        gaps = first[name][1].mean(axis=0) - second[name][1].mean(axis=0)
        assert result[name].difference == pytest.approx(point), name
        reach = (result[name].high - result[name].low) / 2 / gaps.std(ddof=1)
        if name in ("hamming_score", "subset_accuracy"):
            assert reach == pytest.approx(stats.t.ppf(0.975, people - 1))
        assert stats.norm.ppf(0.975) < reach < stats.t.ppf(0.975, 10), name


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
        evaluation_intervals(a, -1)


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
    assert one.cases == (one.low, one.high) == pytest.approx(score_interval(1.0, 4))


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
