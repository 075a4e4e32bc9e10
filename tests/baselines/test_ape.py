import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.ape import APE, APESettings, surprise, telling_channels
from sdmad.errors import InputError
from tests.conftest import draw_pictures


def test_channels_by_likeness_and_variance():
    text = torch.tensor([[0.6, 0.8, 0.0, 0.0], [0.6, 0.0, 0.8, 0.0], [0.6, 0.0, -0.6, 0.5]])
    # Mean product over the pairs of classes: .36, 0, -.16 (one pair of three, -.48), 0.
    # Variance: 0, .6400 / 3, .4933, .25 / 3.
    expected = [-0.7 * 0.36, 0.3 * 0.64 / 3, 0.7 * 0.16 + 0.3 * 0.49333, 0.3 * 0.25 / 3]
    order = sorted(range(4), key=lambda d: -expected[d])
    assert order == [2, 1, 3, 0]
    for count in range(1, 5):
        assert telling_channels(text, count / 4, 0.7).tolist() == sorted(order[:count])
    assert telling_channels(text, 0.01, 0.7).tolist() == [2]  # never none
    assert telling_channels(text, 0.25, 0.0).tolist() == [2]


def test_bits_of_surprise():
    cosines = torch.tensor([[math.log(3), math.log(3), 0.0]])
    found = surprise(cosines, torch.tensor([[1.0, 0.0, torch.nan]]))
    # probability 3/4 where it is there, 1/4 where it is said not to be
    assert found[0].tolist() == pytest.approx([math.log2(4 / 3), 2.0, 0.0], abs=1e-5)


def test_scores_are_zero_shot_logits_and_louder_votes(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    settings = APESettings(gamma=0.5)
    detector = APE(small_bank, tiny_backbone, settings).fit(images, labels)
    assert len(detector.channels) == 7  # 500 of 1024 of 16
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(images)).double().numpy()
    text = detector.text.double().numpy()
    own, said = (part[:, detector.channels.numpy()] for part in (features, text))
    own, said = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (own, said))
    gap = own @ said[:3].T - (own @ said[3])[:, None]
    likely = 1 / (1 + np.exp(-gap))
    louder = np.where(labels == 1, likely, 1 - likely) ** (-0.5 / math.log(2))
    shown, lacking = labels.sum(axis=0), (1 - labels).sum(axis=0)
    votes = (labels - shown / lacking * (1 - labels)) * louder
    expected = 100 * (features @ text[:3].T - (features @ text[3])[:, None])
    expected += 2 * np.exp(own @ own.T - 1) @ votes
    scored = detector.score_images(images)
    np.testing.assert_allclose(scored.scores, expected, atol=1e-3)
    assert np.array_equal(scored.decisions, scored.scores > 0)


def test_unknown_labels_do_not_count(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    hidden = labels.copy()
    hidden[6:] = np.nan
    half = APE(small_bank, tiny_backbone).fit(images[:6], labels[:6])
    masked = APE(small_bank, tiny_backbone).fit(images, hidden)
    np.testing.assert_allclose(
        masked.decision_function(images), half.decision_function(images), atol=1e-3
    )


def test_it_tells_other_pictures_apart(small_bank, tiny_backbone, pictures):
    settings = APESettings(alpha=300.0, beta=5.5)
    detector = APE(small_bank, tiny_backbone, settings).fit(*pictures)
    images, labels = draw_pictures(36, seed=7)
    assert roc_auc_score(labels, detector.decision_function(images)) > 0.7


def test_it_must_be_fitted(small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="not fitted yet"):
        APE(small_bank, tiny_backbone).predict(pictures[0])
