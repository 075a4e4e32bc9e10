"""The detectors on toys: bright squares are things, patches are their pixels."""

import copy

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn.functional import avg_pool2d, normalize

from sdmad.baselines.registry import Build, load_system
from sdmad.baselines.univad.detector import build_univad
from sdmad.baselines.univad.features import ClipReader, Models
from sdmad.baselines.univad.masks import Gate
from sdmad.baselines.univad.settings import UniVADSettings
from sdmad.baselines.univad.stand_ins import ClusteredMasks
from sdmad.errors import InputError
from sdmad.signs import SignBank

SIZE, CELL = 32, 4
SINGLE, MULTI = ((4, 4),), ((4, 4), (20, 20))
TEXTURE = None


def square_picture(seed, corners, mark=None):
    """Dark noise with bright squares of 8 pixels, and a black mark of 4."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(60, 5, (SIZE, SIZE))
    if corners is TEXTURE:
        picture += 140
    for row, column in corners or ():
        picture[row : row + 8, column : column + 8] += 140
    if mark is not None:
        picture[mark[0] : mark[0] + 4, mark[1] : mark[1] + 4] = 0
    return np.clip(picture, 0, 255).astype(np.uint8)


class Cells:
    """Patches of 4 by 4 pixels, as they are, beside a constant."""

    def __call__(self, values):
        grey = values.mean(dim=1).unfold(1, CELL, CELL).unfold(2, CELL, CELL).flatten(3)
        return normalize(torch.cat([grey, torch.ones_like(grey[..., :1])], dim=-1), dim=-1)


class BrightAreas:
    """Connected areas above a brightness; where most is bright, all of it."""

    def learn(self, values):
        pass

    def __call__(self, values):
        bright = avg_pool2d(values[None], 3, 1, 1)[0].mean(dim=0) > 0.4
        areas, count = ndimage.label(bright.numpy())
        return torch.from_numpy(areas)[None] == torch.arange(1, count + 1)[:, None, None]


@pytest.fixture(scope="module")
def toy(tiny_backbone):
    bank = SignBank("toy", "picture", ("a square",), {"Mark": ("a mark",), "Ring": ("a ring",)})
    build, settings = Build(bank, tiny_backbone, 0, lambda: None), UniVADSettings()

    def make(settings=settings):
        cells = Cells()
        models = Models(ClipReader(tiny_backbone, settings), cells, cells, BrightAreas())
        return build_univad(build, models, settings)

    return make


def support(corners):
    """Four normal pictures and two with a mark, and their labels."""
    pictures = [square_picture(seed, corners) for seed in range(4)]
    pictures += [square_picture(seed, corners, mark=(6, 6)) for seed in (4, 5)]
    return pictures, np.array([[0.0, 0]] * 4 + [[1, 0]] * 2)


KINDS = {Gate.TEXTURE: TEXTURE, Gate.SINGLE: SINGLE, Gate.MULTI: MULTI}


@pytest.fixture(scope="module")
def fitted(toy):
    """One a gate; no test may alter them."""
    return {gate: toy().fit(*support(corners)) for gate, corners in KINDS.items()}


@pytest.mark.parametrize("gate", KINDS)
def test_the_first_reference_decides_how_images_are_compared(gate, fitted):
    reader = fitted[gate].general.normal.known.components
    assert reader.gate is gate
    assert len(reader.references) == (0 if gate is Gate.TEXTURE else 4)
    assert all((one.nodes is None) == (gate is not Gate.MULTI) for one in reader.references)


@pytest.mark.parametrize("gate", KINDS)
def test_a_reference_differs_from_none_and_a_marked_image_does(gate, fitted):
    normal = fitted[gate].general.normal
    compared = normal.compare(normal.known.pixels[:2])
    assert compared.maps.shape == (2, SIZE, SIZE)
    assert compared.maps.abs().max() < 1e-5
    assert compared.beside.abs().max() < 1e-5
    marked = [square_picture(30 + i, KINDS[gate], mark=(6, 6)) for i in range(4)]
    plain = [square_picture(40 + i, KINDS[gate]) for i in range(4)]
    found = normal.compare(fitted[gate].preprocessing(plain + marked)).maps.flatten(1).amax(dim=1)
    assert found[:4].max() < found[4:].min()


@pytest.mark.parametrize("gate", KINDS)
def test_the_map_is_largest_where_the_mark_is(gate, fitted):
    marked = [square_picture(30 + i, KINDS[gate], mark=(6, 6)) for i in range(4)]
    compared = fitted[gate].general.normal.compare(fitted[gate].preprocessing(marked))
    for found in compared.maps:
        row, column = divmod(int(found.argmax()), SIZE)
        assert 3 <= row <= 12
        assert 3 <= column <= 12
    maps = np.stack(list(fitted[gate].anomaly_maps(marked)))
    assert maps.shape == (4, SIZE, SIZE)
    assert np.isfinite(maps).all()


def test_the_parts_map_holds_for_every_mask_of_an_image(fitted):
    """The authors' code starts it anew with each, so that the last alone counts."""
    detector = fitted[Gate.SINGLE]
    normal = detector.general.normal
    two = square_picture(50, MULTI, mark=(6, 6))
    two[22:26, 22:26] = 0  # a mark in the second square too
    pixels = detector.preprocessing([two])
    with_parts = normal.compare(pixels).maps[0]
    without = copy.copy(normal)
    without.models = Models(*vars(normal.models).values())
    whole = normal.known.components
    bare = copy.copy(whole)
    bare.models = Models(normal.models.clip, normal.models.dense, normal.models.context, Nothing())
    without._known = type(normal.known)(normal.known.pixels, normal.known.seen, bare)
    without._forget()
    parts = with_parts - without.compare(pixels).maps[0]
    assert parts[6:10, 6:10].max() > 0.05
    assert parts[22:26, 22:26].max() > 0.05
    assert parts[4:12, 20:28].abs().max() < 0.002  # in no mask: what interpolation spreads


