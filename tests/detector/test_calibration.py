"""Probabilities: against exact odds, by simulation, and in detectors."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.nn.functional import normalize

from sdmad import SDMAD, SDMADConfig
from sdmad.detector.calibration import Calibration, likelihood, parse_prevalence, stated
from sdmad.detector.cross_fitting import folds, out_of_fold
from sdmad.detector.features import ImageFeatures
from sdmad.detector.head import SignHead
from sdmad.errors import InputError

FROZEN = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds", selection="paper")


# The line and the prevalence


def test_another_prevalence_by_hand():
    # Odds of 3 at a prevalence of 1/2; where one in ten has it, of 3 / 9: a quarter.
    known = Calibration(1.0, 0.0, (0.5,))
    found = known.probabilities(np.log([[3.0]]), np.array([0.1]))
    assert found[0, 0] == pytest.approx(0.25)
    bent = Calibration(2.0, np.log(2), (0.5,))  # 3 squared, doubled: 18 to 1
    assert bent.probabilities(np.log([[3.0]]), np.array([0.5]))[0, 0] == pytest.approx(18 / 19)


def draw(share, count, seed, stretch=1.0, move=0.0):
    """Exact log odds at even prevalence of two normal classes, distorted; and the labels."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < share
    value = rng.normal(np.where(truth, 1.0, -1.0), 1.5)
    exact = norm.logpdf(value, 1, 1.5) - norm.logpdf(value, -1, 1.5)
    return (stretch * exact + move)[:, None], truth.astype(float)[:, None]


def test_the_line_undoes_a_distortion():
    odds, labels = draw(0.5, 20_000, 0, stretch=2.0, move=1.0)
    found = Calibration.fit(odds, labels)
    assert found.slope == pytest.approx(0.5, abs=0.03)
    assert found.shift == pytest.approx(-0.5, abs=0.06)
    assert found.prevalence[0] == pytest.approx(0.5, abs=0.02)


def test_probabilities_are_shares_where_the_prevalence_is_stated():
    known = Calibration.fit(*draw(0.5, 5_000, 1, stretch=1.5, move=-0.5))
    odds, labels = draw(0.08, 40_000, 2, stretch=1.5, move=-0.5)
    likely = known.probabilities(odds, np.array([0.08]))
    for low, high in ((0, 0.05), (0.05, 0.15), (0.15, 0.4), (0.4, 1)):
        within = (likely >= low) & (likely < high)
        assert labels[within].mean() == pytest.approx(likely[within].mean(), abs=0.03)


def test_few_images_leave_the_line_near_its_prior_and_rising():
    found = Calibration.fit(np.array([[2.0], [-2.0]]), np.array([[0.0], [1.0]]))
    assert 0 < found.slope < 1
    wrong = Calibration.fit(np.tile([[9.0], [-9.0]], (50, 1)), np.tile([[0.0], [1.0]], (50, 1)))
    assert wrong.slope > 0
    assert Calibration.fit(np.zeros((0, 2)), np.zeros((0, 2))).slope == pytest.approx(1.0)


def test_unknown_labels_count_neither_way():
    odds = np.array([[1.0, 0.5], [-1.0, 2.0], [0.3, -2.0]])
    labels = np.array([[1, np.nan], [0, np.nan], [np.nan, np.nan]])
    some, found = Calibration.fit(odds[:2, :1], labels[:2, :1]), Calibration.fit(odds, labels)
    assert (found.slope, found.shift) == pytest.approx((some.slope, some.shift), abs=1e-4)
    assert found.prevalence[1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [("high", "number between 0 and 1"), ("Ring=x", "number between 0 and 1")],
)
def test_what_is_no_prevalence_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        parse_prevalence(text)


