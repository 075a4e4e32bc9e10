import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import sdmad.backbones.transformer as transformer
from sdmad import load_backbone
from sdmad.backbones import Tower
from sdmad.baselines.components.once import Once
from sdmad.baselines.components.state_prompts import mean_direction
from sdmad.baselines.registry import Build, load_system
from sdmad.baselines.winclip.detector import (
    NormalViews,
    Views,
    WinCLIP,
    WinCLIPSettings,
    WindowReader,
    build_winclip,
    harmonic_map,
    reference_distance,
    window_patches,
)
from sdmad.errors import InputError
from tests.conftest import draw_picture, draw_pictures


@pytest.fixture(scope="module")
def build(small_bank, tiny_backbone):
    return Build(small_bank, tiny_backbone, 0, lambda: None)


@pytest.fixture(scope="module")
def zero_shot(build, pictures):
    """No test may alter it."""
    return build_winclip(build, few_shot=False).fit(*pictures)


@pytest.fixture(scope="module")
def few_shot(build, pictures):
    """No test may alter it."""
    return build_winclip(build, few_shot=True).fit(*pictures)


# --- numbers worked by hand -----------------------------------------------------------------------


def test_windows_of_a_published_grid():
    assert window_patches(15, 2).shape == (196, 4)
    assert window_patches(15, 3).shape == (169, 9)
    assert window_patches(4, 3).tolist()[1] == [1, 2, 3, 5, 6, 7, 9, 10, 11]


def test_a_patch_gets_the_harmonic_mean_of_its_windows():
    scores = torch.tensor([[1.0, 0.5, 0.25, 0.125]])
    found = harmonic_map(scores, window_patches(3, 2), 9)[0].tolist()
    assert found[0] == 1  # the first window alone
    assert found[1] == pytest.approx(2 / (1 + 2))  # the first two
    assert found[4] == pytest.approx(4 / (1 + 2 + 4 + 8))  # all
    assert found[8] == pytest.approx(0.125)


def test_a_score_of_zero_makes_its_patches_zero():
    found = harmonic_map(torch.tensor([[0.0, 0.5, 0.5, 0.5]]), window_patches(3, 2), 9)[0]
    assert found[[0, 1, 3, 4]].tolist() == pytest.approx([0, 0, 0, 0])
    assert found[[2, 5, 8]].tolist() == [0.5, 0.5, 0.5]


def test_the_distance_is_to_the_nearest_reference_anywhere():
    x, y, diagonal = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
    references = torch.tensor([[x, x], [y, x]])
    found = reference_distance(torch.tensor([[diagonal, y], [[-1.0, 0.0], x]]), references)
    np.testing.assert_allclose(found, [[(1 - 0.8) / 2, 0], [0.5, 0]], atol=1e-7)


def made_up(count):
    """Views of images on 3 x 3 patches with windows of 2 x 2, all vectors random."""
    draw = torch.Generator().manual_seed(count)

    def unit(*shape):
        return normalize(torch.randn(shape, generator=draw), dim=-1)

    return Views(unit(count, 5), (unit(count, 4, 5),), unit(count, 9, 3))


def test_scores_and_maps_by_their_formulas():
    views, normal = made_up(2), made_up(3)
    text = normalize(torch.tensor([[1.0, 0, 0, 0, 1], [0, 1.0, 0, 1, 0]]), dim=1)
    members = (window_patches(3, 2),)
    references = NormalViews()
    references.views = normal
    zero = WinCLIP(Once(lambda _: views), members, text, 0.07)
    few = WinCLIP(Once(lambda _: views), members, text, 0.07, references)
    pixels = torch.zeros(2, 3, 8, 8)

    def abnormal(vector):
        two = np.exp((vector @ text.T).double().numpy() / 0.07)
        return two[1] / two.sum()

    def least(vectors, others):
        return (1 - (vectors @ others.flatten(0, 1).T).amax(dim=-1).double().numpy()) / 2

    covering = [[m for m in range(4) if p in members[0][m]] for p in range(9)]
    for i in range(2):
        whole = abnormal(views.whole[i])
        windows = np.array([abnormal(w) for w in views.windows[0][i]])
        fine = np.array([1 / np.mean(1 / windows[c]) for c in covering])
        expected = 2 / (1 / fine + 1 / whole)
        far = least(views.windows[0][i], normal.windows[0])
        distance = np.array([1 / np.mean(1 / far[c]) for c in covering])
        distance = (distance + least(views.patches[i], normal.patches)) / 2
        np.testing.assert_allclose(zero.score_pixels(pixels)[i], whole, rtol=1e-4)
        np.testing.assert_allclose(zero.map_pixels(pixels)[i].flatten(), expected, rtol=1e-4)
        both = (expected + distance) / 2
        np.testing.assert_allclose(few.map_pixels(pixels)[i].flatten(), both, rtol=1e-4)
        top = (whole + distance.max()) / 2
        np.testing.assert_allclose(few.score_pixels(pixels)[i], top, rtol=1e-4)