class Nothing:
    """Finds nothing."""

    def learn(self, values):
        pass

    def __call__(self, values):
        return torch.zeros(0, SIZE, SIZE, dtype=torch.bool)


def test_a_component_in_another_place_is_told_by_the_graph(fitted):
    detector = fitted[Gate.MULTI]
    normal = detector.general.normal
    both = [square_picture(60, ((4, 20), (20, 20))), square_picture(61, MULTI)]
    beside = normal.compare(detector.preprocessing(both)).beside
    assert beside[0] > beside[1]


@pytest.mark.parametrize("gate", KINDS)
def test_no_support_image_is_compared_with_itself(gate, fitted):
    detector, (pictures, _) = fitted[gate], support(KINDS[gate])
    pixels = detector.preprocessing(pictures)
    normal = detector.general.normal
    with_all, with_others = normal.compare(pixels), normal.compare_support(pixels)
    assert with_all.maps[:4].abs().max() < 1e-5
    assert with_others.maps[:4].flatten(1).amax(dim=1).min() > 1e-4
    torch.testing.assert_close(with_others.maps[4:], with_all.maps[4:])
    torch.testing.assert_close(with_others.beside[4:], with_all.beside[4:])


def test_the_only_normal_image_is_compared_with_itself(toy):
    pictures, labels = support(SINGLE)
    detector = toy().fit(pictures[3:], labels[3:])
    pixels = detector.preprocessing(pictures[3:4])
    assert detector.general.normal.compare_support(pixels).maps.abs().max() < 1e-5
    everything = detector.preprocessing(pictures[3:])
    assert detector.general.compared_with_itself(everything).nonzero().tolist() == [[0]]


def test_only_normal_images_matter(toy, fitted):
    pictures, labels = support(SINGLE)
    others = [*pictures[:4], square_picture(90, MULTI), square_picture(91, TEXTURE)]
    again = toy().fit(others, labels)
    test = [square_picture(i, SINGLE, mark=(8, 8)) for i in range(70, 73)]
    expected = fitted[Gate.SINGLE].decision_function(test)
    assert np.array_equal(again.decision_function(test), expected)


