import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize

from sdmad.baselines.components.anomaly import Lesson
from sdmad.baselines.mvfa.adapters import DoubleAdaptedTower
from sdmad.baselines.mvfa.detector import MVFA, TEMPLATES, MVFASettings
from sdmad.baselines.mvfa.memory import Range
from sdmad.baselines.registry import Build, load_system
from sdmad.errors import InputError
from tests.conftest import draw_pictures

ABNORMAL = torch.tensor([True, True, True, True, False, False] * 2)
QUICK = MVFASettings(epochs=6, batch_size=8)


def bright(image, abnormal):
    return (image > 130) & bool(abnormal)


@pytest.fixture(scope="module")
def pixels(tiny_backbone, pictures):
    return tiny_backbone.preprocessing(pictures[0])


@pytest.fixture(scope="module")
def masks(pictures):
    """Bright pixels of the marks; none in a normal picture."""
    return [bright(image, here) for image, here in zip(pictures[0], ABNORMAL, strict=True)]


@pytest.fixture(scope="module")
def unmasked(tiny_backbone, pixels):
    return MVFA("picture", tiny_backbone, QUICK).fit(pixels, ABNORMAL, [None] * 12)


@pytest.fixture(scope="module")
def new_pictures():
    """24 others, which are abnormal, and where."""
    images, labels = draw_pictures(24, seed=3)
    abnormal = labels.any(axis=1)
    return images, abnormal, [bright(i, here) for i, here in zip(images, abnormal, strict=True)]


@pytest.fixture(scope="module")
def trained(tiny_backbone, pixels, masks):
    return MVFA("picture", tiny_backbone, QUICK).fit(pixels, ABNORMAL, masks)


def test_the_prompts_are_35_templates():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 35
    assert {"a bad photo of a {}.", "a photo of my {}.", "this is one {} in the scene."} <= set(
        TEMPLATES
    )


def test_the_text_features_are_means_of_245_and_175_sentences(tiny_backbone, trained):
    sentences = [
        template.format(state.format("picture"))
        for state in ("damaged {}", "broken {}", "{} with flaw", "{} with defect", "{} with damage")
        for template in TEMPLATES
    ]
    assert len(sentences) == 175
    expected = normalize(tiny_backbone.encode_text(sentences).mean(dim=0), dim=0)
    torch.testing.assert_close(trained.text[1], expected)
    assert trained.text.shape == (2, 16)
    states = ("{}", "flawless {}", "perfect {}", "unblemished {}")
    states += ("{} without flaw", "{} without defect", "{} without damage")
    normal = [t.format(state.format("picture")) for state in states for t in TEMPLATES]
    assert len(normal) == 245
    expected = normalize(tiny_backbone.encode_text(normal).mean(dim=0), dim=0)
    torch.testing.assert_close(trained.text[0], expected)


def test_a_categorys_abnormal_text_names_the_category(tiny_backbone, trained):
    detector = MVFA("picture", tiny_backbone, QUICK, category="Pleural_Thickening")
    sentences = [template.format("picture with pleural thickening") for template in TEMPLATES]
    expected = normalize(tiny_backbone.encode_text(sentences).mean(dim=0), dim=0)
    torch.testing.assert_close(detector.text[1], expected)
    torch.testing.assert_close(detector.text[0], trained.text[0])
    assert not torch.allclose(detector.text[1], trained.text[1], atol=1e-3)


def test_the_published_tower_has_8_adapters_of_12_58_million(make_clip):
    class Large:
        depth, widths = 24, (1024,) * 24

    with torch.device("meta"):
        tower = DoubleAdaptedTower(Large(), (6, 12, 18, 24), 768, 0.1)
    assert sum(p.numel() for p in tower.parameters()) == 12_582_912
    assert len(tower.segmentation) + len(tower.detection) == 8


def test_the_stream_is_eight_tenths_of_itself(tiny_backbone, pixels):
    tower = tiny_backbone.image
    torch.manual_seed(0)
    adapted = DoubleAdaptedTower(tower, (6,), 16, 0.1)
    hidden, state = tower.embed(pixels[:2])
    frozen = adapted.frozen_part(hidden, state)
    for index in range(1, 7):
        hidden = tower.block(index, hidden, state)
    torch.testing.assert_close(frozen, hidden)
    levels, last = adapted(frozen, state)

    def leaky(values):
        return torch.where(values > 0, values, 0.01 * values)

    expected = 0.8 * hidden
    for branch, found in zip((adapted.segmentation, adapted.detection), levels[0], strict=True):
        inner = leaky(hidden @ branch["6"].inner[0].T)
        torch.testing.assert_close(found, normalize(inner, dim=-1))
        expected = expected + 0.1 * leaky(inner @ branch["6"].outer[0].T)
    torch.testing.assert_close(last, expected)


