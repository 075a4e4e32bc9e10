"""BGAD's rules, and the detector on the embedded trunk; what needs timm is in tests_extras."""

import math
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.bgad.detector import (
    BGAD,
    IMAGENET,
    BGADSettings,
    boundary_loss,
    build_bgad,
    log_likelihood,
    position_code,
)
from sdmad.baselines.registry import Build, load_system
from sdmad.errors import ModelError


def test_the_position_code():
    code = position_code(128, 3, 5)
    assert code.shape == (15, 128)
    row, column = 2, 4
    found = code[row * 5 + column]
    for place, start in ((column, 0), (row, 64)):
        for i in range(32):
            angle = place / 10_000 ** (2 * i / 64)
            assert float(found[start + 2 * i]) == pytest.approx(math.sin(angle), abs=1e-5)
            assert float(found[start + 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-5)
    assert len({tuple(c) for c in code.tolist()}) == 15


def test_the_log_likelihood_a_channel():
    latent, volume = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([0.5, -1.0])
    normal = math.log(2 * math.pi)
    expected = [(-2.5 - normal + 0.5) / 2, (-normal - 1) / 2]
    torch.testing.assert_close(log_likelihood(latent, volume), torch.tensor(expected))


def test_the_boundary_loss():
    settings = BGADSettings(quantile=0.3, gap=0.1, scale=10.0)
    # Divided by 10: normal .0 .2 .4 .6 .8 1. 1.2 1.4; the boundary is the third, .4 (index 2 of 8),
    # below which two lie; the abnormal boundary is .3.
    normal = torch.arange(0.0, 16.0, 2.0)
    anomalies = torch.tensor([2.0, 5.0, 8.0])
    likelihood = torch.cat([anomalies, normal.flip(0)])
    abnormal = torch.arange(11) < 3
    expected = (0.4 + 0.2) / 2 + (0.2 + 0.5) / 2
    found = boundary_loss(likelihood, abnormal, settings)
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_the_map_is_what_the_levels_lack_of_normality(tiny_backbone):
    detector = BGAD(lambda x: [x], (1, 1), tiny_backbone.preprocessing, BGADSettings(), 0)
    detector.peaks_ = [torch.tensor(1.0), torch.tensor(2.0)]
    fine = torch.tensor([[[1.0, 0.0], [3.0, 1.0 - math.log(4)]]])  # normality 1, 1/e, 1 and 1/4
    coarse = torch.tensor([[[2.0 - math.log(2)]]])  # a half, everywhere
    expected = [[0.5, 1.5 - math.exp(-1)], [0.5, 1.25]]
    torch.testing.assert_close(detector._map([fine, coarse], 2)[0], torch.tensor(expected))


def test_the_boundary_loss_pushes_and_pulls():
    likelihood = torch.tensor([-9.0, 1.0, 2.0, 3.0, 5.0, -8.0], requires_grad=True)
    abnormal = torch.tensor([False, False, False, False, True, True])
    settings = BGADSettings(quantile=0.3)
    boundary_loss(likelihood, abnormal, settings).backward()
    # The boundary is 1: only the first normal one is below it; the last anomaly is low enough.
    torch.testing.assert_close(likelihood.grad, torch.tensor([-0.1, 0, 0, 0, 0.1, 0]))


@pytest.mark.parametrize("abnormal", [True, False])
def test_the_boundary_loss_of_one_side_alone(abnormal):
    likelihood = torch.tensor([1.0, 1.0], requires_grad=True)
    loss = boundary_loss(likelihood, torch.tensor([abnormal] * 2), BGADSettings())
    loss.backward()
    assert float(loss.detach()) == 0


@pytest.mark.parametrize("missing", ["timm", "FrEIA"])
def test_without_a_library_the_error_names_the_extra(
    monkeypatch, small_bank, tiny_backbone, missing
):
    monkeypatch.setitem(sys.modules, "timm", ModuleType("timm"))
    monkeypatch.setitem(sys.modules, "FrEIA", ModuleType("FrEIA"))
    monkeypatch.setitem(sys.modules, missing, None)  # as where it is not installed
    build = Build(small_bank, tiny_backbone, 0, lambda: None)
    with pytest.raises(ModelError, match=rf'BGAD needs {missing}.*pip install "sdmad\[bgad\]"'):
        build_bgad(build)
    assert (load_system("bgad").extra, load_system("bgad").maps) == ("bgad", True)


def squares(count, seed):
    """Noise, every other picture with a bright square, and where."""
    rng = np.random.default_rng(seed)
    images, masks = rng.normal(70, 15, (count, 64, 64)), np.zeros((count, 64, 64), bool)
    for i in range(1, count, 2):
        y, x = rng.integers(4, 40, 2)
        masks[i, y : y + 20, x : x + 20] = True
    images[masks] += 120
    return list(np.clip(images, 0, 255).astype(np.uint8)), list(masks)


def test_it_finds_squares_on_the_embedded_trunk(small_bank, tiny_backbone):
    settings = replace(IMAGENET, size=64, blocks=4, epochs=4, passes=2, repeats=3)
    settings = replace(settings, positions=256, learning_rate=2e-3)
    build = Build(small_bank, tiny_backbone, 0, lambda: None)
    detector = build_bgad(build, settings)
    detector.forget_categories()
    images, masks = squares(8, 0)
    labels = np.zeros((8, 3))
    labels[1::2, 0] = 1
    detector.fit(images, labels, masks=masks)
    assert [flow.channels for flow in detector.general.flows_] == [24, 40, 112]
    others, where = squares(8, 1)
    scores = detector.score_images(others).abnormality
    assert roc_auc_score(labels[:, 0], scores) > 0.9
    maps = np.stack(list(detector.anomaly_maps(others)))
    assert roc_auc_score(np.stack(where).ravel(), maps.ravel()) > 0.9
