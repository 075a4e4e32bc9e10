import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from sdmad.errors import InputError
from sdmad.evaluation.delong import delong_auroc, delong_difference, delong_intervals
from sdmad.evaluation.labelled_scores import labelled_scores

NAN = float("nan")


def random_case(seed, decimals=9, images=80):
    rng = np.random.default_rng(seed)
    labels = (rng.random(images) < 0.3).astype(float)
    a = np.round(labels * 0.5 + rng.random(images), decimals)
    b = np.round(0.5 * a + labels * 0.1 + 0.5 * rng.random(images), decimals)
    return labels, a, b


def placements(labels, scores):
    """Every pair of a positive and a negative, written out: 1, 1/2 or 0."""
    gap = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    wins = (gap > 0) + 0.5 * (gap == 0)
    return wins.mean(axis=1), wins.mean(axis=0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_variance_agrees_with_the_pairs_written_out(seed, decimals):
    labels, scores, _ = random_case(seed, decimals)
    first, second = placements(labels, scores)
    found = delong_auroc(labels, scores)
    assert found.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = np.var(first, ddof=1) / first.size + np.var(second, ddof=1) / second.size
    assert found.variance == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_difference_agrees_with_the_covariance_written_out(seed):
    labels, a, b = random_case(seed, 1)
    one, other = placements(labels, a), placements(labels, b)
    contrast = np.array([1, -1])
    expected = sum(
        contrast @ np.cov(np.stack([x, y])) @ contrast / x.size
        for x, y in zip(one, other, strict=True)
    )
    found = delong_difference(labels, a, b)
    gap = roc_auc_score(labels, a) - roc_auc_score(labels, b)
    assert found.difference == pytest.approx(gap, abs=1e-12)
    assert found.variance == pytest.approx(expected, rel=1e-9)
    reach = 1.959964 * np.sqrt(expected)
    assert (found.low, found.high) == pytest.approx((gap - reach, gap + reach), abs=1e-6)


def test_interval_by_hand():
    # AUROC 3/4 with variance 1/8 (see the doctest); on the logit: ln 3 -+ 1.96 * .35355 / .1875
    found = delong_auroc([1, 1, 0, 0], [0.8, 0.4, 0.6, 0.2])
    assert found.low == pytest.approx(1 / (1 + np.exp(-(np.log(3) - 3.695744))), abs=1e-6)
    assert found.high == pytest.approx(1 / (1 + np.exp(-(np.log(3) + 3.695744))), abs=1e-6)


def test_interval_covers_as_often_as_it_says():
    # Normal scores of unit variance one apart: the AUROC is Phi(1 / sqrt 2) = .7602.
    truth, rng = stats.norm.cdf(2**-0.5), np.random.default_rng(0)
    labels = np.repeat([1.0, 0.0], [20, 40])
    found = [delong_auroc(labels, rng.normal(labels)) for _ in range(600)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.92 < covered < 0.98


def test_unknown_labels_are_left_out():
    labels, a, b = random_case(0)
    hidden = np.append(labels, [NAN, NAN])
    assert delong_auroc(hidden, np.append(a, [9, -9])) == delong_auroc(labels, a)
    more = np.append(a, [9, 9]), np.append(b, [-9, -9])
    assert delong_difference(hidden, *more) == delong_difference(labels, a, b)


def test_where_the_variance_says_nothing_there_is_no_interval():
    perfect = delong_auroc([1, 1, 0, 0], [4, 3, 2, 1])
    assert (perfect.auroc, perfect.variance) == (1, 0)
    assert np.isnan([perfect.low, perfect.high]).all()
    constant = delong_auroc([1, 1, 0, 0], [1, 1, 1, 1])
    assert constant.auroc == 0.5
    assert np.isnan([constant.low, constant.high]).all()
    one = delong_auroc([1, 0, 0], [3, 2, 1])
    assert np.isnan([one.auroc, one.variance, one.low, one.high]).all()
    assert np.isnan(delong_difference([1, 0, 0], [3, 2, 1], [3, 2, 1]).difference)


def test_a_system_does_not_differ_from_itself():
    labels, a, _ = random_case(1)
    found = delong_difference(labels, a, 10 * a)
    assert (found.difference, found.variance, found.low, found.high) == (0, 0, 0, 0)


def test_a_difference_is_cut_to_what_it_can_be():
    # a beats every pair, b loses three of four: the shares of a less b are 1/2 and 1 on either
    # side, of variance 1/8 each, so that of the difference is 1/8 and 1.96 times its root .693.
    a, b = [4, 3, 2, 1], [2, 4, 5, 3]
    found = delong_difference([1, 1, 0, 0], a, b)
    assert (found.difference, found.variance) == (0.75, 0.125)
    assert found.high == 1
    assert found.low == pytest.approx(0.75 - 1.959964 * 0.125**0.5, abs=1e-6)
    other = delong_difference([1, 1, 0, 0], b, a)
    assert (other.low, other.high) == (-1, -found.low)


def test_several_images_of_a_patient_give_no_interval():
    labels, a, b = random_case(2)
    truth = np.stack([labels, 1 - labels], axis=1)
    truth[5, 1] = NAN
    normal = np.zeros(len(labels), dtype=bool)
    normal[labels == 0] = (truth[labels == 0] != 1).all(axis=1)
    arguments = truth, np.stack([a, b], axis=1), truth == 1, a, normal
    found = delong_intervals(labelled_scores(*arguments, range(len(labels))))
    assert found.categories[0] == delong_auroc(labels, a)
    assert found.categories[1] == delong_auroc(truth[:, 1], b)
    assert np.isnan(found.image.auroc)  # no image is normal
    assert delong_intervals(labelled_scores(*arguments, [0, *range(len(labels) - 1)])) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: delong_auroc([[1], [0]], [1, 0]), r"expected shape \(images,\)"),
        (lambda: delong_auroc([1, 2], [1, 0]), "got 2 in row 1"),
        (lambda: delong_auroc([1, 0], [1, NAN]), "1 of 2 values"),
        (lambda: delong_difference([1, 0], [1, 0], [1]), r"expected shape \(2,\)"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
