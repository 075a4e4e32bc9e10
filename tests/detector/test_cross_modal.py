"""The cross-modal probe: its objective, its samples, and what the head makes of it."""

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import normalize

from sdmad import SDMADConfig
from sdmad.detector.cross_modal import CrossModalSettings, fit_cross_modal, fit_logistic
from sdmad.detector.features import ImageFeatures
from sdmad.detector.head import SignHead

PLAIN = CrossModalSettings(text=1.0, penalty=1.0)


def unit(*shape, seed):
    return normalize(torch.randn(*shape, generator=torch.manual_seed(seed)), dim=-1)


# Logistic regression


def test_two_samples_by_hand():
    # 2 log(1 + exp(-w)) + lambda / 2 w^2 has its least at w = 1 where 2 / (1 + e) = lambda.
    # The second problem's samples count three times: 6 / (1 + e) = lambda would be needed there.
    truth = np.array([[True, True], [False, False]])
    often = np.array([[1.0, 3.0], [1.0, 3.0]])
    weights, constant = fit_logistic(
        np.array([[1.0], [-1.0]]), truth, often, np.zeros((2, 2)), 2 / (1 + np.e)
    )
    assert weights[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert constant == pytest.approx([0.0, 0.0], abs=1e-6)
    thrice = weights[0, 1]
    assert 6 / (1 + np.exp(thrice)) == pytest.approx(2 / (1 + np.e) * thrice, abs=1e-6)


def one_logistic(samples, truth, often, offset, penalty):
    """One of several problems that are solved at once; the other is its contrary."""
    two = (np.stack([truth, ~truth], 1), np.stack([often] * 2, 1), np.stack([offset, -offset], 1))
    weights, constant = fit_logistic(samples, *two, penalty)
    np.testing.assert_allclose(weights[:, 0], -weights[:, 1], atol=1e-5)
    return weights[:, 0], constant[0]


@pytest.mark.parametrize("size", [3, 40])
def test_it_is_scikit_learns_where_nothing_is_offset(size):
    rng = np.random.default_rng(size)
    samples, truth = rng.normal(size=(20, size)), rng.random(20) < 0.4
    often = rng.uniform(0.2, 2, 20)
    weights, constant = one_logistic(samples, truth, often, np.zeros(20), 0.7)
    other = LogisticRegression(C=1 / 0.7, max_iter=10_000, tol=1e-10)
    other.fit(samples, truth, sample_weight=often)
    np.testing.assert_allclose(weights, other.coef_[0], atol=2e-4)
    assert constant == pytest.approx(other.intercept_[0], abs=2e-4)


def test_an_offset_is_part_of_the_log_odds():
    rng = np.random.default_rng(1)
    samples, truth = rng.normal(size=(15, 4)), rng.random(15) < 0.5
    often, offset = rng.uniform(0.5, 2, 15), rng.normal(size=15)
    weights, constant = one_logistic(samples, truth, often, offset, 0.5)
    sign = np.where(truth, 1, -1)

    def loss(point):
        odds = offset + samples @ point[:-1] + point[-1]
        return often @ np.log1p(np.exp(-sign * odds)) + 0.25 * point[:-1] @ point[:-1]

    best = np.append(weights, constant)
    assert check_grad(loss, lambda _: np.zeros(5), best) < 1e-4
    assert all(loss(best + step) > loss(best) for step in 0.01 * rng.normal(size=(20, 5)))


# The samples


def fit(labels, settings=PLAIN, images=None, signs=None, evidence=None, parts=()):
    """Four images on the axes of the plane; two categories with a sign each, along x and y."""
    images = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]) if images is None else images
    signs = torch.eye(2) if signs is None else signs
    texts = signs, torch.arange(len(signs)) % 2, torch.tensor([-0.6, -0.8])
    start = np.zeros((len(images), 2))
    given = (images, evidence), np.array(labels, float), texts, start, [0.0], settings, parts
    return fit_cross_modal(*given)[0]


def test_a_category_without_a_positive_image_ranks_by_its_sentences():
    found = fit([[0, 1], [0, 0], [0, 0], [0, 0]])
    assert found.learnt.tolist() == [True, True]
    odds = found(torch.tensor([[1.0, 0], [0, 1], [-1, 0]]))[:, 0]
    assert odds[0] > odds[1]
    assert odds[0] > odds[2]


