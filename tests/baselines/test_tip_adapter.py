import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad import load_backbone
from sdmad.baselines.components.anchored import class_texts
from sdmad.baselines.components.cache import Cache
from sdmad.baselines.registry import Build, load_system
from sdmad.baselines.tip_adapter import (
    SEARCHED,
    SEARCHED_TRAINED,
    TipAdapter,
    TipAdapterSettings,
)
from sdmad.errors import InputError
from sdmad.method.scoring import normal_anchor
from tests.conftest import draw_pictures

STRONG = TipAdapterSettings(alpha=300.0, beta=5.5, epochs=60, learning_rate=1e-2)


def test_votes_worked_by_hand():
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, torch.nan]])
    cache = Cache.build(keys, labels, beta=2.0)
    assert cache.values.tolist() == [[1.0, -1.0], [-0.5, 1.0], [-0.5, 0.0]]
    votes = cache.logits(torch.tensor([[1.0, 0.0]]))[0]
    # affinities 1, 0 and 0.6: e^0, e^-2 and e^-0.8
    far, near = math.exp(-2), math.exp(-0.8)
    assert votes[0].item() == pytest.approx(1 - (far + near) / 2, abs=1e-6)
    assert votes[1].item() == pytest.approx(far - 1, abs=1e-6)


def test_a_category_that_nobody_shows_gets_no_vote():
    cache = Cache.build(torch.eye(2), torch.tensor([[0.0], [0.0]]), beta=1.0)
    assert cache.logits(torch.eye(2)).tolist() == [[0.0], [0.0]]


def test_a_categorys_text_is_the_mean_of_its_signs(small_bank, tiny_backbone):
    text = class_texts(small_bank, tiny_backbone)
    for k, signs in enumerate(small_bank.categories.values()):
        expected = normal_anchor(tiny_backbone.encode_text(list(signs)))
        torch.testing.assert_close(text[k], expected, atol=1e-6, rtol=0)
    anchor = normal_anchor(tiny_backbone.encode_text(small_bank.normal))
    torch.testing.assert_close(text[3], anchor, atol=1e-6, rtol=0)


def test_scores_are_zero_shot_logits_and_weighted_votes(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    detector = TipAdapter(small_bank, tiny_backbone).fit(images, labels)
    both = tiny_backbone.encode_with_evidence(tiny_backbone.preprocessing(images))
    features, evidence = (values.double().numpy() for values in both)
    text = class_texts(small_bank, tiny_backbone).double().numpy()
    expected = 100 * (features @ text[:3].T - (features @ text[3])[:, None])
    affinity = np.exp(evidence @ evidence.T - 1)
    shown, lacking = labels.sum(axis=0), (1 - labels).sum(axis=0)
    expected += 1.17 * affinity @ (labels - shown / lacking * (1 - labels))
    scored = detector.score_images(images)
    np.testing.assert_allclose(scored.scores, expected, atol=1e-3)
    assert np.array_equal(scored.decisions, scored.scores > 0)
    alone = np.concatenate([detector.decision_function([image]) for image in images])
    np.testing.assert_allclose(alone, scored.scores, atol=1e-3)


def test_the_order_of_the_support_does_not_matter(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    straight = TipAdapter(small_bank, tiny_backbone, STRONG).fit(images, labels)
    turned = TipAdapter(small_bank, tiny_backbone, STRONG).fit(images[::-1], labels[::-1])
    np.testing.assert_allclose(
        turned.decision_function(images), straight.decision_function(images), atol=1e-2
    )


def test_training_moves_the_keys_and_lowers_the_loss(small_bank, tiny_backbone, pictures):
    plain = TipAdapter(small_bank, tiny_backbone, STRONG).fit(*pictures)
    trained = TipAdapter(small_bank, tiny_backbone, STRONG, train=True).fit(*pictures)
    assert plain.log_ == []
    assert len(trained.log_) == 60
    assert trained.log_[-1] < 0.5 * trained.log_[0]
    assert not torch.equal(trained.cache_.keys, plain.cache_.keys)
    assert torch.equal(trained.cache_.values, plain.cache_.values)
    again = TipAdapter(small_bank, tiny_backbone, STRONG, train=True).fit(*pictures)
    assert again.log_ == trained.log_
    assert torch.equal(again.cache_.keys, trained.cache_.keys)


@pytest.mark.parametrize("train", [False, True])
def test_it_tells_other_pictures_apart(small_bank, tiny_backbone, pictures, train):
    detector = TipAdapter(small_bank, tiny_backbone, STRONG, train).fit(*pictures)
    images, labels = draw_pictures(36, seed=7)
    assert roc_auc_score(labels, detector.decision_function(images)) > 0.8


def test_unknown_labels_do_not_count(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    hidden = labels.copy()
    hidden[6:] = np.nan
    half = TipAdapter(small_bank, tiny_backbone, STRONG).fit(images[:6], labels[:6])
    masked = TipAdapter(small_bank, tiny_backbone, STRONG).fit(images, hidden)
    np.testing.assert_allclose(
        masked.decision_function(images), half.decision_function(images), atol=1e-3
    )


def test_mistakes_are_refused(small_bank, tiny_backbone, pictures):
    detector = TipAdapter(small_bank, tiny_backbone)
    with pytest.raises(InputError, match="not fitted yet"):
        detector.predict(pictures[0])
    with pytest.raises(InputError, match=r"\(12, 3\)"):
        detector.fit(pictures[0], pictures[1][:, :2])


def test_the_settings_are_the_published_ones():
    assert TipAdapterSettings() == TipAdapterSettings(1.17, 1.0, 100.0, 20, 256, 1e-3, 1e-4)


def test_the_registry_builds_both_with_the_settings_searched_for_on_phantoms(small_bank):
    build = Build(small_bank, load_backbone("lite"), 7, lambda: None)
    plain, trained = (load_system(f"tip-adapter{end}").build(build) for end in ("", "-f"))
    assert (plain.train, trained.train, trained.seed) == (False, True, 7)
    assert (plain.settings, trained.settings) == (SEARCHED, SEARCHED_TRAINED)
    assert (SEARCHED.epochs, SEARCHED.learning_rate) == (20, 1e-3)
