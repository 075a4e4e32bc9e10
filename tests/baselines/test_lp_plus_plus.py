import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.lp_plus_plus import (
    LPPlusPlus,
    LPPlusPlusSettings,
    Objective,
    start,
)
from sdmad.errors import InputError
from tests.conftest import draw_pictures


def unit(*shape, seed=0):
    """Random vectors of length 1, in double precision."""
    draws = torch.Generator().manual_seed(seed)
    vectors = torch.randn(*shape, generator=draws, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.fixture
def objective():
    """Five images, one of which is known of nothing, and three categories."""
    labels = torch.tensor([[1, 0, 0], [0, 1, 1], [0, torch.nan, 0], [torch.nan] * 3, [0, 0, 0]])
    return Objective(unit(5, 6), unit(4, 6, seed=1), labels.double())


def test_one_image_worked_by_hand():
    # Image (1, 0), texts (1, 0) and (0, 1), vectors (0.5, 0) and (0, 0.5), blending 1 and 2:
    # the logit is (0.5 + 1) - (0 + 0), the label 0.
    image, text = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    one = Objective(image, text, torch.tensor([[0.0]]))
    vectors, blending = 0.5 * torch.eye(2), torch.tensor([1.0, 2.0])
    likely = 1 / (1 + math.exp(-1.5))
    assert float(one.loss(vectors, blending)) == pytest.approx(-math.log(1 - likely), rel=1e-6)
    by_vectors, by_blending = one.slopes(vectors, blending)
    assert by_vectors.tolist() == [[pytest.approx(likely), 0], [pytest.approx(-likely), 0]]
    assert by_blending.tolist() == [pytest.approx(likely), 0]  # the normal text's cosine is 0
    # A quarter of the largest eigenvalues: of [[1, -1], [-1, 1]] and of [[1, 0], [0, 0]].
    assert one.curvatures() == (pytest.approx(0.5), pytest.approx(0.25))


def test_slopes_at_the_start_are_those_of_autograd(objective):
    vectors, blending = (one.requires_grad_() for one in start(objective, 250.0))
    expected = torch.autograd.grad(objective.loss(vectors, blending), (vectors, blending))
    with torch.no_grad():
        found = objective.slopes(vectors, blending)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def largest_curvature(loss_of, point):
    """The largest eigenvalue of a loss's second derivatives at a point."""
    second = torch.autograd.functional.hessian(loss_of, point)
    size = point.numel()
    return float(torch.linalg.eigvalsh(second.reshape(size, size))[-1])


def test_no_curvature_exceeds_the_bounds_which_are_reached_at_logits_of_zero(objective):
    bounds = objective.curvatures()
    nothing = torch.zeros(4, 6).double(), torch.zeros(4).double()
    for vectors, blending in (nothing, start(objective, 5.0)):
        found = (
            largest_curvature(lambda one, of=blending: objective.loss(one, of), vectors),
            largest_curvature(lambda one, of=vectors: objective.loss(of, one), blending),
        )
        assert all(one <= bound + 1e-12 for one, bound in zip(found, bounds, strict=True))
    flat = largest_curvature(lambda one: objective.loss(nothing[0], one), nothing[1])
    assert flat == pytest.approx(bounds[1], rel=1e-9)
    # That of the vectors is exact where every label is known.
    whole = Objective(objective.features, objective.text, objective.labels.nan_to_num())
    flat = largest_curvature(lambda one: whole.loss(one, nothing[1]), nothing[0])
    assert flat == pytest.approx(whole.curvatures()[0], rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_step_of_either_raises_the_loss(seed):
    draws = np.random.default_rng(seed)
    labels = draws.choice([0.0, 1.0, np.nan], (8, 3), p=(0.6, 0.3, 0.1))
    one = Objective(unit(8, 4, seed=seed), unit(4, 4, seed=seed + 9), torch.tensor(labels))
    vectors, blending = start(one, 250.0)
    curved = one.curvatures()
    for _ in range(30):
        before, slope = one.loss(vectors, blending), one.slopes(vectors, blending)[0]
        vectors = vectors - slope / curved[0]
        between = one.loss(vectors, blending)
        assert between <= before - slope.square().sum() / (2 * curved[0]) + 1e-12
        slope = one.slopes(vectors, blending)[1]
        blending = blending - slope / curved[1]
        assert one.loss(vectors, blending) <= between - slope.square().sum() / (2 * curved[1])


def test_vectors_start_at_the_means_and_the_blending_at_their_cosines():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [torch.nan, torch.nan]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    vectors, blending = start(Objective(features, text, labels), 10.0)
    # The normal class has four samples: the first two images once each, the third twice.
    normal = [(1 + 2 * 0.6) / 4, (1 + 2 * 0.8) / 4]
    middle = [(2 + 2 * 0.6) / 6, (2 + 2 * 0.8) / 6]  # of all six; nobody shows the second category
    expected = torch.tensor([[0.5, 0.5], middle, normal])
    torch.testing.assert_close(vectors, expected)
    assert blending.tolist() == pytest.approx([10 * (0.5 + normal[1]) / 2] * 3)


def test_it_learns_and_scores_by_vectors_and_blended_texts(small_bank, tiny_backbone, pictures):
    detector = LPPlusPlus(small_bank, tiny_backbone).fit(*pictures)
    assert len(detector.log_) == 300
    assert sorted(detector.log_, reverse=True) == detector.log_
    assert detector.log_[-1] < 0.7 * detector.log_[0]
    assert detector.trained_parameters == 4 * 16 + 4
    assert len(set(detector.blending_.tolist())) == 4
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(pictures[0]))
    products = (features @ detector.weights_.T).double().numpy()
    scored = detector.score_images(pictures[0])
    np.testing.assert_allclose(scored.scores, products[:, :3] - products[:, 3:], atol=1e-3)
    assert np.array_equal(scored.decisions, scored.scores > 0)
    images, labels = draw_pictures(36, seed=7)
    assert roc_auc_score(labels, detector.decision_function(images)) > 0.75


def test_the_blending_has_a_step_behind_every_tenth_of_the_vectors(
    small_bank, tiny_backbone, pictures
):
    blending = {}
    for epochs in (0, 9, 10, 19):
        settings = LPPlusPlusSettings(epochs=epochs)
        detector = LPPlusPlus(small_bank, tiny_backbone, settings).fit(*pictures)
        blending[epochs] = detector.blending_.tolist()
    assert blending[0] == blending[9] != blending[10] == blending[19]


def test_unknown_labels_do_not_count(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    hidden = labels.copy()
    hidden[6:] = np.nan
    half = LPPlusPlus(small_bank, tiny_backbone).fit(images[:6], labels[:6])
    masked = LPPlusPlus(small_bank, tiny_backbone).fit(images, hidden)
    torch.testing.assert_close(masked.weights_, half.weights_, atol=1e-3, rtol=0)


def test_it_must_be_fitted(small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="not fitted yet"):
        LPPlusPlus(small_bank, tiny_backbone).predict(pictures[0])
