"""Patients drawn with replacement, and the AUROC of what was drawn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sdmad.evaluation.resampling import WeightedAUROC, patient_index, ratio, resample_weights

NAN = float("nan")


@pytest.mark.parametrize("prevalence", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_weighted_auroc_agrees_with_scikit_learn(prevalence, decimals):
    rng = np.random.default_rng(3)
    labels = (rng.random(400) < prevalence).astype(float)
    scores = np.round(labels * 0.5 + rng.random(400), decimals)
    patient = rng.integers(0, 120, 400)
    weights = next(resample_weights(120, 20, rng))
    result = WeightedAUROC(labels, scores, patient, 120)(weights)
    for column in range(20):
        drawn = weights[patient, column]
        assert result[column] == pytest.approx(
            roc_auc_score(labels, scores, sample_weight=drawn), abs=1e-9
        )


def test_weighted_auroc_by_hand():
    # positives .8 (patient 0) and .5 (patient 1), negatives .5 (patient 2) and .2 (patient 3)
    auroc = WeightedAUROC(
        np.array([1.0, 1, 0, 0, NAN]),
        np.array([0.8, 0.5, 0.5, 0.2, 0.9]),
        np.array([0, 1, 2, 3, 3]),
        4,
    )
    # once each: 3.5 of 4; patient 1 twice and patient 2 twice: .5 * 4 of 4 pairs;
    # patient 0 left out and 1 drawn once: fewer than two positives
    weights = np.array([[1, 1, 1, 1], [0, 2, 2, 0], [0, 1, 2, 1]], dtype=float).T
    np.testing.assert_allclose(auroc(weights), [3.5 / 4, 0.5, NAN])


def test_weights_draw_as_many_patients_as_there_are():
    chunks = list(resample_weights(7, 150, np.random.default_rng(0)))
    weights = np.concatenate(chunks, axis=1)
    assert weights.shape == (7, 150)
    assert len(chunks) > 1
    np.testing.assert_array_equal(weights.sum(axis=0), 7)
    assert weights.mean(axis=1) == pytest.approx(np.ones(7), abs=0.3)


def test_patients_are_numbered_in_common():
    tables, patients = patient_index(["b", "a", "b"], ["c", "a"])
    assert [table.tolist() for table in tables] == [[0, 1, 0], [2, 1]]
    assert patients == 3


def test_nothing_over_nothing_is_no_number():
    np.testing.assert_array_equal(ratio(np.array([1.0, 0.0]), np.array([4.0, 0.0])), [0.25, NAN])


def test_draws_do_not_depend_on_the_size_of_a_chunk():
    whole = np.concatenate(list(resample_weights(5, 70, np.random.default_rng(0))), axis=1)
    rng = np.random.default_rng(0)
    by_hand = [np.bincount(rng.integers(0, 5, 5), minlength=5) for _ in range(70)]
    np.testing.assert_array_equal(whole, np.array(by_hand).T)
