import numpy as np
import pytest
import torch

from sdmad import SDMADConfig
from sdmad.detector.features import ImageFeatures
from sdmad.detector.head import (
    LEAST_DEVIATION,
    ImageEvidence,
    SignHead,
    TextFeatures,
    pooled_deviation,
    thresholds_at,
)
from sdmad.detector.probe import LinearProbe
from sdmad.errors import InputError
from sdmad.method.selection import select_signs
from sdmad.signs import SignBank

PROBE = LinearProbe(
    torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([1.0, 1.0]), torch.tensor([True, False])
)

ONE = ImageFeatures(torch.tensor([[0.6, 0.8]]))


def head(evidence=None, thresholds=None, **settings):
    """Two signs of one category, one of another; the anchor is the second sign."""
    return SignHead(
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([0, 0, 1]),
        torch.tensor([True, True, True]),
        SDMADConfig(**{"image_evidence": "probe", "decision": "mean", **settings}),
        evidence,
        thresholds,
    )


# Image evidence


def test_evidence_is_the_probes_log_odds_in_their_own_unit():
    evidence = ImageEvidence(PROBE, sign_scale=7.0, probe_scale=2.0)
    # Log odds 2 + 1 and 0 + 1, halved by the scale and by the weight; the second is not learnt.
    found = evidence(ImageFeatures(torch.zeros(2, 3), torch.eye(2)), weight=0.5)
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.0], [0.25, 0.0]]))
    with pytest.raises(ValueError, match="reads the image tower's evidence"):
        evidence(ImageFeatures(torch.zeros(2, 3)), weight=0.5)


def test_a_probe_of_an_older_model_reads_the_embeddings():
    evidence = ImageEvidence(PROBE, sign_scale=7.0, probe_scale=2.0)
    found = evidence(ImageFeatures(torch.eye(2), torch.full((2, 5), torch.nan)), weight=0.5)
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.0], [0.25, 0.0]]))


def test_signs_and_evidence_are_added_in_one_unit():
    constant = LinearProbe(torch.zeros(2, 2), torch.tensor([0.5, -0.6]), torch.tensor([True, True]))
    evidence = ImageEvidence(constant, sign_scale=0.5, probe_scale=2.0)  # odds .25 and -.3
    scored = head(evidence, pooling="max", decision="mean")(ONE)
    np.testing.assert_allclose(scored.similarity, [[0.6, 0.8, 1.0]], atol=1e-6)
    np.testing.assert_allclose(scored.anchor_similarity, [0.8], atol=1e-6)
    # The largest cosines .8 and 1 over .5, and the odds.
    np.testing.assert_allclose(scored.scores, [[1.6 + 0.25, 2 - 0.3]], atol=1e-6)
    # Above the anchor by 0 and .2: 0 / .5 + .25 and .2 / .5 - .3; the larger.
    np.testing.assert_allclose(scored.abnormality, [0.25], atol=1e-6)
    # The mean cosines lie .1 below and .2 above: -.2 + .25 and .4 - .3.
    assert scored.decisions.tolist() == [[True, True]]
    unheard = head(evidence, pooling="max", decision="mean", evidence_weight=0)
    np.testing.assert_allclose(unheard(ONE).abnormality, [0.4], atol=1e-6)


def test_the_weight_of_the_evidence_can_turn_a_decision():
    constant = LinearProbe(torch.zeros(2, 2), torch.tensor([0.5, -0.6]), torch.tensor([True, True]))
    evidence = ImageEvidence(constant, sign_scale=0.5, probe_scale=2.0)
    for weight, found in ((0.5, [False, True]), (1.0, [True, True]), (2.0, [True, False])):
        # -.2 + .25 w and .4 - .3 w
        judged = head(evidence, pooling="max", decision="mean", evidence_weight=weight)
        assert judged(ONE).decisions.tolist() == [found]


def test_each_scale_is_the_deviation_over_the_support_set():
    features = torch.nn.functional.normalize(torch.randn(9, 2, generator=torch.manual_seed(1)))
    labels = np.zeros((9, 2))
    labels[:4, 0] = 1  # the second category cannot be learnt: its odds are constant, no scale
    beside = torch.nn.functional.normalize(torch.randn(9, 4, generator=torch.manual_seed(2)))
    fitted = head(pooling="max", image_evidence="probe").with_evidence(
        ImageFeatures(features, beside), labels
    )
    scale = fitted.evidence
    cosines = features.double().numpy() @ np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).T
    scores = np.column_stack([cosines[:, :2].max(axis=1), cosines[:, 2]])
    odds = scale.probe(beside)[:, 0].double().numpy()
    assert scale.sign_scale == pytest.approx(np.sqrt(scores.var(axis=0, ddof=1).mean()), rel=1e-5)
    assert scale.probe_scale == pytest.approx(odds.std(ddof=1), rel=1e-5)


