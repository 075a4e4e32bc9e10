"""DRA without its trunk's library; what needs it is in tests_extras."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from sdmad.baselines.components.anomaly import OnePerCategory
from sdmad.baselines.dra.detector import (
    DRA,
    CompositeHead,
    DRANetwork,
    DRASettings,
    HolisticHead,
    PlainHead,
    build_dra,
    deviation_loss,
    network_loss,
)
from sdmad.baselines.registry import Build, load_system
from sdmad.errors import InputError, ModelError
from tests.conftest import draw_pictures

QUICK = DRASettings(
    size=32, epochs=4, steps=8, batch_size=18, references=3, learning_rate=2e-3, rotation=10.0
)


class SmallTrunk(nn.Module):
    """Stands in for the pretrained network."""

    channels = (16,)

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1)
        )

    def forward(self, pixels):
        return [self.layers(pixels).relu()]


@pytest.fixture(scope="module")
def trunk():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallTrunk().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def make(trunk, tiny_backbone):
    def make(settings=QUICK, seed=0):
        preprocessing = replace(tiny_backbone.preprocessing, size=settings.size)
        return DRA(trunk, preprocessing, settings, seed)

    return make


@pytest.fixture(scope="module")
def support(tiny_backbone):
    images, labels = draw_pictures(12)
    return tiny_backbone.preprocessing(images), torch.from_numpy(labels.any(axis=1))


@pytest.fixture(scope="module")
def fitted(make, support):
    return make().fit(*support, [None] * 12)


# --- numbers worked by hand -----------------------------------------------------------------------

PRIOR = torch.tensor([-1.0, 0.0, 1.0])  # mean 0, deviation 1


def test_the_deviation_loss():
    scores, truth = torch.tensor([2.0, -3.0, 2.0, 7.0]), torch.tensor([False, False, True, True])
    found = deviation_loss(scores, truth, PRIOR, 5.0)
    assert float(found) == pytest.approx((2 + 3 + (5 - 2) + 0) / 4)
    shifted = deviation_loss(scores, truth, 2 * PRIOR + 1, 5.0)
    assert float(shifted) == pytest.approx((0.5 + 2 + (5 - 0.5) + (5 - 3)) / 4)
    assert float(deviation_loss(scores[:0], truth[:0], PRIOR, 5.0)) == 0


def test_each_head_learns_from_its_own_kinds():
    kind = torch.tensor([0, 1, 2])
    scores = torch.tensor([[1.0, 0.5, 0.25, 2.0], [3.0, 4.0, 9.0, 1.0], [0.0, 9.0, 2.0, 5.0]])
    found = network_loss(scores, kind, PRIOR, 5.0)
    holistic = ((5 - 1) + 3 + 0) / 3  # reversed: the normal image should stand out
    seen = (0.5 + (5 - 4)) / 2  # not from the pseudo anomaly
    pseudo = (0.25 + (5 - 2)) / 2  # not from the seen one
    composite = (2 + (5 - 1) + 0) / 3
    assert float(found) == pytest.approx(holistic + seen + pseudo + composite)


@torch.no_grad()
def test_a_plain_head_is_the_mean_of_the_largest_tenth():
    head = PlainHead(2, 0.1)
    head.score.weight[:] = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    head.score.bias[:] = 0.5
    features = torch.zeros(1, 2, 5, 4)
    features[0, 0, 0, 0], features[0, 1, 4, 3], features[0, 1, 2, 2] = 3.0, 8.0, 2.0
    # |3 + .5| = 3.5, |-8 + .5| = 7.5, |-2 + .5| = 1.5; the larger two of 20 places.
    assert float(head(features)) == pytest.approx((3.5 + 7.5) / 2)
    assert float(head(features[:, :, :1, :1])) == pytest.approx(3.5)  # never none


@torch.no_grad()
def test_a_composite_head_sees_the_difference_from_the_mean_reference():
    head = CompositeHead(3, 0.1).eval()
    references = torch.randn(5, 3, 4, 4)
    features = references.mean(dim=0, keepdim=True)
    same = head(features, references)
    assert float(same) == pytest.approx(float(head.plain(torch.zeros(1, 3, 4, 4))))
    torch.testing.assert_close(
        head(features - 1, references), head(features - 1 + 7, references + 7), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_a_holistic_head_reads_the_mean():
    head = HolisticHead(3, 4)
    features = torch.randn(2, 3, 4, 4)
    mean = features.mean(dim=(2, 3))[:, :, None, None]
    torch.testing.assert_close(head(features), head(mean))
    assert (head(features) >= 0).all()


@torch.no_grad()
def test_scores_are_means_over_two_scales(trunk):
    network = DRANetwork(trunk, QUICK).eval()
    pixels, references = torch.randn(2, 3, 32, 32), torch.randn(3, 3, 32, 32)
    found = network(pixels, references)
    single = DRANetwork(trunk, replace(QUICK, scales=1)).eval()
    single.load_state_dict(network.state_dict())
    half = single(pixels[:, :, ::2, ::2], references[:, :, ::2, ::2])
    torch.testing.assert_close(found, (single(pixels, references) + half) / 2)


# --- training and scoring -------------------------------------------------------------------------


def test_it_learns(fitted, make):
    assert len(fitted.log_) == 4
    assert fitted.log_[-1] < 0.8 * fitted.log_[0]
    images, labels = draw_pictures(36, seed=3)
    scores = fitted.score_pixels(fitted.preprocessing(images))
    assert roc_auc_score(labels.any(axis=1), scores) > 0.8


def test_the_pretrained_trunk_itself_is_not_trained(trunk, fitted):
    assert not any(p.requires_grad for p in trunk.parameters())
    assert not torch.equal(fitted.network_.trunk.layers[0].weight, trunk.layers[0].weight)


def test_the_score_is_the_sum_of_the_heads_without_the_holistic_one(fitted, support):
    pixels = support[0]
    heads = fitted.network_(pixels, fitted.references_)
    expected = -heads[:, 0] + heads[:, 1] + heads[:, 2] + heads[:, 3]
    torch.testing.assert_close(fitted.score_pixels(pixels), expected)


def test_the_references_are_normal_images(fitted, support):
    pixels, abnormal = support
    normal = pixels[~abnormal]
    found = [(normal == one).flatten(1).all(dim=1).any() for one in fitted.references_]
    assert len(found) == 3
    assert all(found)


def test_batches_are_two_thirds_normal_of_which_half_are_pseudo(make, support):
    pixels, abnormal = support
    draws = torch.Generator().manual_seed(0)
    kinds = []
    for _ in range(30):
        images, references, kind = make()._batch(pixels, abnormal, draws)
        assert images.shape == (18, 3, 32, 32)
        assert references.shape == (3, 3, 32, 32)
        assert (kind[12:] == 1).all()
        kinds.append(kind[:12])
    kinds = torch.cat(kinds)
    assert set(kinds.tolist()) == {0, 2}
    assert 0.4 < float((kinds == 2).float().mean()) < 0.6


def test_the_same_seed_gives_the_same_scores(make, fitted, support):
    few = replace(QUICK, epochs=1, steps=2)
    one, two, other = (
        make(few, seed).fit(*support, [None] * 12).score_pixels(support[0]) for seed in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_score_depends_on_its_image_alone(fitted, support):
    pixels = support[0]
    whole = fitted.score_pixels(pixels)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fitted.score_pixels(pixels[order]), whole[order])
    alone = torch.cat([fitted.score_pixels(one[None]) for one in pixels])
    torch.testing.assert_close(alone, whole)


def test_without_an_anomaly_the_seen_head_is_left_out(make, support):
    pixels, abnormal = support
    normal = pixels[~abnormal]
    few = replace(QUICK, epochs=1, steps=2)
    detector = make(few).fit(normal, torch.zeros(len(normal), dtype=torch.bool), [])
    heads = detector.network_(pixels, detector.references_)
    torch.testing.assert_close(
        detector.score_pixels(pixels), -heads[:, 0] + heads[:, 2] + heads[:, 3]
    )


def test_one_a_category_reads_images_its_own_way(make, tiny_backbone, pictures):
    images, labels = pictures
    few = replace(QUICK, size=24, epochs=1, steps=1)
    detector = OnePerCategory(("Ring", "Bar", "Dots"), tiny_backbone, lambda _: make(few))
    assert detector.preprocessing.size == 24
    scored = detector.fit(images, labels).score_images(images)
    assert scored.scores.shape == (12, 3)
    assert np.isfinite(scored.abnormality).all()


# --- wrong input ----------------------------------------------------------------------------------


def test_it_needs_a_normal_image(make, support):
    with pytest.raises(InputError, match="at least one normal image"):
        make().fit(support[0], torch.ones(12, dtype=torch.bool), [None] * 12)


def test_without_the_library_the_error_names_the_extra(monkeypatch, small_bank, tiny_backbone):
    monkeypatch.setitem(sys.modules, "timm", None)  # as where it is not installed
    build = Build(small_bank, tiny_backbone, 0, lambda: None)
    with pytest.raises(ModelError, match=r'DRA needs timm.*pip install "sdmad\[timm\]"'):
        build_dra(build)
    assert load_system("dra").extra == "timm"