def test_without_weight_sentences_say_nothing():
    silent = CrossModalSettings(text=0.0, penalty=1.0)
    found = fit([[0, 1], [0, 0], [0, 0], [0, 0]], silent)
    assert found.learnt.tolist() == [False, True]
    # Images alone, centred on their mean, times the root of 2.
    other = LogisticRegression(C=1.0, tol=1e-10)
    other.fit(2**0.5 * np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]]), [1, 0, 0, 0])
    np.testing.assert_allclose(found.weights[1], 2**0.5 * other.coef_[0], atol=1e-3)


def test_all_sentences_together_weigh_as_much_as_the_images_times_the_weight():
    images, signs = unit(6, 8, seed=1), unit(4, 8, seed=2)
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1], [0, 0]], float)
    anchor = unit(1, 8, seed=3)
    texts = signs, torch.tensor([0, 0, 1, 1]), anchor[0]
    start = np.zeros((6, 2))
    settings = CrossModalSettings(3, 5)
    (found,) = fit_cross_modal((images, None), labels, texts, start, [0.0], settings, ())
    said = torch.cat([signs, anchor])
    samples = 8**0.5 * torch.cat([images - images.mean(dim=0), said - said.mean(dim=0)])
    often = np.array([1.0] * 6 + [3 * 6 / 5] * 5)
    other = LogisticRegression(C=1 / 5, tol=1e-10, max_iter=10_000)
    other.fit(samples.numpy(), [*labels[:, 0], 1, 1, 0, 0, 0], sample_weight=often)
    np.testing.assert_allclose(found.weights[0], 8**0.5 * other.coef_[0], atol=1e-3)
    expected = other.intercept_[0] - 8**0.5 * other.coef_[0] @ images.mean(dim=0).numpy()
    assert float(found.bias[0]) == pytest.approx(expected, abs=1e-3)


def test_a_sentence_of_two_categories_speaks_of_both():
    signs = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    found = fit([[0, 0]] * 4, signs=signs)
    torch.testing.assert_close(found.weights[0], found.weights[1])
    assert found.weights[0, 0] > 0.1


def test_an_unknown_label_counts_neither_way():
    images = unit(5, 2, seed=4)
    labels = np.array([[1, 0], [0, 1], [np.nan, 0], [0, 0], [0, 0]])
    others = [0, 1, 3, 4]
    known = fit(labels, images=images)
    # The centre is that of all images; what is learnt is that of the known ones about it.
    silent = CrossModalSettings(text=0.0, penalty=1.0)
    mine = fit(labels, silent, images).weights[0]
    centred = 2**0.5 * (images - images.mean(dim=0))[others]
    other = LogisticRegression(C=1.0, tol=1e-10).fit(centred.numpy(), labels[others, 0])
    np.testing.assert_allclose(mine, 2**0.5 * other.coef_[0], atol=1e-3)
    assert known.learnt.all()


def test_each_part_of_the_evidence_has_the_length_of_the_embeddings():
    images, evidence = unit(7, 4, seed=5), unit(7, 9, seed=6)
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1], [0, 0], [1, 0]])
    texts = unit(2, 4, seed=7), torch.tensor([0, 1]), unit(1, 4, seed=8)[0]
    start = np.zeros((7, 2))

    def odds(scale):
        values = evidence * torch.tensor([scale] * 3 + [1.0] * 6)
        (probe,) = fit_cross_modal((images, values), labels, texts, start, [0.0], PLAIN, (3, 6))
        return probe(torch.cat([images, values], dim=1))

    torch.testing.assert_close(odds(1.0), odds(100.0), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("trunk", [0.0, 1.0, 3.0])
def test_the_last_part_has_a_weight_of_its_own(trunk):
    images, evidence = unit(7, 4, seed=5), unit(7, 9, seed=6)
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1], [0, 0], [1, 0]])
    texts = unit(2, 4, seed=7), torch.tensor([0, 1]), unit(1, 4, seed=8)[0]
    settings = CrossModalSettings(text=0.0, penalty=2.0, trunk=trunk)
    start = np.zeros((7, 2))
    (probe,) = fit_cross_modal((images, evidence), labels, texts, start, [0.0], settings, (3, 6))
    shared, first, last = (
        part - part.mean(dim=0) for part in (images, evidence[:, :3], evidence[:, 3:])
    )
    length = 2 * shared.norm(dim=1).mean()  # the root of 4 dimensions
    samples = [2 * shared] + [length * p / p.norm(dim=1).mean() for p in (first, last)]
    samples[2] = trunk * samples[2]
    other = LogisticRegression(C=1 / 2, tol=1e-10, max_iter=10_000)
    expected = other.fit(torch.cat(samples, dim=1), labels[:, 0]).decision_function(
        torch.cat(samples, dim=1)
    )
    odds = probe(torch.cat([images, evidence], dim=1))[:, 0]
    np.testing.assert_allclose(odds, expected, atol=1e-3)


