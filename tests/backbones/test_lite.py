"""The embedded backbone: its tower by hand, its evidence, its size, damaged folders."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import conv2d, layer_norm, normalize

from sdmad import load_backbone
from sdmad.backbones import LITE_FOLDER
from sdmad.backbones.lite import TOWERS, TRUNK
from sdmad.errors import ModelError


@pytest.fixture(scope="module")
def lite():
    return load_backbone("lite")


@pytest.fixture(scope="module")
def pixels(lite):
    rng = np.random.default_rng(0)
    return lite.preprocessing([rng.integers(0, 256, (150, 180), np.uint8) for _ in range(3)])


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(LITE_FOLDER, tmp_path / "lite")


def test_tokens_are_two_by_two_of_the_finer_map_and_one_of_the_coarser(lite, pixels):
    tower = lite.image
    maps = tower.trunk(pixels)
    tokens, state = tower.embed(pixels)
    row, column = 3, 10
    fine = maps.fine[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(1)
    found = torch.cat([fine, maps.coarse[:, :, row, column]], dim=1)
    token = conv2d(found[:, :, None, None], tower.patch.weight, tower.patch.bias)[:, :, 0, 0]
    place = 1 + row * 14 + column
    token = token + tower.position[place]
    weights = tower.norm_before.weight, tower.norm_before.bias
    expected = layer_norm(token, (128,), *weights)
    torch.testing.assert_close(tokens[:, place], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(state, maps.last.mean(dim=(2, 3)))


def test_evidence_is_four_parts_of_one_length(lite, pixels):
    embeddings, evidence = lite.encode_with_evidence(pixels)
    torch.testing.assert_close(embeddings, lite.encode_image(pixels))
    hidden, pooled = lite.image.run(pixels)
    tokens = lite.image.norm_after(hidden)
    parts = [tokens[:, 0], tokens[:, 1:].mean(1), tokens[:, 1:].amax(1), pooled]
    start = 0
    for part in parts:
        end = start + part.shape[1]
        expected = normalize(part - lite.image.centre[start:end], dim=-1) / 2
        torch.testing.assert_close(evidence[:, start:end], expected)
        start = end
    assert start == evidence.shape[1] == 3 * 128 + 320


def test_a_backbone_that_knows_no_more_gives_its_embeddings(tiny_siglip):
    backbone = load_backbone(tiny_siglip)
    embeddings, evidence = backbone.encode_with_evidence(torch.zeros(2, 3, 32, 32))
    torch.testing.assert_close(evidence, embeddings)


def test_other_sizes_are_multiples_of_32(lite):
    larger = load_backbone("lite", 288)
    embedding = larger.encode_image(torch.zeros(1, 3, 288, 288))
    assert embedding.shape == (1, lite.dimension)
    with pytest.raises(ModelError, match="multiple of 32 px, got 240"):
        load_backbone("lite", 240)


def test_all_that_is_packaged_stays_small():
    sizes = {path.name: path.stat().st_size for path in LITE_FOLDER.iterdir()}
    assert max(sizes.values()) < 12e6
    assert sum(sizes.values()) < 16e6


def test_nano_is_gone_and_says_where_to():
    with pytest.raises(ModelError, match=r"lite.*needs sdmad 0\.1.*fitted again"):
        load_backbone("nano")


@pytest.mark.parametrize("name", [TRUNK, TOWERS])
def test_damaged_weights_are_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="is no readable safetensors file"):
        load_backbone(folder)


def test_a_trunk_that_does_not_fit_is_refused(folder):
    tensors = load_file(folder / TRUNK)
    tensors["stem.weight"] = tensors["stem.weight"][:16]
    save_file(tensors, folder / TRUNK)
    with pytest.raises(ModelError, match=r"image\.trunk\.stem\.weight has shape"):
        load_backbone(folder)


def test_weights_that_are_no_numbers_are_refused(folder):
    tensors = load_file(folder / TOWERS)
    tensors["image.class_token"][3] = torch.nan
    save_file(tensors, folder / TOWERS)
    with pytest.raises(ModelError, match=r"NaN or infinite values, first in image\.class_token"):
        load_backbone(folder)


def test_a_missing_trunk_is_named(folder):
    (folder / TRUNK).unlink()
    with pytest.raises(ModelError, match=TRUNK):
        load_backbone(folder)


def test_what_is_stated_must_agree(folder):
    with pytest.raises(ModelError, match="activation"):
        load_backbone(folder, activation="quick_gelu")
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "sdmad_lite"
