import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import interpolate, normalize

from sdmad.backbones.transformer import ImageTransformer, Shape, TextTransformer
from sdmad.baselines.anomaly_clip import (
    AnomalyCLIP,
    AnomalyCLIPSettings,
    LearnedPrompts,
    TrainedPrompts,
)
from sdmad.baselines.components.dense_features import dense_features, plain_towers
from sdmad.baselines.components.patch_maps import gaussian_blur
from sdmad.baselines.components.pixel_losses import both_sides_loss
from sdmad.baselines.registry import Auxiliary, Build, load_system
from sdmad.errors import InputError
from tests.conftest import draw_pictures

# The tiny tokenizer spells every letter, and the tower reads 24 tokens.
QUICK = AnomalyCLIPSettings(normal="good.", abnormal="bad.", tokens=6, epochs=25)


@pytest.fixture(scope="module")
def auxiliary():
    images, labels = draw_pictures(24, seed=5)
    abnormal = labels.any(axis=1)
    masks = [(image > 130) & bool(here) for image, here in zip(images, abnormal, strict=True)]
    return Auxiliary(tuple(images), abnormal, tuple(masks))


@pytest.fixture(scope="module")
def trained(tiny_backbone, auxiliary):
    return TrainedPrompts(tiny_backbone, lambda: auxiliary, QUICK).train()


def fit(detector):
    return detector.fit(torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.bool), [])


def test_value_attention_is_attention_with_values_for_query_and_key():
    torch.manual_seed(0)
    tower = ImageTransformer(Shape(8, 1, 2, 16, 4, 1e-5, "gelu"), 4, 2)
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter)
    block, hidden = tower.blocks[0], torch.randn(1, 5, 8)
    value = block.qkv(block.norm1(hidden))[0, :, 16:]
    heads = value[:, :4], value[:, 4:]
    mixed = [(head @ head.T / math.sqrt(4)).softmax(dim=1) @ head for head in heads]
    expected = block.out(torch.cat(mixed, dim=1))
    torch.testing.assert_close(tower.value_attention(1, hidden)[0], expected)


def test_the_second_path_collects_what_v_v_attention_adds(tiny_backbone, pictures):
    tower = tiny_backbone.image
    pixels = tiny_backbone.preprocessing(pictures[0][:2])
    found = dense_features(tower, pixels, last=2, blocks=(3, 5, 6))
    hidden, state = tower.embed(pixels)
    inputs = []
    for index in range(1, 7):
        inputs.append(hidden)
        hidden = tower.block(index, hidden, state)
    torch.testing.assert_close(found.class_token, hidden[:, 0])
    fifth = inputs[4] + tower.value_attention(5, inputs[4])
    sixth = fifth + tower.value_attention(6, inputs[5])
    expected = [inputs[3], fifth, sixth]  # before the second path: the tower's own
    for level, path in zip(found.patches, expected, strict=True):
        torch.testing.assert_close(level, tower.project(path[:, 1:]))
    whole = normalize(tower.project(found.class_token), dim=-1)
    torch.testing.assert_close(whole, tiny_backbone.encode_image(pixels))


def test_the_prompts_are_learned_tokens_before_the_words(tiny_backbone):
    torch.manual_seed(0)
    prompts = LearnedPrompts(tiny_backbone, QUICK)
    assert prompts.context.shape == (2, 6, 32)
    assert prompts.deep.shape == (2, 4, 32)  # depth 9 of 12 is 3 of 4, the first without
    assert prompts.context.std().item() == pytest.approx(0.02, rel=0.1)
    text, ids = tiny_backbone.text, tiny_backbone.tokenize(["bad."])
    tokens = torch.cat([text.token[ids[0, :1]], prompts.context[1], text.token[ids[0, 1:]]])
    hidden = (tokens + text.position[: len(tokens)]).unsqueeze(0)
    for index in range(1, 5):
        if index in (2, 3):
            hidden = hidden.clone()
            hidden[0, 1:5] = prompts.deep[index - 2]
        hidden = text.block(index, hidden, None)
    expected = normalize(text.projection(text.norm_after(hidden[0, -1])), dim=0)
    torch.testing.assert_close(prompts()[1], expected)


def test_the_published_size_has_12_tokens_and_depth_9():
    settings = AnomalyCLIPSettings()

    class Large:
        """ViT-L/14."""

    shape = Shape(768, 12, 12, 3072, 768, 1e-5, "quick_gelu")
    with torch.device("meta"):
        Large.text = TextTransformer(shape, 49408, 77, None)
        Large.image = ImageTransformer(Shape(1024, 24, 16, 4096, 768, 1e-5, "quick_gelu"), 14, 37)
        prompts = LearnedPrompts(Large, settings)
    assert prompts.context.shape == (2, 12, 768)
    assert prompts.deep.shape == (8, 4, 768)
    assert sum(p.numel() for p in prompts.parameters()) == 43_008