def test_the_memory_holds_all_tokens_of_the_augmented_normal_images(trained):
    assert [tuple(stored.shape) for stored in trained.memory_] == [(44, 17, 16)] * 4
    assert trained.with_masks_


def test_the_score_is_the_peak_of_the_mixed_map(trained, pixels):
    parts, constants = trained.parts(pixels), trained.constants_
    maps = 0.5 * constants.memory_map(parts.memory_map) + 0.5 * constants.text_map(parts.text_map)
    torch.testing.assert_close(trained.map_pixels(pixels), maps)
    torch.testing.assert_close(trained.score_pixels(pixels), maps.amax(dim=(1, 2)))
    assert maps.shape == (12, 32, 32)


def test_without_masks_the_image_scores_itself(tiny_backbone, pixels, unmasked):
    detector = unmasked
    assert not detector.with_masks_
    parts, constants = detector.parts(pixels), detector.constants_
    expected = 0.5 * constants.memory(parts.memory) + 0.5 * constants.text(parts.text)
    torch.testing.assert_close(detector.score_pixels(pixels), expected)
    torch.testing.assert_close(parts.memory, parts.memory_map.mean(dim=(1, 2)))
    torch.manual_seed(0)
    fresh = DoubleAdaptedTower(tiny_backbone.image, detector.tower_.blocks, 16, 0.1)
    for block, adapter in fresh.segmentation.items():  # never trained without masks
        assert torch.equal(adapter.inner, detector.tower_.segmentation[block].inner)
        assert not torch.equal(fresh.detection[block].inner, detector.tower_.detection[block].inner)


def test_a_score_does_not_depend_on_the_other_images(trained, pixels):
    together, alone = trained.score_pixels(pixels), trained.score_pixels(pixels[3:4])
    torch.testing.assert_close(together[3:4], alone)
    torch.testing.assert_close(trained.score_pixels(pixels.flip(0)), together.flip(0))
    torch.testing.assert_close(trained.map_pixels(pixels)[3:4], trained.map_pixels(pixels[3:4]))


def test_normal_support_images_are_compared_with_the_others(trained, pixels):
    # In the memory itself they would have the distance 0.
    assert trained.parts(pixels[ABNORMAL.logical_not()]).memory.max() < 1e-5
    assert trained.constants_.memory.low > 1e-4


def test_the_only_normal_image_is_compared_with_its_copies(tiny_backbone, pixels, masks):
    settings = MVFASettings(epochs=1, batch_size=8)
    detector = MVFA("picture", tiny_backbone, settings).fit(pixels[3:5], ABNORMAL[3:5], masks[3:5])
    assert 1e-4 < detector.constants_.memory.low < detector.constants_.memory.high


def test_the_loss_falls(trained, unmasked):
    for detector in (trained, unmasked):
        assert len(detector.log_) == 6
        assert detector.log_[-1] < 0.8 * detector.log_[0]


def test_it_repeats_itself_to_the_bit(tiny_backbone, pixels, masks):
    settings, few = MVFASettings(epochs=1, batch_size=4), slice(2, 6)
    first, again, other = (
        MVFA("picture", tiny_backbone, settings, seed).fit(pixels[few], ABNORMAL[few], masks[few])
        for seed in (0, 0, 1)
    )
    assert first.log_ == again.log_ != other.log_
    assert torch.equal(first.score_pixels(pixels), again.score_pixels(pixels))


@pytest.mark.parametrize("kind", ["trained", "unmasked"])
def test_it_tells_new_pictures_apart_and_says_where(tiny_backbone, new_pictures, kind, request):
    images, abnormal, where = new_pictures
    detector = request.getfixturevalue(kind)
    new = tiny_backbone.preprocessing(images)
    assert roc_auc_score(abnormal, detector.score_pixels(new)) > 0.95
    maps = detector.map_pixels(new).numpy()
    assert roc_auc_score(np.stack(where).ravel(), maps.ravel()) > 0.7


def test_side_by_side_each_learns_what_it_learns_alone(tiny_backbone, pixels, masks):
    """Three with masks, one of them with few, one without any, and one that nothing shows."""
    few = [mask if i % 2 else None for i, mask in enumerate(masks)]
    first, second = torch.arange(12) % 6 < 2, torch.arange(12) % 4 == 1
    told = [(ABNORMAL, masks), (first, masks), (second, few), (first, [None] * 12)]
    told.append((torch.zeros(12, dtype=torch.bool), masks))
    settings = MVFASettings(epochs=2, batch_size=3)

    names = ("Ring", "Bar", "Dots", "Bar", "Ring")

    def fresh(name):
        return MVFA("picture", tiny_backbone, settings, 3, name)

    together = [fresh(name) for name in names]
    lessons = [Lesson(pixels, abnormal, tuple(where)) for abnormal, where in told]
    with pytest.warns(UserWarning, match="no image shows Ring"):
        MVFA.fit_together(together, lessons)
    assert together[4].tower_ is None
    for detector, name, (abnormal, where) in zip(together[:4], names[:4], told[:4], strict=True):
        alone = fresh(name).fit(pixels, abnormal, where)
        torch.testing.assert_close(detector.text, alone.text)
        assert detector.with_masks_ == alone.with_masks_ == any(w is not None for w in where)
        assert detector.log_ == pytest.approx(alone.log_, rel=1e-5)
        torch.testing.assert_close(
            detector.tower_.state_dict(), alone.tower_.state_dict(), rtol=1e-3, atol=1e-5
        )
        found, expected = detector.score_pixels(pixels), alone.score_pixels(pixels)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert together[0].log_ != together[1].log_


