"""What the support set tells: how far words, and a trunk trained on photographs, are trusted."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sdmad import SDMADConfig
from sdmad.detector.calibration import fit_line
from sdmad.detector.cross_fitting import Weights, fit_head, folds
from sdmad.detector.features import ImageFeatures
from sdmad.detector.head import SignHead

PARTS = (6, 6)
LABELS = np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 5, float)


def unit(*shape, seed):
    return normalize(torch.randn(*shape, generator=torch.manual_seed(seed)), dim=-1)


def head(**settings):
    config = SDMADConfig(
        epochs=0, image_evidence="cross-modal", decision="odds", sign_view="image", **settings
    )
    signs, anchor = unit(4, 6, seed=1), unit(1, 6, seed=2)[0]
    return SignHead(
        signs, anchor, torch.tensor([0, 0, 1, 1]), torch.tensor([True] * 4), config, by_patch=False
    )


def images(telling):
    """Twenty images; of the evidence's two parts the telling one points where the labels are."""
    told = torch.zeros(20, 6)
    told[:, :2] = torch.from_numpy(2 * LABELS - 1).float()
    parts = [unit(20, 6, seed=3), unit(20, 6, seed=4)]
    parts[telling] = normalize(told + 0.8 * torch.randn(20, 6, generator=torch.manual_seed(5)))
    return ImageFeatures(unit(20, 6, seed=6), torch.cat(parts, dim=1), None)


def fitted(features, has_trunk=True, patients=(), **settings):
    return fit_head(head(**settings), features, LABELS, PARTS, patients, has_trunk)


def test_a_trunk_that_tells_the_labels_weighs_more_than_one_that_does_not():
    for prior in (1.0, "fitted"):
        settings = {"prior_weight": prior, "trunk_weight": "fitted", "penalty": 1.0}
        assert fitted(images(telling=1), **settings)[1].trunk > 1.3
        assert fitted(images(telling=0), **settings)[1].trunk < 0.9


def test_it_says_how_likely_each_weight_is_by_fits_on_the_others():
    features = images(telling=1)
    found = fitted(features, prior_weight=0.0, trunk_weight="fitted")[1].trunk
    doublings, likely = np.array([-1.0, 0, 1, 2]), []
    for doubling in doublings:
        odds = np.empty_like(LABELS)
        for fold in np.unique(folds([], 20)):
            judged = np.flatnonzero(folds([], 20) == fold)
            rest = np.setdiff1d(np.arange(20), judged)
            known = ImageFeatures(features.embedding[rest], features.evidence[rest], None)
            one = head(prior_weight=0.0, trunk_weight=2.0**doubling)
            one = one.with_evidence(known, LABELS[rest], PARTS, prior=0.0, trunk=2.0**doubling)
            seen = ImageFeatures(features.embedding[judged], features.evidence[judged], None)
            odds[judged] = one(seen).scores
        likely.append(fit_line(odds, LABELS)[2] - doubling**2 / 2)
    share = np.exp(np.array(likely) - max(likely))
    assert found == pytest.approx(2 ** (share @ doublings / share.sum()), abs=1e-6)


def test_a_tower_without_a_trunk_is_left_as_it_is():
    features = images(telling=1)
    with_trunk = fitted(features, trunk_weight=1.0, has_trunk=True)
    without = fitted(features, trunk_weight="fitted", has_trunk=False)
    assert without[1] == with_trunk[1]
    np.testing.assert_array_equal(without[0](features).scores, with_trunk[0](features).scores)


def test_what_is_of_one_patient_tells_nothing():
    found = fitted(images(1), patients=["P1"] * 20, prior_weight="fitted", trunk_weight="fitted")
    assert found[1] == Weights(1.0, 1.0)