# --- the image tower ------------------------------------------------------------------------------


def test_a_window_is_the_tower_with_all_other_patches_masked(tiny_backbone, pictures, monkeypatch):
    pixels = tiny_backbone.preprocessing(pictures[0][:2])
    views = WindowReader(tiny_backbone, (2, 3))(pixels)
    plain = transformer.scaled_dot_product_attention
    for windows, size in zip(views.windows, (2, 3), strict=True):
        for number, patches in enumerate(window_patches(4, size).tolist()):
            seen = torch.zeros(17, dtype=torch.bool)
            seen[[0, *(1 + p for p in patches)]] = True

            def masked(query, key, value, is_causal, seen=seen):
                return plain(query, key, value, attn_mask=seen.expand(17, 17))

            monkeypatch.setattr(transformer, "scaled_dot_product_attention", masked)
            expected = tiny_backbone.image(pixels)
            torch.testing.assert_close(windows[:, number], expected, atol=1e-5, rtol=0)
    monkeypatch.undo()
    torch.testing.assert_close(views.whole, tiny_backbone.image(pixels), atol=1e-6, rtol=0)
    assert views.patches.shape == (2, 16, 32)
    torch.testing.assert_close(views.patches.norm(dim=-1), torch.ones(2, 16))


def test_the_images_run_once_for_all_categories(build, pictures, monkeypatch):
    runs = []
    read = WindowReader.__call__
    monkeypatch.setattr(
        WindowReader, "__call__", lambda self, x: runs.append(len(x)) or read(self, x)
    )
    detector = build_winclip(build, few_shot=True).fit(*pictures)
    runs.clear()
    detector.score_images(pictures[0])
    assert runs == [12]


# --- the detectors --------------------------------------------------------------------------------


def test_the_prompts_are_states_of_the_modality_in_templates(zero_shot, tiny_backbone):
    settings = WinCLIPSettings()
    assert (len(settings.normal), len(settings.abnormal), len(settings.templates)) == (7, 4, 22)

    def encode(*states):
        said = [t.format(s.format("picture")) for s in states for t in settings.templates]
        return mean_direction(tiny_backbone.encode_text(said))

    normal = encode(*settings.normal)
    expected = torch.stack([normal, encode(*settings.abnormal)])
    torch.testing.assert_close(zero_shot.general.text, expected)
    dots = torch.stack([normal, encode("{} with dots")])
    torch.testing.assert_close(zero_shot.single[2].text, dots)


def test_it_learns_from_normal_images_only(build, pictures, few_shot):
    images, labels = pictures
    others = [
        picture if not row.any() else draw_picture((1, 2), 900 + i)
        for i, (picture, row) in enumerate(zip(images, labels, strict=True))
    ]
    again = build_winclip(build, few_shot=True).fit(others, labels)
    test = draw_pictures(6, seed=3)[0]
    assert np.array_equal(again.decision_function(test), few_shot.decision_function(test))
    assert len(few_shot.general.references.views.whole) == (labels.sum(axis=1) == 0).sum()


def test_no_normal_support_image_is_compared_with_itself(build, pictures, few_shot):
    images, labels = pictures
    pixels = few_shot.preprocessing(images)
    general, normal = few_shot.general, torch.from_numpy(~labels.any(axis=1))
    found = general.support_scores(pixels)
    torch.testing.assert_close(found[~normal], general.score_pixels(pixels)[~normal])
    first = normal.nonzero()[0, 0]
    rest = torch.arange(len(pixels)) != first
    without = build_winclip(build, few_shot=True).fit(
        [image for image, kept in zip(images, rest, strict=True) if kept], labels[rest.numpy()]
    )
    expected = without.general.score_pixels(pixels[first][None])
    torch.testing.assert_close(found[first][None], expected)
    assert not general.compared_with_itself(pixels).any()


