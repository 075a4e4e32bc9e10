import math

import numpy as np
import pytest
import torch

from sdmad.baselines.components.anchored import (
    anchored_logits,
    encode_support,
    known_label_loss,
    logit_scores,
)
from sdmad.detector.base import TrainingSet


def test_a_logit_is_the_log_odds_of_the_softmax_over_category_and_normal():
    draw = torch.Generator().manual_seed(0)
    images, text = (
        torch.nn.functional.normalize(torch.randn(n, 5, generator=draw), dim=1) for n in (3, 4)
    )
    found = anchored_logits(images, text, 20.0).sigmoid()
    for i in range(3):
        for k in range(3):
            two = [20 * float(images[i] @ text[k]), 20 * float(images[i] @ text[3])]
            expected = math.exp(two[0]) / (math.exp(two[0]) + math.exp(two[1]))
            assert found[i, k].item() == pytest.approx(expected, abs=1e-5)


def test_the_loss_is_the_mean_over_known_labels():
    logits = torch.tensor([[math.log(3), 100.0], [0.0, -100.0]])
    labels = torch.tensor([[1.0, torch.nan], [0.0, torch.nan]])
    # probability 3/4 of the present one and 1/2 of the absent one
    expected = -(math.log(0.75) + math.log(0.5)) / 2
    assert known_label_loss(logits, labels).item() == pytest.approx(expected, abs=1e-6)


def test_a_batch_of_unknown_labels_costs_nothing_and_moves_nothing():
    logits = torch.ones(2, 2, requires_grad=True)
    loss = known_label_loss(logits, torch.full((2, 2), torch.nan))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_scores_are_found_above_zero_and_the_largest_is_the_abnormality():
    scores = logit_scores(torch.tensor([[-1.0, 2.0], [-3.0, -2.0]]), torch.tensor([0.1, 0.2]))
    assert scores.decisions.tolist() == [[False, True], [False, False]]
    assert scores.abnormality.tolist() == [2.0, -2.0]
    assert scores.similarity.shape == (2, 0)
    np.testing.assert_allclose(scores.anchor_similarity, [0.1, 0.2], atol=1e-7)


def test_the_support_set_is_embedded_as_the_backbone_does(tiny_backbone, pictures):
    images, labels = pictures
    many, truth = [*images] * 3, np.concatenate([labels] * 3)  # more than a batch
    training = TrainingSet(many, truth, ~truth.any(axis=1), (None,) * len(many))
    features, evidence, values = encode_support(tiny_backbone, training)
    whole, known = tiny_backbone.encode_with_evidence(tiny_backbone.preprocessing(many))
    torch.testing.assert_close(features, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(evidence, known, atol=1e-6, rtol=0)
    assert np.array_equal(values.numpy(), truth)