def test_a_prevalence_is_stated_of_every_category():
    with pytest.raises(InputError, match="no prevalence is stated of Bar, Dots"):
        stated({"Ring": 0.1}, ("Ring", "Bar", "Dots"))
    for value in (0, 1, -0.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            stated(value, ("Ring",))
    with pytest.raises(InputError, match="gives no probabilities"):
        likelihood(None, ("Ring",), 0.1)


@pytest.mark.parametrize("positives", [0, 1, 2, 10])
def test_a_category_that_is_rare_in_the_support_is_as_likely_as_stated(positives):
    """Sentences make positives where images have none; the stated prevalence holds all the same."""
    rng = np.random.default_rng(positives)
    labels = np.zeros((40, 2))
    labels[:10, 0] = labels[10 : 10 + positives, 1] = 1
    signs = unit(6, 12, seed=20)
    images = normalize(
        torch.tensor(labels, dtype=torch.float32) @ torch.stack([signs[0], signs[3]])
        + 0.5 * torch.tensor(rng.normal(size=(40, 12)), dtype=torch.float32),
        dim=-1,
    )
    features = ImageFeatures(images, unit(40, 7, seed=21))
    head = SignHead(
        signs, unit(1, 12, seed=22)[0], torch.tensor([0, 0, 0, 1, 1, 1]),
        torch.ones(6, dtype=torch.bool), FROZEN,
    )  # fmt: skip
    known = Calibration.fit(out_of_fold(head, features, labels, (7,), [], [1.0])[0], labels)
    fitted = head.with_evidence(features, labels, (7,))
    news = normalize(torch.tensor(rng.normal(size=(400, 12)), dtype=torch.float32), dim=-1)
    odds = fitted(ImageFeatures(news, unit(400, 7, seed=23))).scores
    likely = known.probabilities(odds, np.array([0.05, 0.05]))
    assert likely[:, 1].mean() < 0.12


# Cross-fitting


def test_images_of_one_patient_are_left_out_together():
    assert folds(["a", "b", "a", "", "", "c"], 6).tolist() == [0, 1, 0, 2, 3, 4]
    assert folds([], 3).tolist() == [0, 1, 2]
    assert folds([0, 0, 1, None, float("nan")], 5).tolist() == [0, 0, 1, 2, 3]
    many = folds([f"{i // 2}" for i in range(60)], 60)
    assert len(set(many.tolist())) == 10
    assert all(many[i] == many[i + 1] for i in range(0, 60, 2))


def unit(*shape, seed):
    return normalize(torch.randn(*shape, generator=torch.manual_seed(seed)), dim=-1)


def bare():
    signs, anchor = unit(4, 6, seed=1), unit(1, 6, seed=2)[0]
    return SignHead(
        signs, anchor, torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), FROZEN
    )


def test_a_score_out_of_fold_never_saw_its_label():
    features = ImageFeatures(unit(8, 6, seed=3), unit(8, 5, seed=4))
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1], [0, 0], [1, 0], [0, 0.0]])
    patients = ["a", "a", *"bcdefg"]
    found = out_of_fold(bare(), features, labels, (5,), patients, [1.0])[0]
    others = bare().with_evidence(features.rows(slice(2, 8)), labels[2:], (5,))
    np.testing.assert_allclose(found[:2], others(features.rows(slice(0, 2))).scores, atol=1e-9)
    turned = labels.copy()
    turned[:2] = 1 - turned[:2]
    again = out_of_fold(bare(), features, turned, (5,), patients, [1.0])[0]
    np.testing.assert_array_equal(again[:2], found[:2])
    assert not np.allclose(again[2:], found[2:])
    assert out_of_fold(bare(), features, labels, (5,), ["a"] * 8, [1.0]) is None


# Through every door


def test_a_detector_gives_probabilities(small_bank, tiny_backbone, pictures, tmp_path):
    images, labels = pictures
    detector = SDMAD(small_bank, tiny_backbone, FROZEN).fit(images, labels)
    rare, common = (detector.predict_proba(images, prevalence=p) for p in (0.02, 0.4))
    assert rare.shape == (12, 3)
    assert (rare > 0).all()
    assert (rare < common).all()
    order = detector.decision_function(images).argsort(axis=0)
    assert (rare.argsort(axis=0) == order).all()
    detector.save(tmp_path / "model")
    again = SDMAD.load(tmp_path / "model", tiny_backbone)
    np.testing.assert_allclose(again.predict_proba(images, prevalence=0.02), rare, atol=1e-6)
    with pytest.raises(InputError, match="needs the prevalence"):
        detector.predict_proba(images)
    for changes in ({"pooling": "max"}, {"selection": "none"}, {"evidence_weight": 0.5}):
        with pytest.raises(InputError, match="only the decision can change"):
            detector.with_inference(**changes)
    judged = detector.with_inference(decision="mean").predict_proba(images, prevalence=0.02)
    np.testing.assert_array_equal(judged, rare)


def test_scores_that_are_no_log_odds_give_none(small_bank, tiny_backbone, pictures):
    for config in (SDMADConfig.paper(epochs=1), FROZEN.replace(epochs=1)):
        detector = SDMAD(small_bank, tiny_backbone, config).fit(*pictures)
        with pytest.raises(InputError, match="gives no probabilities"):
            detector.predict_proba(pictures[0], prevalence=0.1)
