import numpy as np
import pytest

from sdmad.errors import InputError
from sdmad.evaluation.metrics import category_auroc, hamming_score
from sdmad.evaluation.trivial import TRIVIAL_PREDICTORS, prevalence, trivial_predictor

NAN = float("nan")
REFERENCE = np.array([[1, 1, NAN, 0], [1, 0, NAN, 0], [NAN, 0, NAN, 1], [0, 0, NAN, 1]])


def test_prevalence_is_the_share_among_known_labels():
    np.testing.assert_allclose(prevalence(REFERENCE), [2 / 3, 1 / 4, 0, 1 / 2])
    np.testing.assert_allclose(prevalence([[1, 0], [NAN, NAN]]), [1, 0])  # one label is known


@pytest.mark.parametrize(
    ("name", "row"), [("none", [0, 0, 0, 0]), ("all", [1, 1, 1, 1]), ("prevalence", [1, 0, 0, 0])]
)
def test_decisions_are_the_same_for_every_image(name, row):
    scores, decisions = trivial_predictor(name, REFERENCE, 3)
    assert scores.shape == (3, 4)
    np.testing.assert_array_equal(decisions, np.tile(row, (3, 1)).astype(bool))


@pytest.mark.parametrize("name", TRIVIAL_PREDICTORS)
def test_auroc_is_one_half(name):
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    np.testing.assert_allclose(category_auroc(labels, trivial_predictor(name, labels, 4)[0]), 0.5)


def test_prevalence_has_the_best_constant_hamming_score():
    labels = (np.random.default_rng(0).random((50, 3)) < [0.2, 0.7, 0.4]).astype(float)
    best = max(
        hamming_score(labels, np.tile([a, b, c], (50, 1)))
        for a in (0, 1)
        for b in (0, 1)
        for c in (0, 1)
    )
    assert hamming_score(labels, trivial_predictor("prevalence", labels, 50)[1]) == best


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="none, all, prevalence"):
        trivial_predictor("coin", REFERENCE, 1)
