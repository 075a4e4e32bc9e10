import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.patchcore import (
    PatchCore,
    PatchCoreSettings,
    build_patchcore,
    coreset,
    joined_places,
    weighted_score,
)
from sdmad.baselines.registry import Build
from sdmad.errors import MissingExtraError
from tests.conftest import draw_picture, draw_pictures

SMALL = PatchCoreSettings(size=64)


def test_a_place_is_the_mean_of_its_neighbours_with_the_coarser_map_beside_it():
    fine, coarse = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 2, 2), 9.0)
    fine[0, 0, 1, 1] = 9.0
    found = joined_places([fine, coarse])
    assert found.shape == (1, 16, 2)
    means = found[0, :, 0].reshape(4, 4)
    assert means[:3, :3].flatten().tolist() == [1.0] * 9
    assert means[3].tolist() == [0.0] * 4
    assert found[0, :, 1].tolist() == pytest.approx([4.0] * 16)  # four of nine lie in a corner


def test_a_coreset_takes_the_farthest_from_all_before():
    places = torch.tensor([[0.0, 0.0], [0.1, 0.0], [4.0, 0.0], [0.0, 3.0], [4.0, 3.0]])
    assert coreset(places, 4, 0).tolist() == [0, 4, 2, 3]
    assert coreset(places, 1, 3).tolist() == [3]
    assert sorted(coreset(places, 5, 1).tolist()) == [0, 1, 2, 3, 4]


def test_a_score_weighs_how_alone_the_nearest_place_is():
    memory = torch.tensor([[0.0], [-1.0], [-2.0], [-9.0]])
    place = torch.tensor([2.0])
    # The nearest is 0, 2 away; around it -1 and -2, 3 and 4 away.
    share = math.exp(2) / (math.exp(2) + math.exp(3) + math.exp(4))
    assert float(weighted_score(place, memory, 0, 3)) == pytest.approx((1 - share) * 2, rel=1e-5)
    assert float(weighted_score(place, memory, 0, 1)) == 2
    assert float(weighted_score(place, memory[:1], 0, 9)) == 2
    twins = torch.tensor([[0.0], [0.0]])
    assert float(weighted_score(place, twins, 1, 9)) == pytest.approx(1.0)


def test_distances_are_to_the_nearest_and_the_score_is_the_farthest_places(tiny_backbone):
    settings = replace(SMALL, neighbours=1)
    detector = PatchCore(lambda x: [x], tiny_backbone.preprocessing, settings, 0)
    places = torch.tensor([[0.0, 1.0], [5.0, 0.0]])
    distances, score = detector.compare(places, torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
    assert distances.tolist() == [1.0, 5.0]
    assert float(score) == 5


@pytest.fixture(scope="module")
def build(small_bank, tiny_backbone):
    return Build(small_bank, tiny_backbone, 0, lambda: None)


@pytest.fixture(scope="module")
def fitted(build):
    """No test may alter it."""
    return build_patchcore(build, SMALL).fit(*draw_pictures(24))


def test_it_keeps_a_tenth_of_the_places_of_the_normal_images(build, fitted):
    memory = fitted.general.memory_
    normal = len(fitted.general.normal_)
    assert normal == 8  # every third picture
    assert memory.places.shape == (int(0.1 * normal * 64), 40 + 112)
    assert len(memory.places.unique(dim=0)) == len(memory.places)
    assert len(memory.owner.unique()) > 1
    whole = build_patchcore(build, replace(SMALL, kept=1.0)).fit(*draw_pictures(24))
    assert len(whole.general.memory_.places) == normal * 64


def test_it_finds_marks_and_where_they_are(fitted):
    images, labels = draw_pictures(24, seed=5)
    scored = fitted.score_images(images)
    assert roc_auc_score(labels.any(axis=1), scored.abnormality) > 0.95
    bars = [draw_picture((1,), 700 + i) for i in range(4)]
    columns = np.stack(list(fitted.anomaly_maps(bars))).mean(axis=(0, 1))
    assert columns[4:9].min() > columns[20:].max()


def test_a_score_depends_on_its_image_alone(fitted):
    images = draw_pictures(6, seed=3)[0]
    alone = np.concatenate([fitted.decision_function([image]) for image in images])
    np.testing.assert_allclose(fitted.decision_function(images), alone, atol=1e-4)


def test_another_network_needs_its_library(build, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)  # as where it is not installed
    wide = PatchCoreSettings(trunk="wide_resnet50_2.tv_in1k", size=224)
    with pytest.raises(MissingExtraError, match="PatchCore needs timm"):
        build_patchcore(build, wide)
