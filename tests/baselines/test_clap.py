import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.clap import CLAP, CLAPSettings, trust
from sdmad.errors import InputError
from tests.conftest import draw_pictures


def test_trust_is_the_mean_probability_where_a_class_is_right():
    odds = [math.log(3), math.log(1 / 4)]  # 3/4 and 1/5
    logits = torch.tensor([[odds[0], odds[0], 0.0], [odds[1], odds[1], 0.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, torch.nan]])
    found = trust(logits, labels).tolist()
    # The normal class: 1/4, 4/5 and 1/2; the last two categories are shown by nobody.
    assert found == pytest.approx([(3 / 4 + 1 / 5) / 2, 1.0, 1.0, (1 / 4 + 4 / 5 + 1 / 2) / 3])
    assert trust(logits[:, :1], torch.ones(2, 1)).tolist()[1] == 1  # no image lacks anything


def test_one_step_by_its_formula(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    settings = CLAPSettings(epochs=2, learning_rate=0.01, momentum=0.0, scale=20.0)
    detector = CLAP(small_bank, tiny_backbone, settings).fit(images, labels)
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(images))
    truth, text = torch.tensor(labels, dtype=torch.float32), detector.text
    weights, held = text.clone(), detector.held_
    for rate in (0.01, 0.005):  # half a cosine over two steps
        weights = weights.detach().requires_grad_()
        unit = weights / weights.norm(dim=1, keepdim=True)
        likely = (20 * (features @ unit[:3].T - (features @ unit[3])[:, None])).sigmoid()
        loss = -(truth * likely.log() + (1 - truth) * (1 - likely).log()).mean()
        loss = loss + (held * ((weights - text) ** 2).sum(dim=1)).sum() / 4
        (slope,) = torch.autograd.grad(loss, weights)
        weights = weights - rate * slope
    expected = weights / weights.norm(dim=1, keepdim=True)
    torch.testing.assert_close(detector.weights_, expected, atol=1e-5, rtol=0)
    assert detector.trained_parameters == 4 * 16


def test_it_learns_and_is_the_same_again(small_bank, tiny_backbone, pictures):
    one, two = (CLAP(small_bank, tiny_backbone).fit(*pictures) for _ in range(2))
    assert len(one.log_) == 300
    assert one.log_[-1] < 0.7 * one.log_[0]
    assert torch.equal(one.weights_, two.weights_)
    images, labels = draw_pictures(36, seed=7)
    assert roc_auc_score(labels, one.decision_function(images)) > 0.75


def test_unknown_labels_do_not_count(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    hidden = labels.copy()
    hidden[6:] = np.nan
    few = CLAPSettings(epochs=5)
    half = CLAP(small_bank, tiny_backbone, few).fit(images[:6], labels[:6])
    masked = CLAP(small_bank, tiny_backbone, few).fit(images, hidden)
    torch.testing.assert_close(masked.weights_, half.weights_, atol=1e-4, rtol=0)


def test_it_must_be_fitted(small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="not fitted yet"):
        CLAP(small_bank, tiny_backbone).predict(pictures[0])