def test_images_that_are_all_alike_leave_it_to_the_sentences():
    alike = torch.tensor([[1.0, 0.0]]).expand(3, 2)
    found = fit([[1, 0], [0, 1], [0, 0]], images=alike, evidence=torch.ones(3, 4), parts=(4,))
    assert torch.isfinite(found.weights).all()
    assert found.weights[0, 0] > found.weights[0, 1]


# In the head


def build(by_patch, **settings):
    config = SDMADConfig(image_evidence="cross-modal", decision="odds", **settings)
    signs, anchor = unit(5, 6, seed=9), unit(1, 6, seed=10)[0]
    return SignHead(
        signs, anchor, torch.tensor([0, 0, 1, 1, 1]), torch.tensor([True] * 4 + [False]), config,
        by_patch=by_patch,
    )  # fmt: skip


SEEN = ImageFeatures(unit(9, 6, seed=11), unit(9, 7, seed=12), unit(9, 4, 6, seed=13))
LABELS = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1], [0, 0], [1, 0], [0, 0], [0, 1.0]])


@pytest.mark.parametrize("by_patch", [False, True])
def test_scores_are_log_odds_that_start_from_the_signs(by_patch):
    head = build(by_patch)
    fitted = head.with_evidence(SEEN, LABELS, (3, 4), prior=1.5)
    cosines = SEEN.embedding @ head.signs.T
    if by_patch:
        cosines = (SEEN.patches @ head.signs.T).amax(dim=1)
    signs = torch.stack([cosines[:, :2].mean(dim=1), cosines[:, 2:4].mean(dim=1)], dim=1)
    deviation = signs.double().var(dim=0).mean().sqrt()
    standard = (signs - signs.mean(dim=0)) / deviation
    _, probe = fit_cross_modal(
        (SEEN.embedding, SEEN.evidence), LABELS, (head.signs, head.category, head.anchor),
        standard.numpy(), [0.0, 1.5], CrossModalSettings(1.0, 30.0), (3, 4),
    )  # fmt: skip
    odds = 1.5 * standard + probe(torch.cat([SEEN.embedding, SEEN.evidence], dim=1))
    scored = fitted(SEEN)
    np.testing.assert_allclose(scored.scores, odds, atol=1e-4)
    np.testing.assert_array_equal(scored.decisions, odds > 0)
    # That none is there has the product of the single chances: 1 / (1 + exp(odds)).
    none = (1 / (1 + odds.double().exp())).prod(dim=1)
    above = signs.amax(dim=1) - SEEN.embedding @ head.anchor
    any_of = torch.log(1 / none - 1)
    np.testing.assert_allclose(scored.abnormality, any_of + 1.5 * above / deviation, atol=1e-3)
    np.testing.assert_allclose(scored.similarity, cosines, atol=1e-6)


def test_without_a_prior_the_signs_score_is_not_heard():
    fitted = build(False).with_evidence(SEEN, LABELS, (3, 4), prior=0.0)
    read = torch.cat([SEEN.embedding, SEEN.evidence], dim=1)
    np.testing.assert_allclose(fitted(SEEN).scores, fitted.evidence.probe(read), atol=1e-5)


def test_the_papers_rules_decide_by_the_signs_alone():
    fitted = build(False).with_evidence(SEEN, LABELS, (3, 4))
    bare = build(False)
    for rule in ("paper", "mean"):
        config = fitted.config.replace(decision=rule)
        judged = SignHead(**{**vars(fitted), "config": config})(SEEN)
        alone = SignHead(**{**vars(bare), "config": config})(SEEN)
        np.testing.assert_array_equal(judged.decisions, alone.decisions)


def test_a_category_that_nothing_speaks_for_is_not_found_everywhere():
    """Without sentences and without a positive there is nothing to learn from."""
    labels = LABELS.copy()
    labels[:, 1] = 0
    fitted = build(False, text_weight=0.0).with_evidence(SEEN, labels, (3, 4))
    scored = fitted(SEEN)
    assert scored.scores[:, 1].mean() == pytest.approx(-1.0, abs=1e-4)
    assert scored.decisions[:, 1].mean() < 0.5
