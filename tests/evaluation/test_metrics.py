import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    hamming_loss,
    recall_score,
    roc_auc_score,
)

from sdmad.errors import InputError
from sdmad.evaluation import metrics

NAN = float("nan")

# Four images, three categories; worked by hand below.
LABELS = np.array([[1, 0, 0], [1, 1, NAN], [0, 0, 0], [NAN, NAN, NAN]])
DECISIONS = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 1]])


def random_case(seed, images=60, categories=4):
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, categories)) < 0.3).astype(float)
    scores = np.round(labels * 0.3 + rng.random(labels.shape), 1)  # one decimal: many ties
    return labels, scores, scores > 0.7


def test_hamming_score_counts_known_cells_only():
    # 8 known cells; wrong are (0, 2) and (1, 0)
    assert metrics.hamming_score(LABELS, DECISIONS) == pytest.approx(6 / 8)


def test_subset_accuracy_leaves_out_rows_without_known_labels():
    # rows 0 and 1 hold an error each, row 2 is right, row 3 is unknown
    assert metrics.subset_accuracy(LABELS, DECISIONS) == pytest.approx(1 / 3)


def test_subset_accuracy_compares_a_row_on_its_known_cells():
    assert metrics.subset_accuracy([[1, NAN], [0, 1]], [[1, 1], [0, 0]]) == 0.5


def test_sensitivity_specificity_and_f1_by_hand():
    # category 0: found 1, missed 1, left 1; category 1: found 1, left 2;
    # category 2: no positive, false alarm 1, left 1
    np.testing.assert_allclose(metrics.sensitivity(LABELS, DECISIONS), [0.5, 1, NAN])
    np.testing.assert_allclose(metrics.specificity(LABELS, DECISIONS), [1, 1, 0.5])
    np.testing.assert_allclose(metrics.category_f1(LABELS, DECISIONS), [2 / 3, 1, NAN])
    assert metrics.macro_f1(LABELS, DECISIONS) == pytest.approx(5 / 6)


@pytest.mark.parametrize("seed", range(5))
def test_complete_labels_agree_with_scikit_learn(seed):
    labels, scores, decisions = random_case(seed)
    assert metrics.hamming_score(labels, decisions) == pytest.approx(
        1 - hamming_loss(labels, decisions), abs=1e-12
    )
    assert metrics.subset_accuracy(labels, decisions) == pytest.approx(
        accuracy_score(labels, decisions), abs=1e-12
    )
    assert metrics.macro_f1(labels, decisions) == pytest.approx(
        f1_score(labels, decisions, average="macro"), abs=1e-12
    )
    np.testing.assert_allclose(
        metrics.sensitivity(labels, decisions), recall_score(labels, decisions, average=None)
    )
    np.testing.assert_allclose(
        metrics.specificity(labels, decisions),
        recall_score(1 - labels, ~decisions, average=None),
    )
    np.testing.assert_allclose(
        metrics.category_auroc(labels, scores), roc_auc_score(labels, scores, average=None)
    )
    assert metrics.mean_auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


@pytest.mark.parametrize("seed", range(3))
def test_unknown_labels_never_count(seed):
    labels, scores, decisions = random_case(seed, categories=1)
    hidden = np.random.default_rng(seed + 100).random(labels.shape) < 0.4
    known = ~hidden[:, 0]
    partly = np.where(hidden, NAN, labels)
    flipped = np.where(hidden, ~decisions, decisions)
    assert metrics.hamming_score(partly, flipped) == metrics.hamming_score(
        labels[known], decisions[known]
    )
    assert metrics.subset_accuracy(partly, flipped) == metrics.subset_accuracy(
        labels[known], decisions[known]
    )
    assert metrics.category_auroc(partly, np.where(hidden, 99, scores))[0] == pytest.approx(
        roc_auc_score(labels[known, 0], scores[known, 0])
    )


def test_auroc_by_hand_with_a_tie():
    # pairs: (.8 > .2), (.8 > .5), (.5 > .2), (.5 = .5) counts one half
    labels, scores = [[1], [0], [1], [0]], [[0.8], [0.2], [0.5], [0.5]]
    assert metrics.category_auroc(labels, scores)[0] == pytest.approx(3.5 / 4)


def test_one_positive_gives_no_auroc_and_does_not_poison_the_mean():
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    scores = np.array([[4, 4], [3, 3], [2, 2], [1, 1.0]])
    result = metrics.category_auroc(labels, scores)
    assert result[0] == 1
    assert np.isnan(result[1])
    assert metrics.mean_auroc(labels, scores) == 1


def test_nothing_known_is_nan():
    labels = np.full((3, 2), NAN)
    decisions = np.zeros((3, 2))
    assert np.isnan(metrics.hamming_score(labels, decisions))
    assert np.isnan(metrics.subset_accuracy(labels, decisions))
    assert np.isnan(metrics.macro_f1(labels, decisions))
    assert np.isnan(metrics.mean_auroc(labels, decisions))


def test_image_auroc_leaves_out_images_that_are_neither():
    # the third image would be ranked wrongly, but is neither normal nor abnormal
    assert metrics.image_auroc([1, 1, NAN, 0, 0], [3, 2, 0, 1, 2.5]) == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.hamming_score([1, 0], [1, 0]), r"got \(2,\)"),
        (lambda: metrics.hamming_score([[1, 0]], [[1]]), r"\(1, 2\), got \(1, 1\)"),
        (lambda: metrics.hamming_score([[1, 2]], [[1, 1]]), "got 2 in row 0, column 1"),
        (lambda: metrics.subset_accuracy([[1, 0]], [[1, 0.5]]), "1 and 0 only"),
        (lambda: metrics.hamming_score([[1]], [[NAN]]), "1 and 0 only"),
        (lambda: metrics.category_auroc([[1], [0]], [[NAN], [1]]), "1 of 2 values"),
        (lambda: metrics.category_auroc([[1], [0]], [[1, 2]]), r"\(2, 1\), got \(1, 2\)"),
        (lambda: metrics.image_auroc([[1]], [1]), r"got \(1, 1\)"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