def test_a_second_fit_forgets_the_first_and_a_seed_settles_everything(toy, fitted):
    detector = toy().fit(*support(TEXTURE))
    test = [square_picture(i, MULTI, mark=(8, 8)) for i in range(70, 73)]
    pixels = detector.preprocessing(test)
    before = detector.general.score_pixels(pixels)
    detector.fit(*support(MULTI))
    assert not torch.equal(detector.general.score_pixels(pixels), before)
    expected = fitted[Gate.MULTI].decision_function(test)
    assert np.array_equal(detector.decision_function(test), expected)


@pytest.mark.parametrize("gate", KINDS)
def test_each_image_is_scored_by_itself(gate, fitted):
    detector = fitted[gate]
    test = [square_picture(80 + i, KINDS[gate], mark=(5 + i, 8)) for i in range(3)]
    alone = np.concatenate([detector.decision_function([one]) for one in test])
    np.testing.assert_allclose(detector.decision_function(test), alone, atol=1e-5)


def test_a_category_differs_by_its_words_alone(fitted, tiny_backbone):
    detector = fitted[Gate.SINGLE]
    general, mark, ring = detector.general, *detector.single
    assert general.normal is mark.normal is ring.normal
    assert torch.equal(general.text[0], mark.text[0])
    said = [t.format("object with mark") for t in UniVADSettings().templates]
    expected = normalize(tiny_backbone.encode_text(said).mean(dim=0), dim=0)
    torch.testing.assert_close(mark.text[1], expected)
    assert not torch.equal(mark.text[1], ring.text[1])


def test_the_words_have_a_third_of_the_map(fitted):
    detector = fitted[Gate.TEXTURE]
    pixels = detector.preprocessing([square_picture(1, TEXTURE)])
    compared = detector.general.normal.compare(pixels)
    other = copy.copy(detector.general)
    other.text = detector.general.text.flip(0)  # normal words for abnormal ones
    both = detector.general.map_pixels(pixels) + other.map_pixels(pixels)
    torch.testing.assert_close(both, (2 * compared.maps + 1) / 3, atol=1e-5, rtol=0)


def test_histology_is_scored_by_the_mean(toy, tiny_backbone):
    bank = SignBank("cells", "histopathology", ("tissue",), {"Mark": ("a mark",)})
    build, settings = Build(bank, tiny_backbone, 0, lambda: None), UniVADSettings()
    models = Models(ClipReader(tiny_backbone, settings), Cells(), Cells(), BrightAreas())
    pictures, labels = support(TEXTURE)
    detector = build_univad(build, models, settings).fit(pictures, labels[:, :1])
    pixels = detector.preprocessing(pictures[4:])
    maps, scores = detector.map_pixels(pixels), detector.general.score_pixels(pixels)
    torch.testing.assert_close(scores, maps.mean(dim=(1, 2)))


def test_what_it_cannot_use_is_refused(toy, tiny_backbone):
    pictures, labels = support(SINGLE)
    with pytest.raises(InputError, match="UniVAD needs at least one normal image"):
        toy().fit(pictures[4:], labels[4:])
    with pytest.raises(InputError, match="call fit"):
        toy().general.score_pixels(torch.zeros(1, 3, SIZE, SIZE))
    bank = SignBank("toy", "picture", ("a square",), {"Mark": ("a mark",)})
    with pytest.raises(InputError, match="reads the trunk of the embedded backbone"):
        load_system("univad-embedded").build(Build(bank, tiny_backbone, 0, lambda: None))


def test_things_are_areas_of_the_cluster_that_is_not_at_the_edges():
    values = torch.full((2, 3, SIZE, SIZE), 0.2)
    values[0, :, 8:16, 8:16] = values[1, :, 8:16, 8:16] = values[1, :, 20:28, 20:28] = 0.9
    finder = ClusteredMasks(Cells(), 0)
    finder.learn(values)
    (one,), two = finder(values[0]), finder(values[1])
    expected = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    expected[8:16, 8:16] = True
    assert torch.equal(one, expected)
    assert [int(mask.sum()) for mask in two] == [64, 64]
    assert finder(values[0, :, :4, :4].repeat(1, 8, 8)).shape == (0, SIZE, SIZE)
