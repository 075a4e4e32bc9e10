"""The embedded backbone: its tower by hand, its evidence, its size, damaged folders."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import conv2d, layer_norm, normalize

from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.backbones import LITE_FOLDER
from sdmad.backbones.lite import TOWERS, TRUNK
from sdmad.errors import ModelError
from sdmad.phantoms.cases import draw_cases, load_modality


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


def test_a_token_is_three_by_three_places_of_both_maps(lite, pixels):
    tower = lite.image
    maps = tower.trunk(pixels)
    tokens, state = tower.embed(pixels)
    row, column = 3, 8
    places = []
    for down, right in itertools.product(range(3), repeat=2):
        y, x = 3 * row + down, 3 * column + right
        places.append(torch.cat([maps.fine[:, :, y, x], maps.coarse[:, :, y // 2, x // 2]], dim=1))
    seen = torch.stack(places, dim=2).unflatten(2, (3, 3))
    token = conv2d(seen, tower.patch.weight, tower.patch.bias)[:, :, 0, 0]
    place = 1 + row * 10 + column
    weights = tower.norm_before.weight, tower.norm_before.bias
    expected = layer_norm(token + tower.position[place], (128,), *weights)
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


def test_other_sizes_are_multiples_of_48(lite):
    larger = load_backbone("lite", 288)
    embedding = larger.encode_image(torch.zeros(1, 3, 288, 288))
    assert embedding.shape == (1, lite.dimension)
    with pytest.raises(ModelError, match="multiple of 48 px, got 224"):
        load_backbone("lite", 224)


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


def test_an_image_is_unfamiliar_where_no_remembered_picture_lies_near(lite):
    tower = lite.image
    far = normalize(torch.randn(320, generator=torch.Generator().manual_seed(0)), dim=0)
    pooled = torch.stack([tower.seen[5], 0.9 * tower.seen[7] + 0.1 * tower.seen[8], far])
    evidence = torch.cat([torch.zeros(3, 3 * 128), pooled / 2], dim=1)
    assert tower.unfamiliar(evidence).tolist() == [False, False, True]


def stripes():
    """Six pictures unlike anything that pretraining drew; noise it did draw."""
    y, x = np.mgrid[:240, :240]
    turned = (x * np.cos(a) + y * np.sin(a) for a in (0.25, 0.5, 0.75, 1, 1.75, 2.5))
    return [(along // 24 % 2 * 255).astype(np.uint8) for along in turned]


def test_pictures_of_other_styles_are_familiar_and_stripes_are_not(lite):
    for name in ("brain", "chest", "oct", "breast", "thyroid", "skin", "fundus"):
        cases = draw_cases(load_modality(name), 20, seed=3)
        pixels = lite.preprocessing([case.image for case in cases])
        _, evidence = lite.encode_with_evidence(pixels)
        assert lite.image.unfamiliar(evidence).float().mean() < 0.2, name
    _, evidence = lite.encode_with_evidence(lite.preprocessing(stripes()))
    assert lite.image.unfamiliar(evidence).all()


def test_fit_tells_of_images_unlike_any_phantom(lite, small_bank):
    labels = np.eye(3, dtype=int)[[0, 1, 2, 0, 1, 2]]
    config = SDMADConfig(epochs=0)
    told = "6 of 6 support images look like nothing that the backbone lite learnt"
    notes = SDMAD(small_bank, lite, config).fit(stripes(), labels).notes_
    assert any(note.startswith(told) for note in notes)
    cases = list(draw_cases(load_modality("oct"), 6, seed=3))
    fitted = SDMAD(small_bank, lite, config).fit([case.image for case in cases], labels)
    assert not any("look like nothing" in note for note in fitted.notes_)
