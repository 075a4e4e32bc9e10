import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.proker import ProKeR, ProKeRSettings, ridge_weights
from sdmad.errors import InputError
from tests.conftest import draw_pictures


def test_two_images_worked_by_hand():
    k, penalty = math.exp(-1.5), 0.5
    kernel = torch.tensor([[1.0, k], [k, 1.0]])
    found = ridge_weights(kernel, torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]), penalty)
    # (1.5) a + k b = 1 and k a + (1.5) b = -1, so that b = -a and a = 1 / (1.5 - k)
    assert found[:, 0].tolist() == pytest.approx([1 / (1.5 - k), -1 / (1.5 - k)], rel=1e-5)


def test_what_zero_shot_says_already_needs_no_weight():
    base = torch.tensor([[1.0], [-1.0]])
    found = ridge_weights(torch.eye(2), base, torch.tensor([[1.0], [0.0]]), 0.1)
    assert found.tolist() == [[0.0], [0.0]]


def test_the_few_that_show_it_weigh_as_much_as_the_many_that_do_not():
    # Far from each other, each image is alone: a = (y - 0) / (1 + penalty / w), w = 1 and 1 / 3.
    labels = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    found = ridge_weights(torch.eye(4), torch.zeros(4, 1), labels, 0.5)[:, 0]
    assert found.tolist() == pytest.approx([1 / 1.5, *[-1 / 2.5] * 3])


def test_unknown_labels_and_categories_that_nobody_shows_count_nothing():
    kernel = torch.tensor([[1.0, 0.3, 0.9], [0.3, 1.0, 0.2], [0.9, 0.2, 1.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [torch.nan, 0.0]])
    found = ridge_weights(kernel, torch.zeros(3, 2), labels, 0.1)
    both = ridge_weights(kernel[:2, :2], torch.zeros(2, 2), labels[:2], 0.1)
    torch.testing.assert_close(found[:2, 0], both[:, 0])
    assert found[2, 0] == 0
    assert (found[:, 1] == 0).all()


def test_the_weights_are_where_the_objective_has_no_slope():
    draw = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(6, 4, generator=draw).double(), dim=1)
    kernel = (2.0 * (points @ points.T - 1)).exp()
    base, truth = torch.randn(6, generator=draw).double(), torch.tensor([1.0, 1, 0, 0, 0, 0])
    found = ridge_weights(kernel, base[:, None], truth[:, None], 0.3)[:, 0].requires_grad_()
    weight = torch.where(truth == 1, 1.0, 0.5)
    error = (2 * truth - 1 - base - kernel @ found).square() * weight
    (error.sum() + 0.3 * found @ kernel @ found).backward()
    assert found.grad.abs().max() < 1e-9


def test_scores_are_cosines_and_what_the_support_adds(small_bank, tiny_backbone, pictures):
    detector = ProKeR(small_bank, tiny_backbone).fit(*pictures)
    both = tiny_backbone.encode_with_evidence(tiny_backbone.preprocessing(pictures[0]))
    features, evidence = (values.double().numpy() for values in both)
    text = detector.text.double().numpy()
    base = features @ text[:3].T - (features @ text[3])[:, None]
    near = np.exp(1.5 * (evidence @ evidence.T - 1))
    scored = detector.score_images(pictures[0])
    np.testing.assert_allclose(scored.scores, base + near @ detector.weights_.numpy(), atol=1e-3)
    assert np.array_equal(scored.decisions, scored.scores > 0)


def test_it_tells_other_pictures_apart(small_bank, tiny_backbone, pictures):
    detector = ProKeR(small_bank, tiny_backbone, ProKeRSettings(0.05, 5.5)).fit(*pictures)
    images, labels = draw_pictures(36, seed=7)
    assert roc_auc_score(labels, detector.decision_function(images)) > 0.8


def test_it_must_be_fitted(small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="not fitted yet"):
        ProKeR(small_bank, tiny_backbone).predict(pictures[0])