def test_thresholds_compare_no_image_with_itself(tiny_backbone, pixels, masks, trained):
    remembered = trained.score_pixels(pixels)
    honest = trained.support_scores(pixels)
    torch.testing.assert_close(honest[ABNORMAL], remembered[ABNORMAL])
    assert (honest[~ABNORMAL] > remembered[~ABNORMAL]).all()


def test_the_published_form_trains_with_its_second_sigmoid(tiny_backbone):
    with pytest.warns(UserWarning, match="second sigmoid"):
        flawed = MVFA("picture", tiny_backbone, MVFASettings(compat="published"))
    assert flawed.training().second_sigmoid
    assert not MVFA("picture", tiny_backbone, QUICK).training().second_sigmoid


def test_both_parts_of_a_score_are_worked_by_hand(tiny_backbone, monkeypatch):
    """Two levels, four patches behind a class token that scores nothing."""
    detector = MVFA("picture", tiny_backbone, dataclasses.replace(QUICK, scale=1.0))
    detector.text = torch.eye(2)
    away, normal, abnormal, between = [-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
    levels = [
        torch.tensor([[away, normal, abnormal, normal, between]]),
        torch.tensor([[away, abnormal, abnormal, normal, between]]),
    ]
    monkeypatch.setattr(detector, "_features", lambda *_: (levels, torch.zeros(1, 2)))
    memory = [torch.tensor([[normal]]), torch.tensor([[abnormal]])]
    parts = detector._parts(torch.zeros(1, 5, 3), None, memory)
    corners = parts.memory_map[0][[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.tolist() == pytest.approx([0 + 0, 1 + 0, 0 + 1, 0.4 + 0.2], abs=1e-6)
    likely, unlikely, slightly = (1 / (1 + math.exp(-x)) for x in (1.0, -1.0, 0.2))
    corners = parts.text_map[0][[0, 0, -1, -1], [0, -1, 0, -1]]
    sums = [unlikely + likely, 2 * likely, 2 * unlikely, 2 * slightly]
    assert corners.tolist() == pytest.approx(sums)
    assert parts.text.item() == pytest.approx(sum(sums) / 4)


def test_published_flaws_are_announced(tiny_backbone, pixels):
    with pytest.warns(UserWarning, match="second sigmoid"):
        flawed = MVFA("picture", tiny_backbone, MVFASettings(epochs=1, compat="published"))
    assert flawed.backbone.activation == "gelu"
    raw = flawed.to_input(pixels)
    assert raw.min() > -0.01
    assert raw.max() < 1.01
    assert flawed.published


def test_a_range_of_one_value_gives_nothing():
    assert Range(1.0, 1.0)(torch.tensor([1.0])).tolist() == [0.0]


def test_a_category_without_a_positive_finds_nothing(tiny_backbone, pixels):
    detector = MVFA("picture", tiny_backbone, QUICK, category="Ring")
    with pytest.warns(UserWarning, match="no image shows Ring"):
        detector.fit(pixels, torch.zeros(12, dtype=torch.bool), [None] * 12)
    assert not detector.score_pixels(pixels).any()
    assert detector.map_pixels(pixels).shape == (12, 32, 32)


def test_mistakes_are_refused(tiny_backbone, pixels):
    detector = MVFA("picture", tiny_backbone, QUICK)
    with pytest.raises(InputError, match="not fitted"):
        detector.score_pixels(pixels)
    with pytest.raises(InputError, match="normal images"):
        detector.fit(pixels, torch.ones(12, dtype=torch.bool), [None] * 12)
    with pytest.raises(InputError, match="abnormal images"):
        detector.fit(pixels, torch.zeros(12, dtype=torch.bool), [None] * 12)


def test_the_registry_builds_one_a_category(small_bank, tiny_backbone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = load_system("mvfa").build(Build(small_bank, tiny_backbone, 5, lambda: None))
    assert built.has_maps
    assert [one.category for one in (built.general, *built.single)] == [None, "Ring", "Bar", "Dots"]
    assert built.general.modality == "picture"
    assert built.general.settings == MVFASettings()