def test_the_only_normal_image_is_known(build, pictures, zero_shot):
    images, labels = pictures
    rows = [int(np.flatnonzero(~labels.any(axis=1))[0]), *np.flatnonzero(labels.any(axis=1))]
    detector = build_winclip(build, few_shot=True).fit([images[i] for i in rows], labels[rows])
    pixels = detector.preprocessing([images[i] for i in rows])
    assert detector.general.compared_with_itself(pixels).nonzero().tolist() == [[0]]
    assert not zero_shot.general.compared_with_itself(pixels).any()


def test_a_second_fit_forgets_the_first(build, pictures, few_shot):
    images, labels = pictures
    detector = build_winclip(build, few_shot=True).fit(*draw_pictures(9, seed=8))
    detector.fit(images, labels)
    test = draw_pictures(6, seed=3)[0]
    assert np.array_equal(detector.decision_function(test), few_shot.decision_function(test))


def test_zero_shot_learns_thresholds_alone(build, pictures, zero_shot):
    images, labels = pictures
    other = build_winclip(build, few_shot=False).fit(images[:6], labels[:6])
    assert np.array_equal(other.decision_function(images), zero_shot.decision_function(images))


@pytest.mark.parametrize("form", ["zero_shot", "few_shot"])
def test_each_image_is_scored_by_itself(form, request):
    detector = request.getfixturevalue(form)
    images = draw_pictures(6, seed=3)[0]
    pixels = detector.preprocessing(images)
    alone = np.concatenate([detector.decision_function([image]) for image in images])
    np.testing.assert_allclose(detector.decision_function(images), alone, atol=1e-5)
    maps = torch.cat([detector.map_pixels(one) for one in pixels.split(1)])
    torch.testing.assert_close(detector.map_pixels(pixels), maps, atol=1e-5, rtol=0)
    assert maps.shape == (6, 4, 4)


def test_the_map_is_brightest_where_the_bar_is(few_shot):
    bars = [draw_picture((1,), 700 + i) for i in range(8)]
    maps = np.stack(list(few_shot.anomaly_maps(bars)))
    assert maps.shape == (8, 32, 32)
    columns = maps.mean(axis=(0, 1))
    assert columns[5:8].min() > columns[16:].max()


def test_a_normal_image_scores_below_an_abnormal_one(few_shot):
    normal = few_shot.score_images([draw_picture((), 800 + i) for i in range(8)]).abnormality
    marked = few_shot.score_images([draw_picture((0, 2), 800 + i) for i in range(8)]).abnormality
    assert normal.max() < marked.min()


class NoClassToken(Tower):
    """Sixteen patches and nothing else."""

    depth, widths = 1, (4,)

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def embed(self, inputs):
        return torch.zeros(len(inputs), 16, 4), None

    def block(self, index, hidden, state):
        return hidden

    def pool(self, hidden, state):
        return hidden


def test_what_it_cannot_use_is_refused(build, pictures, make_clip, small_bank, tiny_backbone):
    images, labels = pictures
    abnormal = labels.any(axis=1)
    marked = [image for image, one in zip(images, abnormal, strict=True) if one]
    with pytest.raises(InputError, match="needs a normal image"):
        build_winclip(build, few_shot=True).fit(marked, labels[abnormal])
    with pytest.raises(InputError, match="call fit"):
        build_winclip(build, few_shot=True).general.score_pixels(torch.zeros(1, 3, 32, 32))
    small = Build(small_bank, load_backbone(make_clip(image_size=16)), 0, lambda: None)
    with pytest.raises(InputError, match=r"3 x 3 patches or more.*has 2 a side"):
        build_winclip(small, few_shot=False)
    headless = copy.copy(tiny_backbone)
    headless.image = NoClassToken()
    with pytest.raises(InputError, match="class token"):
        WindowReader(headless, (2, 3))


def test_the_registry_has_both_forms(build):
    zero, few = load_system("winclip"), load_system("winclip-few")
    assert (zero.learns_from, few.learns_from) == ("nothing", "normal images")
    assert zero.single
    assert zero.maps
    assert zero.build(build).general.references is None
    assert few.build(build).general.references is not None
