import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize
from transformers import CLIPModel

from sdmad import SDMAD, SDMADConfig, SignBank, load_backbone
from sdmad.backbones.base import Tower
from sdmad.baselines.registry import load_system
from sdmad.detector.base import resize_map
from sdmad.detector.head import SignHead
from sdmad.detector.maps import compare, patch_features
from sdmad.errors import InputError
from sdmad.evaluation.pixels import PixelScores
from sdmad.method.adapters import AdaptedTower, ShiftAdapter
from sdmad.method.scoring import normal_anchor
from sdmad.phantoms.cases import draw_cases, load_modality, load_wordings


@pytest.fixture
def pixels(tiny_backbone, pictures):
    return tiny_backbone.preprocessing(pictures[0][:3])


def head(pooling):
    signs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    return SignHead(
        signs,
        torch.tensor([0.0, 1.0]),
        torch.tensor([0, 0, 1]),
        torch.tensor([True, True, True]),
        SDMADConfig(pooling=pooling),
    )


# Patches of a 2 x 2 grid, row by row.
PATCHES = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]]])


@pytest.mark.parametrize(
    ("pooling", "first"),
    [("max", [[1.0, 1.0], [0.8, 0.0]]), ("mean", [[0.5, 0.5], [0.7, -0.5]])],
)
def test_maps_are_cosines_pooled_as_scores_are(pooling, first):
    maps = compare(head(pooling), PATCHES)
    assert maps.signs.shape == (1, 3, 2, 2)
    torch.testing.assert_close(maps.signs[0, 0], torch.tensor([[1.0, 0.0], [0.6, -1.0]]))
    torch.testing.assert_close(maps.signs[0, 2], torch.tensor([[0.6, 0.8], [1.0, -0.6]]))
    torch.testing.assert_close(maps.categories[0, 0], torch.tensor(first))
    torch.testing.assert_close(maps.categories[0, 1], maps.signs[0, 2])
    torch.testing.assert_close(maps.anchor[0], torch.tensor([[0.0, 1.0], [0.8, 0.0]]))
    best = torch.maximum(torch.tensor(first), maps.signs[0, 2])
    torch.testing.assert_close(maps.anomaly[0], best - maps.anchor[0])


def test_discarded_signs_do_not_count_in_a_category():
    kept = head("max")
    kept.keep[1] = False
    maps = compare(kept, PATCHES)
    torch.testing.assert_close(maps.categories[0, 0], maps.signs[0, 0])


@torch.no_grad()
def test_patches_are_those_of_transformers(tiny_clip, tiny_backbone, pixels):
    model = CLIPModel.from_pretrained(tiny_clip).eval()
    vision = model.vision_model
    tower = AdaptedTower(tiny_backbone.image, {})
    states = vision(pixels, output_hidden_states=True).hidden_states

    def embedded(hidden):
        patches = model.visual_projection(vision.post_layernorm(hidden[:, 1:]))
        return patches / patches.norm(dim=-1, keepdim=True)

    plain = patch_features(tower, pixels, values=False)
    torch.testing.assert_close(plain, embedded(states[-1]), atol=2e-5, rtol=0)

    layer, before = vision.encoder.layers[-1], states[-2]
    attention = layer.self_attn
    hidden = before + attention.out_proj(attention.v_proj(layer.layer_norm1(before)))
    hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
    torch.testing.assert_close(patch_features(tower, pixels), embedded(hidden), atol=2e-5, rtol=0)
    assert (patch_features(tower, pixels) - plain).abs().max() > 0.01


@torch.no_grad()
def test_adapters_shift_the_patches_where_they_shift_the_class_token(tiny_backbone, pixels):
    tower = tiny_backbone.image
    adapter = ShiftAdapter(tower.widths[-1], lam=0.3)
    hidden, state = tower.embed(pixels)
    for index in range(1, tower.depth + 1):
        hidden = tower.block(index, hidden, state)
        if index == 2:
            hidden = adapter(hidden)
    expected = normalize(tower.projection(tower.norm_after(hidden)), dim=-1)
    adapted = AdaptedTower(tower, {2: adapter})
    found = patch_features(adapted, pixels, values=False)
    torch.testing.assert_close(found, expected[:, 1:], atol=2e-5, rtol=0)
    adapted = AdaptedTower(tower, {2: adapter, tower.depth: ShiftAdapter(tower.widths[-1], lam=1)})
    torch.testing.assert_close(patch_features(adapted, pixels, values=False), found)


def test_a_change_at_one_patch_shows_there(fitted, pictures):
    picture = pictures[0][4]
    marked = picture.copy()
    marked[8:16, 24:32] = 255 - marked[8:16, 24:32]  # second row, last column of the grid of 4
    maps = fitted.patch_maps(fitted.preprocessing([picture, marked]))
    change = (maps.signs[0] - maps.signs[1]).abs().sum(dim=0)
    assert int(change.argmax()) == 1 * 4 + 3


