from itertools import islice

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad import SignBank
from sdmad.baselines.cross_modal_probe import (
    CrossModalProbe,
    CrossModalProbeSettings,
    rounds,
    sentence_labels,
)
from sdmad.errors import InputError
from tests.conftest import draw_pictures

SHORT = CrossModalProbeSettings(steps=600)


def test_a_sentence_speaks_of_each_category_that_has_it():
    signs = {"A": ("dark", "round"), "B": ("round",)}
    bank = SignBank("b", "picture", ("plain", "empty"), signs)
    assert sentence_labels(bank).tolist() == [[1, 0], [1, 1], [1, 1], [0, 0], [0, 0]]


def test_each_row_comes_once_before_any_comes_again():
    found = torch.cat(list(islice(rounds(5, 4, torch.Generator().manual_seed(0)), 5)))
    assert len(found) == 20
    assert all(sorted(part.tolist()) == [0, 1, 2, 3, 4] for part in found.split(5))
    assert len(set(map(tuple, found.reshape(4, 5).tolist()))) > 1
    few = list(islice(rounds(1, 4, torch.Generator()), 2))
    assert [rows.tolist() for rows in few] == [[0] * 4] * 2


def test_one_step_of_adam_from_the_texts(small_bank, tiny_backbone, pictures):
    # Adam's first step is the rate against the sign of the slope, whatever its size.
    settings = CrossModalProbeSettings(steps=1, batch_size=200, warmup=0, learning_rate=1e-3)
    images, labels = pictures
    detector = CrossModalProbe(small_bank, tiny_backbone, settings).fit(images, labels)
    draws = torch.Generator().manual_seed(0)
    streams = rounds(12, 100, draws), rounds(8, 100, draws)
    seen, read = (next(stream) for stream in streams)
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(images))
    samples = torch.cat([features[seen], detector.sentences[read]])
    said = torch.cat([torch.tensor(labels).float()[seen], sentence_labels(small_bank)[read]])
    logits = 100 * (samples @ detector.text[:3].T - (samples @ detector.text[3])[:, None])
    error = (logits.sigmoid() - said) / said.numel()
    slope = torch.cat([error.T @ samples, -error.sum(dim=1)[None] @ samples])
    moved = detector.weights_ - detector.text
    clear = slope.abs() > 1e-4
    assert clear.float().mean() > 0.9
    torch.testing.assert_close(moved[clear], -1e-3 * slope[clear].sign(), atol=2e-5, rtol=0)


def test_it_learns_and_is_the_same_again(small_bank, tiny_backbone, pictures):
    one, two = (CrossModalProbe(small_bank, tiny_backbone, SHORT).fit(*pictures) for _ in range(2))
    assert len(one.log_) == 5  # four times 128 steps, and the rest
    assert one.log_[-1] < 0.7 * one.log_[0]
    assert torch.equal(one.weights_, two.weights_)
    assert one.trained_parameters == 4 * 16
    images, labels = draw_pictures(36, seed=7)
    assert roc_auc_score(labels, one.decision_function(images)) > 0.75


def test_scores_are_the_weights_products(small_bank, tiny_backbone, pictures):
    detector = CrossModalProbe(small_bank, tiny_backbone, SHORT).fit(*pictures)
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(pictures[0]))
    products = 100 * (features @ detector.weights_.T).double().numpy()
    scored = detector.score_images(pictures[0])
    np.testing.assert_allclose(scored.scores, products[:, :3] - products[:, 3:], atol=1e-3)
    assert np.array_equal(scored.decisions, scored.scores > 0)


def test_it_must_be_fitted(small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="not fitted yet"):
        CrossModalProbe(small_bank, tiny_backbone).predict(pictures[0])
