"""BGAD on networks of timm with FrEIA's flows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad import load_backbone
from sdmad.baselines.bgad.detector import BGADSettings, Flow, build_bgad
from sdmad.baselines.registry import Build
from sdmad.errors import InputError, WeightsMissingError

QUICK = BGADSettings(
    trunk="test_efficientnet",
    weights="random",
    levels=(1, 2),
    size=64,
    blocks=4,
    positions=256,
    epochs=4,
    passes=3,
    repeats=4,
    learning_rate=2e-3,
)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("lite")


@pytest.fixture(scope="module")
def make(bank, backbone):
    def make(settings=QUICK, seed=0):
        return build_bgad(Build(bank, backbone, seed, lambda: None), settings)

    return make


def squares(count, seed=0):
    """Noise, every other picture with a bright square; their labels ``(n, 3)`` and masks."""
    rng = np.random.default_rng(seed)
    images, masks = rng.normal(70, 15, (count, 32, 32)), np.zeros((count, 32, 32), bool)
    for i in range(1, count, 2):
        y, x = rng.integers(2, 20, 2)
        masks[i, y : y + 10, x : x + 10] = True
    images[masks] += 120
    labels = np.zeros((count, 3))
    labels[1::2, 0] = 1
    return list(np.clip(images, 0, 255).astype(np.uint8)), labels, list(masks)


@pytest.fixture(scope="module")
def fitted(make):
    images, labels, masks = squares(8)
    return make().fit(images, labels, masks=masks)


def general(detector, images, labels, masks):
    """Fit the first detector alone."""
    pixels = detector.preprocessing(images)
    abnormal = torch.from_numpy(labels.any(axis=1))
    return detector.general.fit(pixels, abnormal, masks), pixels


# --- the flows ------------------------------------------------------------------------------------


def test_a_flow_is_a_density():
    """Against the determinant of its Jacobian, by automatic differentiation."""
    torch.manual_seed(0)
    flow = Flow(6, BGADSettings(condition=8))
    features, condition = torch.randn(3, 6), torch.randn(3, 8)
    with torch.no_grad():
        found = flow(features, condition)
    for i in range(3):

        def latent(x, i=i):
            return flow.chain(x[None], c=[condition[i : i + 1]])[0][0]

        jacobian = torch.autograd.functional.jacobian(latent, features[i])
        density = torch.distributions.Normal(0, 1).log_prob(latent(features[i]).detach()).sum()
        expected = (density + torch.linalg.slogdet(jacobian).logabsdet) / 6
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-4)


def test_a_flows_size_and_mixing():
    flow = Flow(6, BGADSettings(condition=8))
    blocks = flow.chain.module_list
    assert len(blocks) == 8
    # Three channels and the condition in, twice as wide inside, scale and shift of three out.
    assert sum(p.numel() for p in blocks[0].subnet.parameters()) == 12 * 22 - 22 + 22 + 22 * 6 + 6
    for block in blocks:
        torch.testing.assert_close(block.w_perm @ block.w_perm.T, torch.eye(6))
        assert torch.equal(block.w_perm_inv, block.w_perm.T)
        assert block.clamp == 1.9


# --- training -------------------------------------------------------------------------------------


def test_it_learns_where_and_whether(make, fitted):
    log = fitted.general.log_
    assert len(log) == 4
    assert log[-1] < log[0]
    images, labels, masks = squares(12, seed=1)
    scored = fitted.score_images(images)
    assert roc_auc_score(labels[:, 0], scored.abnormality) > 0.9
    maps = np.stack(list(fitted.anomaly_maps(images)))
    assert maps.shape == (12, 32, 32)
    assert roc_auc_score(np.stack(masks).ravel(), maps.ravel()) > 0.8


def test_anomalies_push_their_features_out(make):
    """The same flows with the boundary and without it."""
    images, labels, masks = squares(8)
    with_boundary, pixels = general(make(), images, labels, masks)
    without, _ = general(make(replace(QUICK, weight=0.0)), images, labels, masks)
    where = torch.from_numpy(np.stack(masks))
    wide = torch.nn.functional.interpolate(where[:, None].float(), (64, 64))[:, 0].bool()
    gaps = []
    for detector in (with_boundary, without):
        maps = detector.map_pixels(pixels)
        gaps.append(float(maps[wide].mean() - maps[~wide].mean()))
    assert gaps[0] > gaps[1]


def test_anomalies_are_pasted_into_normal_images(make):
    images, _, masks = squares(8)
    detector = make().general
    pixels = make().preprocessing(images)
    where = torch.nn.functional.interpolate(
        torch.from_numpy(np.stack(masks))[:, None].float(), (64, 64)
    )[:, 0].bool()
    draws = torch.Generator().manual_seed(0)
    shown, marks = detector._with_pasted(pixels, where, draws)
    assert len(shown) == len(marks) == 4 + 4 * 4  # each anomaly four times
    torch.testing.assert_close(shown[:8], pixels)
    assert torch.equal(marks[:8], where)
    assert (marks[8:].flatten(1).sum(dim=1) == 400).all()
    normal = pixels[~where.flatten(1).any(dim=1)]
    for image, mark in zip(shown[8:], marks[8:], strict=True):
        around = [(one - image)[:, ~mark].abs().amax() < 1e-5 for one in normal]
        assert sum(around) == 1


def test_the_most_probable_normal_place_is_wholly_normal(fitted):
    images, labels, _ = squares(8)
    detector = fitted.general
    pixels = fitted.preprocessing(images)
    normal = pixels[torch.from_numpy(~labels.any(axis=1))]
    likelihoods = detector._likelihoods(detector.features(normal))
    for level, peak in zip(likelihoods, detector.peaks_, strict=True):
        assert float(level.amax()) == pytest.approx(float(peak), abs=1e-4)
    maps = detector.map_pixels(pixels)
    assert maps.shape == (8, 64, 64)
    assert float(maps.min()) >= -1e-5
    assert float(maps.max()) <= 2 + 1e-5
    assert detector.natural_threshold == pytest.approx(
        float(detector.score_pixels(normal).max()), abs=1e-4
    )


def test_abnormal_images_without_a_mask_are_left_out(make):
    images, labels, _ = squares(8)
    few = replace(QUICK, epochs=1, passes=1)
    with pytest.warns(UserWarning, match="leaves out 4 of 4 abnormal images"):
        left, pixels = general(make(few), images, labels, [None] * 8)
    normal = [i for i in range(8) if i % 2 == 0]
    alone, _ = general(make(few), [images[i] for i in normal], labels[normal], [None] * 4)
    assert torch.equal(left.score_pixels(pixels), alone.score_pixels(pixels))


def test_the_same_seed_gives_the_same_maps(make):
    few = replace(QUICK, epochs=2, passes=1)
    found = []
    for seed in (0, 0, 1):
        detector, pixels = general(make(few, seed), *squares(8))
        found.append(detector.map_pixels(pixels))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_score_depends_on_its_image_alone(fitted):
    images, _, _ = squares(8, seed=2)
    whole = fitted.score_images(images).scores
    alone = np.concatenate([fitted.score_images([image]).scores for image in images])
    np.testing.assert_allclose(alone, whole, atol=1e-4)
    np.testing.assert_allclose(fitted.score_images(images[::-1]).scores, whole[::-1], atol=1e-4)


def test_the_frozen_network_runs_once_for_all_detectors(fitted, monkeypatch):
    calls = []
    shared = fitted.general.features
    trunk = shared.function
    monkeypatch.setattr(shared, "function", lambda pixels: calls.append(1) or trunk(pixels))
    fitted.score_images(squares(8)[0])
    assert len(calls) == 1


# --- sizes and mistakes ---------------------------------------------------------------------------


def test_the_published_size(make):
    """EfficientNet-B6 at 256 px, untrained flows."""
    detector = make(BGADSettings(weights="random", epochs=0, repeats=1)).general
    pixels = torch.randn(2, 3, 256, 256)
    detector.fit(pixels, torch.tensor([False, False]), [None] * 2)
    assert detector.map_pixels(pixels[:1]).shape == (1, 256, 256)
    assert [flow.channels for flow in detector.flows_] == [40, 72, 200]


def test_mistakes_are_refused(make):
    images, labels, masks = squares(8)
    with pytest.raises(InputError, match="at least one normal image"):
        make().fit(images[1::2], labels[1::2], masks=masks[1::2])
    with pytest.raises(
        WeightsMissingError, match=r"backbone fetch timm/tf_efficientnet_b6\.aa_in1k"
    ):
        make(BGADSettings())