def test_deviations_are_pooled_over_the_categories():
    # Variances 4 and 0: the root of their mean. All values as one would have another.
    values = torch.tensor([[0.0, 10.0], [2.0, 10.0], [4.0, 10.0]])
    assert pooled_deviation(values) == pytest.approx(2**0.5)
    assert pooled_deviation(2 * values[:2]) == pytest.approx(2.0)  # variances 8 and 0
    assert pooled_deviation(torch.zeros(3, 2)) == LEAST_DEVIATION == 0.02
    assert pooled_deviation(5 * values[:1]) == 1.0
    assert pooled_deviation(torch.zeros(3, 0)) == 1.0


# Settings


def test_signs_are_selected_or_all_kept():
    bank = SignBank("b", "x", ("n",), {"A": ("s", "t"), "B": ("u",)})
    text = TextFeatures(head().signs, head().anchor)
    every = SignHead.build(text, bank, SDMADConfig(selection="none"))
    assert every.kept_signs.tolist() == [True, True, True]
    kept = every.with_config(bank, SDMADConfig(selection="paper"))
    assert kept.config.selection == "paper"
    assert kept.keep.tolist() == select_signs(text.signs, every.category).tolist()
    assert not kept.keep.all()


# Thresholds


def test_a_finding_lies_above_its_threshold():
    judged = head(thresholds=np.array([1.0, 0.5]), pooling="max", decision="fpr:0.1")
    scored = judged(ImageFeatures(torch.eye(2)))
    np.testing.assert_allclose(scored.scores, [[1.0, 0.6], [1.0, 0.8]], atol=1e-6)
    assert scored.decisions.tolist() == [[False, True], [False, True]]
    with pytest.raises(InputError, match="call fit_thresholds"):
        head(decision="fpr:0.1")(ImageFeatures(torch.eye(2)))


def test_a_rate_needs_as_many_images_as_can_hold_it():
    with pytest.raises(InputError, match="at least 3 normal images, got 2"):
        thresholds_at(np.zeros((2, 1)), 0.3)
    with pytest.raises(InputError, match="at least 99 normal images, got 98"):
        thresholds_at(np.zeros((98, 1)), 0.01)
    assert thresholds_at(np.zeros((99, 1)), 0.01).tolist() == [0.0]
    assert thresholds_at(np.array([[3.0], [1.0], [2.0], [0.0]]), 0.3).tolist() == [3.0]


@pytest.mark.parametrize(
    ("count", "rate", "exceeding"),
    [(19, 0.05, 0), (20, 0.05, 0), (39, 0.05, 1), (99, 0.29, 28), (10, 0.1, 0), (3, 0.5, 1)],
)
def test_the_threshold_is_the_least_that_keeps_the_rate(count, rate, exceeding):
    scores = np.random.default_rng(count).permutation(np.arange(float(count)))[:, None]
    threshold = thresholds_at(scores, rate)
    assert (scores > threshold).sum() == exceeding
    # A new image is any of the count + 1 in the order with the same chance.
    assert (exceeding + 1) / (count + 1) <= rate + 1e-9
    assert (exceeding + 2) / (count + 1) > rate


@pytest.mark.parametrize(("count", "rate"), [(20, 0.05), (40, 0.05), (100, 0.05), (100, 0.01)])
def test_new_images_exceed_it_no_more_often_than_asked(count, rate):
    rng = np.random.default_rng(count)
    old, new = rng.standard_normal((count, 4000)), rng.standard_normal((50, 4000))
    found = float((new > thresholds_at(old, rate)).mean())
    expected = np.floor(rate * (count + 1) + 1e-9) / (count + 1)
    assert found == pytest.approx(expected, abs=0.003)
    assert expected <= rate


def test_ties_never_exceed_the_rate():
    assert (np.ones((20, 2)) > thresholds_at(np.ones((20, 2)), 0.1)).sum() == 0
