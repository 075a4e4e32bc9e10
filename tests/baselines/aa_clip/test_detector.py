import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import interpolate, normalize

from sdmad.backbones.transformer import ImageTransformer, Shape, TextTransformer
from sdmad.baselines.aa_clip.adapters import ImageAdapters, TextAdapters
from sdmad.baselines.aa_clip.detector import (
    AACLIP,
    ABNORMAL_STATES,
    NORMAL_STATES,
    TEMPLATES,
    AACLIPSettings,
    TrainedAdapters,
    apart_loss,
    level_loss,
)
from sdmad.baselines.components.patch_maps import gaussian_blur
from sdmad.baselines.components.pixel_losses import both_sides_loss
from sdmad.baselines.registry import Auxiliary, Build, load_system
from sdmad.errors import InputError
from tests.conftest import draw_pictures

QUICK = AACLIPSettings(
    text_epochs=2, text_rate=1e-3, image_epochs=30, image_batch=4, image_rate=3e-3
)


@pytest.fixture(scope="module")
def auxiliary():
    images, labels = draw_pictures(24, seed=5)
    abnormal = labels.any(axis=1)
    masks = [(image > 130) & bool(here) for image, here in zip(images, abnormal, strict=True)]
    return Auxiliary(tuple(images), abnormal, tuple(masks))


@pytest.fixture(scope="module")
def trained(tiny_backbone, auxiliary):
    return TrainedAdapters(tiny_backbone, lambda: auxiliary, QUICK).train()


def fit(detector):
    return detector.fit(torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.bool), [])


def test_the_level_loss_is_worked_from_its_parts():
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    patches = torch.tensor([[[0.6, 0.8], [0.8, 0.6], [1.0, 0.0], [0.0, 1.0]]])
    mask = torch.zeros(1, 4, 4)
    mask[:, :, 2:] = 1
    odds = 10 * torch.tensor([0.2, -0.2, -1.0, 1.0]).reshape(1, 1, 2, 2)
    wide = interpolate(odds, size=(4, 4), mode="bilinear", align_corners=True)[0].sigmoid()
    loss = level_loss(patches, text, mask, scale=10)
    assert loss.item() == pytest.approx(both_sides_loss(wide, mask).item(), rel=1e-5)


def test_the_states_are_driven_apart_by_their_squared_cosine():
    assert apart_loss(torch.tensor([[1.0, 0.0], [0.6, 0.8]])).item() == pytest.approx(0.36)


def test_the_published_size():
    """Three and six adapters of full width, a projection a level, one of the image, one of text."""
    shape = Shape(1024, 24, 16, 4096, 768, 1e-5, "quick_gelu")
    with torch.device("meta"):
        image = ImageAdapters(ImageTransformer(shape, 14, 37), 6, (6, 12, 18, 24), 768, 0.1)
        tower = TextTransformer(Shape(768, 12, 12, 3072, 768, 1e-5, "gelu"), 49408, 77, None)
        text = TextAdapters(tower, 3, 768, 0.1)
    assert sum(p.numel() for p in image.parameters()) == 6 * 1024**2 + 5 * 1024 * 768
    assert sum(p.numel() for p in text.parameters()) == 4 * 768**2


def test_the_published_numbers_become_fractions_of_the_depth(trained):
    assert trained.blocks == (2, 3, 5, 6)
    assert len(trained.image_.layers) == 2  # 6 of 24 is 1.5 of 6, rounded half up
    assert len(trained.text_.layers) == 1  # 3 of 12 is 1 of 4


def test_each_state_is_the_mean_of_its_sentences(trained, tiny_backbone):
    sentences = [
        template.format(state.format("object"))
        for state in ABNORMAL_STATES
        for template in TEMPLATES
    ]
    assert (len(NORMAL_STATES), len(sentences)) == (3, 10)
    features = trained.text_(tiny_backbone.tokenize(sentences))
    expected = normalize(features.mean(dim=0), dim=0)
    torch.testing.assert_close(trained.states()[1], expected)


