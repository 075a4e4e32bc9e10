import copy
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad import load_backbone
from sdmad.backbones import Tower
from sdmad.baselines.coop import SEARCHED, ContextPrompts, CoOp, CoOpSettings
from sdmad.baselines.registry import Build, load_system
from sdmad.errors import InputError
from tests.conftest import draw_pictures

NAMES = ("Ring", "Bar", "Dots")
QUICK = CoOpSettings(context=4, epochs=60, scale=20.0)


@pytest.fixture(scope="module")
def fitted(tiny_backbone, pictures):
    """Fitted on the shared pictures; no test may alter it."""
    return CoOp(NAMES, tiny_backbone, QUICK, seed=5).fit(*pictures)


def context_of(backbone, words):
    """The word embeddings of some text, ``(1, M, W)``."""
    ids = backbone.tokenize([words])[:, 1:-1]
    return backbone.text.token_embeddings(ids)


def test_a_context_of_words_reads_as_these_words_do(tiny_backbone):
    prompts = ContextPrompts(["ring.", "dots."], tiny_backbone, context_of(tiny_backbone, "a b c"))
    expected = tiny_backbone.encode_text(["a b c ring.", "a b c dots."])
    torch.testing.assert_close(prompts().detach(), expected, atol=1e-6, rtol=0)


def test_each_prompt_may_have_a_context_of_its_own(tiny_backbone):
    own = torch.cat([context_of(tiny_backbone, words) for words in ("a b", "x y")])
    prompts = ContextPrompts(["ring.", "dots."], tiny_backbone, own)
    expected = tiny_backbone.encode_text(["a b ring.", "x y dots."])
    torch.testing.assert_close(prompts().detach(), expected, atol=1e-6, rtol=0)


def test_the_context_alone_is_trained(tiny_backbone):
    prompts = ContextPrompts(["ring.", "dots."], tiny_backbone, torch.zeros(1, 4, 32))
    prompts().sum().backward()
    trained = [p for p in prompts.parameters() if p.requires_grad]
    assert [tuple(p.shape) for p in trained] == [(1, 4, 32)]
    assert (trained[0].grad != 0).any(dim=2).all()


def test_the_learning_rate_warms_up_and_follows_half_a_cosine():
    settings = CoOpSettings()
    assert (settings.epochs, settings.context, settings.batch_size) == (200, 16, 32)
    assert settings.rate(0) == 1e-5
    assert settings.rate(50) == pytest.approx(2e-3 * (1 + math.sqrt(0.5)) / 2)
    assert settings.rate(100) == pytest.approx(1e-3)
    assert 0 < settings.rate(199) < 1e-6


def test_the_scores_are_cosines_with_the_learned_prompts(fitted, tiny_backbone, pictures):
    features = tiny_backbone.encode_image(tiny_backbone.preprocessing(pictures[0]))
    text = fitted.text_
    expected = 20 * (features @ text[:3].T - (features @ text[3])[:, None])
    scored = fitted.score_images(pictures[0])
    np.testing.assert_allclose(scored.scores, expected.numpy(), atol=1e-5)
    assert np.array_equal(scored.decisions, scored.scores > 0)
    np.testing.assert_allclose(scored.anchor_similarity, (features @ text[3]).numpy(), atol=1e-6)
    alone = np.concatenate([fitted.decision_function([image]) for image in pictures[0]])
    np.testing.assert_allclose(alone, scored.scores, atol=1e-4)


def test_it_learns_to_tell_other_pictures_apart(tiny_backbone, fitted):
    assert len(fitted.log_) == 60
    assert fitted.log_[-1] < 0.2 * fitted.log_[0]
    images, labels = draw_pictures(36, seed=7)
    assert roc_auc_score(labels, fitted.decision_function(images)) > 0.9


def test_the_same_seed_gives_the_same_bits(fitted, tiny_backbone, pictures):
    again = CoOp(NAMES, tiny_backbone, QUICK, seed=5).fit(*pictures)
    other = CoOp(NAMES, tiny_backbone, QUICK, seed=6).fit(*pictures)
    assert again.log_ == fitted.log_
    assert torch.equal(again.text_, fitted.text_)
    assert not torch.equal(other.text_, fitted.text_)


def test_the_order_of_the_images_does_not_matter_in_one_batch(tiny_backbone, pictures):
    images, labels = pictures  # of which one batch holds all
    whole = CoOpSettings(context=4, epochs=5, scale=20.0)
    turned = CoOp(NAMES, tiny_backbone, whole).fit(images[::-1], labels[::-1])
    straight = CoOp(NAMES, tiny_backbone, whole).fit(images, labels)
    torch.testing.assert_close(turned.text_, straight.text_, atol=1e-4, rtol=0)


def test_unknown_labels_do_not_count(tiny_backbone, pictures):
    images, labels = pictures
    hidden = labels.copy()
    hidden[3:] = np.nan
    one = CoOpSettings(context=4, epochs=2, scale=20.0)
    some = CoOp(NAMES, tiny_backbone, one).fit(images[:3], labels[:3])
    masked = CoOp(NAMES, tiny_backbone, one).fit(images, hidden)
    torch.testing.assert_close(masked.text_, some.text_, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("specific", "sets"), [(True, 4), (False, 1)])
def test_a_context_for_each_category_or_for_all(tiny_backbone, pictures, specific, sets):
    settings = CoOpSettings(context=4, class_specific=specific, epochs=1)
    detector = CoOp(NAMES, tiny_backbone, settings).fit(*pictures)
    assert detector.context_.shape == (sets, 4, 32)


class Deaf(Tower):
    """A text tower that takes token ids only."""

    depth, widths = 1, (32,)

    def embed(self, inputs):
        return inputs, None

    def block(self, index, hidden, state):
        return hidden

    def pool(self, hidden, state):
        return hidden


def test_mistakes_are_refused(tiny_backbone, pictures):
    images, labels = pictures
    with pytest.raises(InputError, match="not fitted yet"):
        CoOp(NAMES, tiny_backbone).predict(images)
    with pytest.raises(InputError, match=r"'normal.' has 9 tokens.*16 learned.*24"):
        CoOp(NAMES, tiny_backbone).fit(images, labels)
    deaf = copy.copy(tiny_backbone)
    deaf.text = Deaf()
    with pytest.raises(InputError, match="Deaf takes no learned token embeddings"):
        CoOp(NAMES, deaf, QUICK).fit(images, labels)
    with pytest.raises(InputError, match="Deaf takes no learned token embeddings"):
        deaf.text.embed_tokens(torch.zeros(1, 2, 32), torch.zeros(1, 2))


def test_the_registry_builds_it_with_the_settings_searched_for_on_phantoms(
    small_bank, tiny_backbone
):
    detector = load_system("coop").build(Build(small_bank, tiny_backbone, 7, lambda: None))
    assert (detector.settings, detector.seed) == (CoOpSettings(), 7)
    lite = load_system("coop").build(Build(small_bank, load_backbone("lite"), 7, lambda: None))
    assert lite.settings == SEARCHED
    assert (SEARCHED.epochs, SEARCHED.context, SEARCHED.momentum) == (200, 16, 0.9)
    assert detector.categories == NAMES