def test_the_loss_is_worked_from_its_parts(trained):
    text = normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=1)
    whole = torch.tensor([[0.6, 0.8]])
    patches = normalize(torch.tensor([[[[1.0, 0], [1, 1], [0, 1], [3, 4]]]]), dim=-1)
    mask = torch.zeros(1, 4, 4)
    mask[:, 2:, :] = 1
    image = math.log(1 + math.exp((0.6 - 0.8) / 0.07))
    odds = torch.tensor([-1.0, 0.0, 1.0, 0.2]) / 0.07
    wide = interpolate(odds.sigmoid().reshape(1, 1, 2, 2), size=(4, 4), mode="bilinear")[0]
    expected = image + 4 * both_sides_loss(wide, mask).item()
    loss = trained._loss(text, whole, patches, torch.tensor([True]), mask)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_score_and_map_are_the_softmax_of_abnormal(trained, tiny_backbone, pictures):
    detector = fit(AnomalyCLIP(trained))
    pixels = tiny_backbone.preprocessing(pictures[0])
    cosines = tiny_backbone.encode_image(pixels) @ detector.text_.T
    expected = (cosines / 0.07).softmax(dim=1)[:, 1]
    torch.testing.assert_close(detector.score_pixels(pixels), expected)
    found = dense_features(tiny_backbone.image, pixels, last=5, blocks=(6,))  # 19 and 24 of 24
    patches = normalize(found.patches[0], dim=-1) @ detector.text_.T / 0.07
    coarse = patches.softmax(dim=-1)[..., 1].reshape(12, 1, 4, 4)
    wide = interpolate(coarse, size=(32, 32), mode="bilinear")[:, 0]
    expected = gaussian_blur(wide, 4 * 32 / 518)
    torch.testing.assert_close(detector.map_pixels(pixels), expected)


def test_a_score_does_not_depend_on_the_other_images(trained, tiny_backbone, pictures):
    detector = fit(AnomalyCLIP(trained))
    pixels = tiny_backbone.preprocessing(pictures[0])
    together = detector.score_pixels(pixels)
    torch.testing.assert_close(detector.score_pixels(pixels[5:6]), together[5:6])
    maps = detector.map_pixels(pixels)
    torch.testing.assert_close(detector.map_pixels(pixels[5:6]), maps[5:6])


def test_it_learns_where_on_other_images(trained, tiny_backbone):
    assert len(trained.log_) == 25
    assert trained.log_[-1] < trained.log_[0] - 0.5
    images, labels = draw_pictures(24, seed=8)
    detector = fit(AnomalyCLIP(trained))
    pixels = tiny_backbone.preprocessing(images)
    where = [(i > 130) & row.any() for i, row in zip(images, labels, strict=True)]
    maps = detector.map_pixels(pixels).numpy()
    assert roc_auc_score(np.stack(where).ravel(), maps.ravel()) > 0.65
    assert roc_auc_score(labels.any(axis=1), detector.score_pixels(pixels)) > 0.8


def test_a_category_stands_behind_the_abnormal_prompt(trained):
    general, ring = fit(AnomalyCLIP(trained)), fit(AnomalyCLIP(trained, "A_b"))
    assert ring.words == "bad with a b."
    torch.testing.assert_close(general.text_[0], ring.text_[0])
    assert not torch.allclose(general.text_[1], ring.text_[1])


def test_it_is_trained_once_and_repeats_itself_to_the_bit(tiny_backbone, auxiliary):
    asked = []

    def give():
        asked.append(1)
        return auxiliary

    brief = AnomalyCLIPSettings(normal="good.", abnormal="bad.", tokens=6, epochs=2)
    first, again, other = (TrainedPrompts(tiny_backbone, give, brief, seed) for seed in (0, 0, 1))
    assert first.train() is first
    first.train()
    assert len(asked) == 1
    assert first.log_ == again.train().log_ != other.train().log_
    assert torch.equal(first.prompts_(), again.prompts_())


def test_published_projects_the_class_token_without_its_norm(tiny_backbone, auxiliary, pictures):
    pixels = tiny_backbone.preprocessing(pictures[0][:2])
    with pytest.warns(UserWarning, match="without its norm"):
        flawed = TrainedPrompts(
            tiny_backbone, lambda: auxiliary, AnomalyCLIPSettings(compat="published")
        )
    tower = tiny_backbone.image
    token = dense_features(tower, pixels, 5, (6,)).class_token
    expected = normalize(token @ tower.projection.weight.T, dim=1)
    torch.testing.assert_close(flawed.image_features(pixels)[0], expected)


def test_mistakes_are_refused(tiny_backbone, auxiliary):
    detector = AnomalyCLIP(TrainedPrompts(tiny_backbone, lambda: auxiliary, QUICK))
    with pytest.raises(InputError, match="not fitted"):
        detector.score_pixels(torch.zeros(1, 3, 32, 32))
    long = TrainedPrompts(tiny_backbone, lambda: auxiliary)
    with pytest.raises(InputError, match=r"12 learned tokens.* reads 24"):
        long.train()
    normal = Auxiliary(auxiliary.images, np.zeros(24, bool), auxiliary.masks)
    with pytest.raises(InputError, match="normal and abnormal"):
        TrainedPrompts(tiny_backbone, lambda: normal, QUICK).train()


def test_other_towers_are_refused(tiny_backbone):
    class Other:
        image, text, name = tiny_backbone.text, tiny_backbone.text, "strange"

    with pytest.raises(InputError, match=r"AnomalyCLIP reaches into the blocks.*strange"):
        plain_towers(Other(), "AnomalyCLIP")


def test_the_registry_builds_detectors_that_share_the_prompts(small_bank, tiny_backbone, auxiliary):
    built = load_system("anomaly-clip").build(
        Build(small_bank, tiny_backbone, 3, lambda: auxiliary)
    )
    assert {one.trained for one in built.single} == {built.general.trained}
    assert built.general.trained.seed == 3
    assert [one.words for one in built.single] == [
        "damaged object with ring.",
        "damaged object with bar.",
        "damaged object with dots.",
    ]