def test_the_map_is_half_the_difference_of_the_scaled_cosines(trained, tiny_backbone, pictures):
    detector = fit(AACLIP(trained))
    pixels = tiny_backbone.preprocessing(pictures[0])
    levels, _ = trained.image_(pixels)
    cosines = 100 * torch.stack(levels) @ detector.text_.T
    patches = ((cosines[..., 1] + 1 - cosines[..., 0]) / 2).sum(dim=0).reshape(12, 4, 4)
    blurred = gaussian_blur(patches, 1.5 * 4 / 37).unsqueeze(1)
    expected = interpolate(blurred, size=(32, 32), mode="bilinear", align_corners=True)[:, 0]
    torch.testing.assert_close(detector.map_pixels(pixels), expected)
    torch.testing.assert_close(detector.score_pixels(pixels), expected.amax(dim=(1, 2)))
    assert detector.natural_threshold == 2  # where both states are as near at each of four levels


def test_a_score_does_not_depend_on_the_other_images(trained, tiny_backbone, pictures):
    detector = fit(AACLIP(trained))
    pixels = tiny_backbone.preprocessing(pictures[0])
    maps = detector.map_pixels(pixels)
    torch.testing.assert_close(detector.map_pixels(pixels[5:6]), maps[5:6], atol=1e-4, rtol=1e-4)


def test_it_learns_where_on_other_images(trained, tiny_backbone):
    assert (len(trained.text_log_), len(trained.log_)) == (2, 30)
    assert trained.text_log_[-1] < trained.text_log_[0]
    assert trained.log_[-1] < 0.9 * trained.log_[0]
    images, labels = draw_pictures(24, seed=8)
    detector = fit(AACLIP(trained))
    pixels = tiny_backbone.preprocessing(images)
    where = [(i > 130) & row.any() for i, row in zip(images, labels, strict=True)]
    maps = detector.map_pixels(pixels).numpy()
    assert roc_auc_score(np.stack(where).ravel(), maps.ravel()) > 0.75
    assert roc_auc_score(labels.any(axis=1), detector.score_pixels(pixels)) > 0.8


def test_it_is_trained_once_and_repeats_itself_to_the_bit(tiny_backbone, auxiliary):
    asked = []

    def give():
        asked.append(1)
        return auxiliary

    brief = AACLIPSettings(text_epochs=1, image_epochs=1, image_batch=8)
    first, again, other = (TrainedAdapters(tiny_backbone, give, brief, seed) for seed in (0, 0, 1))
    first.train().train()
    assert len(asked) == 1
    assert first.log_ == again.train().log_ != other.train().log_
    assert torch.equal(first.states(), again.states())


def test_published_flaws_are_announced(tiny_backbone, auxiliary, trained):
    brief = AACLIPSettings(text_epochs=1, image_epochs=0, compat="published", text_rate=0.0)
    with pytest.warns(UserWarning, match="last level only"):
        flawed = TrainedAdapters(tiny_backbone, lambda: auxiliary, brief).train()
    assert flawed.backbone.activation == "gelu"
    whole = AACLIPSettings(text_epochs=1, image_epochs=0, text_rate=0.0)
    every = TrainedAdapters(tiny_backbone, lambda: auxiliary, whole).train()
    assert flawed.text_log_[0] < 0.7 * every.text_log_[0]  # one level of four


def test_mistakes_are_refused(tiny_backbone, auxiliary):
    detector = AACLIP(TrainedAdapters(tiny_backbone, lambda: auxiliary, QUICK))
    with pytest.raises(InputError, match="not fitted"):
        detector.score_pixels(torch.zeros(1, 3, 32, 32))
    normal = Auxiliary(auxiliary.images, np.zeros(24, bool), auxiliary.masks)
    with pytest.raises(InputError, match="normal and abnormal"):
        TrainedAdapters(tiny_backbone, lambda: normal, QUICK).train()


def test_the_registry_builds_detectors_that_share_the_adapters(
    small_bank, tiny_backbone, auxiliary
):
    built = load_system("aa-clip").build(Build(small_bank, tiny_backbone, 3, lambda: auxiliary))
    assert {one.trained for one in built.single} == {built.general.trained}
    assert built.general.trained.settings == AACLIPSettings()
    assert math.isclose(built.general.trained.settings.image_rate, 5e-4)
