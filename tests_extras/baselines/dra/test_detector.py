"""DRA on trunks of timm; its rules are tested in tests/baselines."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sdmad import load_backbone
from sdmad.baselines.dra.detector import DRASettings, build_dra
from sdmad.baselines.registry import Build
from sdmad.errors import WeightsMissingError

QUICK = DRASettings(
    trunk="test_resnet",
    weights="random",
    size=64,
    epochs=3,
    steps=2,
    batch_size=12,
    learning_rate=1e-3,
)


@pytest.fixture(scope="module")
def build(bank):
    return Build(bank, load_backbone("lite"), 0, lambda: None)


def test_one_detector_a_category(build, pictures):
    detector = build_dra(build, QUICK).fit(*pictures)
    assert detector.preprocessing.size == 64
    scored = detector.score_images(pictures[0])
    assert scored.scores.shape == (8, 3)
    assert np.isfinite(scored.scores).all()
    assert np.isfinite(scored.abnormality).all()
    assert len(detector.general.log_) == 3
    trunks = [one.network_.trunk for one in (detector.general, *detector.single)]
    assert len({id(trunk) for trunk in trunks}) == 4


def test_the_loss_falls(build, pictures):
    detector = build_dra(build, replace(QUICK, epochs=5, steps=4)).general
    images, labels = pictures
    pixels = replace(build.backbone.preprocessing, size=64)(images)
    detector.fit(pixels, torch.from_numpy(labels.any(axis=1)), [None] * 8)
    assert detector.log_[-1] < 0.9 * detector.log_[0]


def test_the_published_size(build):
    """ResNet-18 at 448 px, untrained."""
    detector = build_dra(build, DRASettings(weights="random", epochs=0)).general
    pixels = torch.randn(2, 3, 448, 448)
    detector.fit(pixels, torch.tensor([False, True]), [None] * 2)
    assert detector.score_pixels(pixels).shape == (2,)
    assert detector.references_.shape == (5, 3, 448, 448)
    trained = sum(p.numel() for p in detector.network_.parameters())
    heads = 512 * 256 + 256 + 257 + 3 * 513 + 512 * 512 * 9 + 2 * 512
    assert trained == 11_176_512 + heads


def test_without_weights_it_says_what_to_get(build):
    with pytest.raises(WeightsMissingError, match=r"backbone fetch timm/resnet18\.tv_in1k"):
        build_dra(build)