def test_maps_have_the_images_own_size_and_one_each(fitted, pictures):
    picture = np.repeat(pictures[0][0], 2, axis=1)[:21]  # 21 x 64
    signs = list(fitted.sign_maps(picture))
    categories = list(fitted.category_maps(picture))
    assert (len(signs), len(categories)) == (6, 3)
    assert {values.shape for values in (*signs, *categories)} == {(21, 64)}
    small = fitted.patch_maps(fitted.preprocessing([picture]))
    np.testing.assert_allclose(signs[4], resize_map(small.signs[0, 4], (21, 64)))
    assert np.abs(signs).max() <= 1
    keep = fitted.head_.keep.numpy()
    for k, found in enumerate(categories):  # the mean of what is stretched is the stretched mean
        mine = [signs[s] for s in (2 * k, 2 * k + 1) if keep[s]]
        np.testing.assert_allclose(found, np.mean(mine, axis=0), atol=1e-6)
    (anomaly,) = fitted.anomaly_maps([picture])
    np.testing.assert_allclose(anomaly, resize_map(small.anomaly[0], (21, 64)))


def test_a_map_does_not_depend_on_the_other_images(fitted, pictures):
    pixels = fitted.preprocessing(pictures[0][:4])
    together = fitted.patch_maps(pixels)
    alone = fitted.patch_maps(pixels[2:3])
    torch.testing.assert_close(together.signs[2:3], alone.signs, atol=1e-5, rtol=0)
    torch.testing.assert_close(fitted.map_pixels(pixels.flip(0)).flip(0), together.anomaly)


def test_a_loaded_model_gives_the_same_maps(fitted, model_folder, pictures):
    pixels = fitted.preprocessing(pictures[0][:2])
    loaded = SDMAD.load(model_folder)
    assert torch.equal(loaded.map_pixels(pixels), fitted.map_pixels(pixels))


class Pooled(Tower):
    """A tower without patches beside a class token."""

    def __init__(self, tower):
        super().__init__()
        self.depth, self.widths, self.inner = tower.depth, tower.widths, tower

    def embed(self, inputs):
        return self.inner.embed(inputs)

    def block(self, index, hidden, state):
        return self.inner.block(index, hidden, state)

    def pool(self, hidden, state):
        return self.inner.pool(hidden, state)


def test_a_backbone_without_patches_is_refused(tiny_backbone, small_bank, pictures):
    other = copy.copy(tiny_backbone)
    other.image = Pooled(tiny_backbone.image)
    detector = SDMAD(small_bank, other, SDMADConfig(epochs=0)).fit(*pictures)
    assert not detector.has_maps
    assert SDMAD(small_bank, tiny_backbone).has_maps
    for asked in (
        lambda: detector.map_pixels(torch.zeros(1, 3, 32, 32)),
        lambda: next(detector.sign_maps(pictures[0][0])),
        lambda: next(detector.anomaly_maps(pictures[0][:1])),
    ):
        with pytest.raises(InputError, match=r"gives no maps: they need .* its own is a Pooled"):
            asked()
    with pytest.raises(InputError, match="a Pooled has no patches"):
        patch_features(AdaptedTower(other.image, {}), torch.zeros(1, 3, 32, 32))


def test_maps_need_a_fit(small_bank, tiny_backbone, pictures):
    detector = SDMAD(small_bank, tiny_backbone)
    for asked in (detector.sign_maps, detector.category_maps):
        with pytest.raises(InputError, match="not fitted yet"):
            next(asked(pictures[0][0]))


def test_every_row_of_sd_mad_says_that_it_has_maps():
    for name in ("sd-mad", "sd-mad-printed", "sd-mad-unselected"):
        assert load_system(name).maps


@torch.no_grad()
def test_the_embedded_backbone_sees_large_ventricles_and_cavities_where_they_are():
    modality, backbone = load_modality("brain"), load_backbone("lite")
    words, bank = load_wordings("brain")["signs"], SignBank.load("brain")
    signs = ("large_ventricles", "resection_cavity")
    cases = [
        case
        for case in draw_cases(modality, 60, 77, "validation")
        if any(sign in case.signs for sign in signs)
    ]
    features = patch_features(
        AdaptedTower(backbone.image, {}), backbone.preprocessing([case.image for case in cases])
    )
    texts = backbone.encode_text([words[sign]["held_out"][0] for sign in signs])
    anchor = normal_anchor(backbone.encode_text(list(bank.normal)))
    everything = torch.ones(2, dtype=torch.bool)
    maps = compare(SignHead(texts, anchor, torch.arange(2), everything, SDMADConfig()), features)
    for number, sign in enumerate(signs):
        scores = PixelScores()
        for row, case in enumerate(cases):
            if sign in case.signs:
                scores.add(resize_map(maps.signs[row, number], (128, 128)), case.masks[sign])
        assert scores.images >= 5
        assert scores.auroc() > 0.8


def test_no_weight_is_trained_by_a_map(fitted, pictures):
    maps = fitted.patch_maps(fitted.preprocessing(pictures[0][:1]))
    assert not maps.signs.requires_grad
    assert isinstance(fitted.state_.image.adapters, nn.ModuleDict)
