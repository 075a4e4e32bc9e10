import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.ape import APE, APESettings
from sdmad.baselines.ape_t import APET, APETSettings, memberships
from sdmad.errors import InputError
from tests.conftest import draw_pictures

STRONG = APETSettings(alpha=300.0, beta=5.5, epochs=60, learning_rate=1e-2)


def test_an_image_belongs_to_what_it_shows_and_else_to_the_normal_class():
    labels = torch.tensor([[1.0, torch.nan, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert memberships(labels).tolist() == [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_untrained_it_is_ape(small_bank, tiny_backbone, pictures):
    plain = APE(small_bank, tiny_backbone, APESettings(gamma=0.5)).fit(*pictures)
    still = APET(small_bank, tiny_backbone, APETSettings(gamma=0.5, epochs=0)).fit(*pictures)
    assert still.losses == ()
    np.testing.assert_allclose(
        still.decision_function(pictures[0]), plain.decision_function(pictures[0]), atol=1e-3
    )


def test_one_step_of_adamw_by_its_formula(small_bank, tiny_backbone, pictures):
    # AdamW's first step: decay, then the rate against slope / (|slope| + epsilon).
    images, labels = pictures
    settings = APETSettings(alpha=20.0, scale=20.0, epochs=1, learning_rate=0.01)
    detector = APET(small_bank, tiny_backbone, settings).fit(images, labels)
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(images))
    truth, channels = torch.tensor(labels, dtype=torch.float32), detector.channels

    def unit(vectors):
        return vectors / vectors.norm(dim=1, keepdim=True)

    keys = unit(features[:, channels])
    residuals = torch.zeros(4, len(channels), requires_grad=True)
    bits = torch.zeros(12, 3)
    cosines = keys @ unit(detector.text[:, channels]).T
    for k in range(3):
        two = cosines[:, [k, 3]].softmax(dim=1)
        bits[:, k] = -torch.where(truth[:, k] == 1, two[:, 0], two[:, 1]).log2()
    loudness = (0.1 * bits).exp().requires_grad_()
    own = torch.cat([truth, (truth.sum(dim=1, keepdim=True) == 0).float()], dim=1)
    own = own / own.sum(dim=1, keepdim=True)
    shown, lacking = truth.sum(dim=0), (1 - truth).sum(dim=0)
    votes = truth - shown / lacking * (1 - truth)

    def scores(residuals, loudness):
        text = detector.text.clone()
        text[:, channels] = text[:, channels] + residuals
        text, moved = unit(text), unit(keys + own @ residuals)
        gaps = features @ text[:3].T - (features @ text[3])[:, None]
        return 20 * gaps + 20 * (keys @ moved.T - 1).exp() @ (votes * loudness)

    logits = scores(residuals, loudness)
    loss = -(truth * logits.sigmoid().log() + (1 - truth) * (-logits).sigmoid().log()).mean()
    assert detector.log_ == [pytest.approx(float(loss.detach()), rel=1e-4)]
    slopes = torch.autograd.grad(loss, (residuals, loudness))
    stepped = [
        one * (1 - 0.01 * 0.01) - 0.01 * slope / (slope.abs() + 1e-4)
        for one, slope in zip((residuals, loudness), slopes, strict=True)
    ]
    expected = scores(*stepped).detach().numpy()
    np.testing.assert_allclose(detector.decision_function(images), expected, atol=5e-3)
    assert detector.trained_parameters == 4 * 7 + 12 * 3


def test_it_learns_and_is_the_same_again(small_bank, tiny_backbone, pictures):
    one, two = (APET(small_bank, tiny_backbone, STRONG).fit(*pictures) for _ in range(2))
    assert len(one.log_) == 60
    assert one.log_[-1] < 0.5 * one.log_[0]
    assert one.log_ == two.log_
    assert torch.equal(one.text_, two.text_)
    images, labels = draw_pictures(36, seed=7)
    assert roc_auc_score(labels, one.decision_function(images)) > 0.7


def test_unknown_labels_do_not_count(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    hidden = labels.copy()
    hidden[6:] = np.nan
    few = APETSettings(epochs=3)
    half = APET(small_bank, tiny_backbone, few).fit(images[:6], labels[:6])
    masked = APET(small_bank, tiny_backbone, few).fit(images, hidden)
    np.testing.assert_allclose(
        masked.decision_function(images), half.decision_function(images), atol=1e-2
    )


def test_it_must_be_fitted(small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="not fitted yet"):
        APET(small_bank, tiny_backbone).predict(pictures[0])
