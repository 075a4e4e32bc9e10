"""The skin phantom: colour pictures with exact masks, visible signs, words that fit."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import ndimage, stats

import sdmad
from sdmad.phantoms.cases import draw_signs
from sdmad.phantoms.skin import MODALITY
from sdmad.phantoms.skin_anatomy import anatomy
from sdmad.phantoms.skin_bodies import KINDS, plan
from sdmad.phantoms.skin_scene import BLOOD, MELANIN, Skin, texture_pool
from sdmad.phantoms.skin_signs import SIGNS

ROOT = Path(sdmad.__path__[0])
CASES = [(view, sign) for view, signs in MODALITY.views.items() for sign in signs]
CATEGORY_WORDS = re.compile(
    r"\b(melano\w+|n(a)?ev(us|i)|moles?|basal|carcinoma|cancer\w*|malignan\w+|benign|seborrh\w+"
    r"|keratos\w+|h?a?emangioma|angioma|vascular lesion|dermatofibroma|histiocytoma)\b",
    re.IGNORECASE,
)


def draw(seed, signs, view="dermoscopic", size=128):
    return MODALITY.render(np.random.default_rng(seed), signs, size, view)


def blank(size=128):
    """An even grey surface in even light."""
    flat = np.zeros((size, size), np.float32)
    return Skin(
        np.full((size, size, 3), 0.5, np.float32), flat + 1, np.zeros((size, size, 3)), flat
    )


def read(name):
    return yaml.safe_load((ROOT / name / "skin.yaml").read_text(encoding="utf-8"))


def redness(image):
    return image[..., 0] / (image.sum(axis=2) + 1e-3)


def blueness(image):
    return image[..., 2] / (image.sum(axis=2) + 1e-3)


def parts(seed, sign, body):
    """Picture with a sign on a body that another sign shows too, without it, and where it lies."""
    image, without = (draw(seed, signs, size=192)[0] for signs in ((body, sign), (body,)))
    return image, without, np.abs(image - without).max(axis=2) > 0.02


@pytest.mark.parametrize(("view", "sign"), CASES)
def test_sign_is_visible_and_its_mask_exact(view, sign):
    for seed in range(6):
        without, none = draw(seed, (), view)
        image, masks = draw(seed, (sign,), view)
        assert none == {}
        assert image.dtype == np.float32
        assert image.shape == (128, 128, 3)
        assert image.min() >= 0
        assert image.max() <= 1
        change, mask = np.abs(image - without).max(axis=2), masks[sign]
        assert mask.dtype == bool
        assert mask.shape == (128, 128)
        assert mask.sum() >= 60
        assert change[mask].min() > 0.015
        assert change[mask].mean() >= 0.05
        assert np.all(change[~mask] == 0)


def test_every_allowed_pair_shows_both_signs():
    for seed, pair in enumerate(combinations(MODALITY.signs, 2)):
        if frozenset(pair) not in MODALITY.excludes:
            _, masks = draw(seed, pair)
            assert all(mask.sum() >= 12 for mask in masks.values()), pair


def test_pairs_of_a_category_both_show():
    for category in MODALITY.categories.values():
        for a, b in combinations(category.own + category.shared, 2):
            if frozenset((a, b)) not in MODALITY.excludes:
                both, masks = draw(3, (a, b))
                for other, mine in ((a, b), (b, a)):
                    change = np.abs(both - draw(3, (other,))[0])
                    assert masks[mine].any()
                    assert change.max() > 0.1, (mine, other)


def test_all_signs_at_once():
    for view, signs in MODALITY.views.items():
        for seed in range(3):
            image, masks = draw(seed, signs, view)
            assert set(masks) == set(signs)
            assert all(mask.any() for mask in masks.values())
            assert np.isfinite(image).all()


def test_deterministic_and_order_of_signs_is_irrelevant():
    signs = MODALITY.signs[::4]
    first, masks = draw(11, signs)
    second, others = draw(11, signs[::-1])
    np.testing.assert_array_equal(first, second)
    for name in signs:
        np.testing.assert_array_equal(masks[name], others[name])
    assert np.abs(first - draw(12, signs)[0]).mean() > 0.01


@pytest.mark.parametrize("size", [96, 224, 640])
def test_other_sizes(size):
    for view, signs in MODALITY.views.items():
        image, masks = draw(2, signs[-3:], view, size)
        assert image.shape == (size, size, 3)
        assert all(mask.any() and mask.shape == (size, size) for mask in masks.values())


def test_a_larger_picture_shows_the_same_lesion():
    for sign in ("homogeneous_brown_area", "even_red_area", "irregular_border"):
        for seed in range(3):
            small, large = (draw(seed, (sign,), size=size)[1][sign] for size in (128, 256))
            assert large.mean() == pytest.approx(small.mean(), rel=0.1)


def test_the_skin_does_not_depend_on_the_signs():
    """Wherever no sign lies, pictures of one seed are equal whatever is drawn."""
    for seed in range(4):
        pictures = [draw(seed, signs) for signs in (("red_lacunae",), ("comedo_openings",))]
        (one, first), (other, second) = pictures
        bare = ~(first["red_lacunae"] | second["comedo_openings"])
        assert bare.mean() > 0.2
        np.testing.assert_array_equal(one[bare], other[bare])


def test_skin_is_fair_to_dark_and_always_redder_than_blue():
    levels = []
    for seed in range(60):
        skin = anatomy(np.random.default_rng(seed), 96, "clinical").finish()
        red, green, blue = np.median(skin, axis=(0, 1))
        assert red > green > blue
        levels.append((red + green + blue) / 3)
    assert min(levels) < 0.4
    assert max(levels) > 0.68


def test_hairs_lie_over_the_lesion():
    """A pixel under a hair changes by the share that the hair leaves free."""
    seen = 0
    for seed in range(12):
        cover = anatomy_of(seed).cover
        image, masks = draw(seed, ("even_red_area",))
        mask = ndimage.binary_erosion(masks["even_red_area"] | (cover > 0.3), iterations=5)
        change = np.abs(image - draw(seed, ())[0]).max(axis=2)
        hidden, free = mask & (cover > 0.6), mask & (cover == 0)
        seen += hidden.sum()
        if hidden.any():
            assert change[hidden].max() < 0.6 * np.median(change[free])
    assert seen > 20


def anatomy_of(seed):
    """The normal skin that a picture of the same seed shows."""
    key = int(np.random.default_rng(seed).integers(2**32))
    return anatomy(np.random.default_rng([key, 0]), 128, "dermoscopic")


def test_the_veil_is_bluer_than_what_it_covers_and_around_it():
    for seed in range(6):
        image, before, mask = parts(seed, "blue_white_veil", "irregular_border")
        core = ndimage.binary_erosion(mask, iterations=3)
        ring = ndimage.binary_dilation(mask, iterations=6) & ~mask
        assert np.median(blueness(image)[core]) > np.median(blueness(before)[core]) + 0.1
        assert np.median(blueness(image)[core]) > np.median(blueness(image)[ring]) + 0.1


def test_vessels_are_thin_and_redder_than_what_lies_beside_them():
    for seed in range(6):
        image, before, mask = parts(seed, "arborising_vessels", "ovoid_nests")
        beside = ndimage.binary_dilation(mask, iterations=4) & ~mask
        change = np.abs(image - before).max(axis=2)
        core = change > np.median(change[mask])
        assert np.median(redness(image)[core]) > np.median(redness(image)[beside]) + 0.08
        assert np.median(redness(image)[core]) > np.median(redness(before)[core]) + 0.08
        assert ndimage.binary_erosion(mask, iterations=4).sum() < 0.03 * mask.sum()


def test_the_white_patch_is_the_brightest_part_and_central():
    for seed in range(6):
        image, before, mask = parts(seed, "central_white_patch", "fine_outer_network")
        assert np.mean(image[mask] > before[mask]) > 0.9
        body = draw(seed, ("fine_outer_network",), size=192)[1]["fine_outer_network"]
        assert np.median(image[mask]) > np.quantile(image[body & ~mask], 0.6)
        middles = [np.array(np.nonzero(part)).mean(axis=1) for part in (mask, body)]
        assert np.hypot(*(middles[0] - middles[1])) < 8


def test_the_regular_network_repeats_and_the_atypical_one_does_not():
    peaks = {}
    for name in ("net", "wild"):
        plates = texture_pool(192)[name]
        power = np.abs(np.fft.rfft2(plates - plates.mean(axis=(1, 2), keepdims=True))) ** 2
        peaks[name] = power.max(axis=(1, 2)) / power.sum(axis=(1, 2))
    assert peaks["net"].min() > 3 * peaks["wild"].max()


def test_network_lines_are_browner_and_holes_stay():
    for seed in range(6):
        image, before, mask = parts(seed, "regular_network", "round_globules")
        assert np.all(image[mask] <= before[mask] + 1e-6)
        holes = ndimage.binary_fill_holes(mask) & ~mask
        assert holes.sum() > 0.02 * mask.sum()


def test_globules_and_pale_dots_are_many_and_of_the_right_colour():
    for seed in range(6):
        image, before, mask = parts(seed, "milia_like_cysts", "cerebriform_ridges")
        bright = mask & (image.min(axis=2) > before.min(axis=2) + 0.2)
        assert ndimage.label(bright)[1] >= 6
        image, before, mask = parts(seed, "round_globules", "regular_network")
        assert np.all(image[mask] <= before[mask] + 1e-6)
        _, alone = draw(seed, ("round_globules",), size=192)
        assert alone["round_globules"].sum() > mask.sum()


def test_plugs_are_black_and_streaks_white():
    for seed in range(6):
        image, _, mask = parts(seed, "comedo_openings", "cerebriform_ridges")
        assert np.quantile(image[mask].max(axis=1), 0.25) < 0.3
        image, before, mask = parts(seed, "shiny_white_streaks", "ovoid_nests")
        assert np.mean(image[mask].min(axis=1) > before[mask].min(axis=1)) > 0.95


def test_a_notched_outline_is_less_compact_than_an_oval_one():
    def solidity(sign, seed):
        mask = ndimage.binary_fill_holes(draw(seed, (sign,), size=192)[1][sign])
        edge = mask & ~ndimage.binary_erosion(mask)
        return mask.sum() / edge.sum() ** 2

    notched = [solidity("irregular_border", seed) for seed in range(8)]
    oval = [solidity("homogeneous_brown_area", seed) for seed in range(8)]
    assert stats.mannwhitneyu(notched, oval, alternative="less").pvalue < 0.01


def test_a_lesion_shows_several_colours():
    for seed in range(6):
        image, masks = draw(seed, ("many_colours",))
        plain, others = draw(seed, ("homogeneous_brown_area",))
        several, one = (
            picture[ndimage.binary_erosion(mask, iterations=4)].std(axis=0).sum()
            for picture, mask in (
                (image, masks["many_colours"]),
                (plain, others["homogeneous_brown_area"]),
            )
        )
        assert several > 2 * one


def test_pigments_take_their_colours_away():
    skin = blank()
    box, amount = skin.everywhere, np.ones((128, 128), np.float32)
    skin.stain(box, amount, MELANIN)
    np.testing.assert_allclose(skin.colour[5, 5], 0.5 * np.exp(-MELANIN), rtol=1e-5)
    assert MELANIN[0] < MELANIN[1] < MELANIN[2]  # what is left is brown
    assert BLOOD[0] < BLOOD[2] < BLOOD[1]  # what is left is red, towards purple


def test_what_lies_over_the_skin_hides_it():
    skin = blank()
    half = np.full((128, 128), 0.5, np.float32)
    skin.lay_over(half, (1.0, 0.0, 0.0))
    np.testing.assert_allclose(skin.finish()[3, 3], (0.75, 0.25, 0.25))
    skin.lay_over(half, (0.0, 0.0, 1.0))
    np.testing.assert_allclose(skin.finish()[3, 3], (0.375, 0.125, 0.625))
    assert skin.cover[3, 3] == 0.75


def test_a_stroke_covers_the_area_of_its_disc():
    cover = blank().stroke(np.array([[0.1, -0.2]]), np.array([0.2]))
    assert cover.sum() * (2 / 128) ** 2 == pytest.approx(np.pi * 0.04, rel=0.02)
    middle = np.array(ndimage.center_of_mass(cover))
    np.testing.assert_allclose((middle + 0.5) / 64 - 1, (0.1, -0.2), atol=0.002)


def test_a_stroke_beyond_the_edge_is_cut():
    assert blank().stroke(np.array([[3.0, 0.0]]), np.array([0.1])).max() == 0
    assert blank().stroke(np.array([[1.0, 1.0]]), np.array([0.1]))[-1, -1] == 1


def test_a_lone_lesion_fills_the_close_view_and_not_the_wide_one():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, _, close = plan(rng, ("even_red_area",), True)["red"]
        _, _, wide = plan(rng, ("even_red_area",), False)["red"]
        assert 0.5 <= close <= 0.76
        assert wide < 0.42


def test_lesions_of_several_kinds_lie_apart():
    for seed in range(30):
        places = plan(np.random.default_rng(seed), ("red_lacunae", "regular_network"), True)
        (row, col, reach), (other_row, other_col, other) = places.values()
        assert np.hypot(row - other_row, col - other_col) > reach + other


def test_a_sign_of_several_kinds_lies_on_what_is_there():
    rng = np.random.default_rng(0)
    assert set(plan(rng, ("ulcer_crust",), True)) == {"pearly"}
    assert set(plan(rng, ("ulcer_crust", "red_lacunae"), True)) == {"red"}
    assert set(plan(rng, ("ulcer_crust", "regular_network"), True)) == {"mole", "pearly"}
    assert plan(rng, (), True) == {}


def test_modality_is_consistent():
    known = set(MODALITY.signs)
    assert known == set(SIGNS) == set(KINDS)
    assert all(set(signs) <= known for signs in MODALITY.views.values())
    assert MODALITY.main_view == "dermoscopic"
    assert MODALITY.multi_label
    assert MODALITY.unseen_categories() == ("Dermatofibroma",)
    assert not MODALITY.unseen & set(MODALITY.views["clinical"])
    used = {s for c in MODALITY.categories.values() for s in c.own + c.shared}
    assert used == known


def test_every_set_of_categories_can_be_drawn():
    rng = np.random.default_rng(0)
    for count in (1, 2, 3):
        for names in combinations(MODALITY.categories, count):
            signs = draw_signs(MODALITY, names, rng)
            for name in names:
                assert set(MODALITY.categories[name].own) & set(signs)


def phrases(wordings, part):
    yield from wordings["modality"][part]
    yield from wordings["normal"][part]
    for sign in wordings["signs"].values():
        yield from sign[part]
    if part == "train":
        for names in wordings["views"].values():
            yield from names


def test_wordings_cover_every_sign():
    wordings = read("phantoms/wordings")
    assert set(wordings["signs"]) == set(MODALITY.signs)
    assert set(wordings["views"]) == set(MODALITY.views)
    for name, sign in wordings["signs"].items():
        assert len(sign["held_out"]) >= 4
        assert (sign["train"] == []) == (name in MODALITY.unseen)
        assert name in MODALITY.unseen or len(sign["train"]) == 10


def test_wordings_are_distinct_and_name_no_category():
    wordings = read("phantoms/wordings")
    train, held_out = (list(phrases(wordings, part)) for part in ("train", "held_out"))
    assert len(set(train + held_out)) == len(train + held_out)
    assert not [phrase for phrase in train + held_out if CATEGORY_WORDS.search(phrase)]
    words = {word for phrase in train for word in re.findall(r"[a-z]+", phrase.lower())}
    heard = [word for phrase in held_out for word in re.findall(r"[a-z]+", phrase.lower())]
    assert np.mean([word in words for word in heard]) > 0.9


def test_bank_fits_the_modality_and_rewords():
    wordings, bank = read("phantoms/wordings"), read("signs/banks")
    assert bank["modality"] == MODALITY.title
    assert list(bank["categories"]) == list(MODALITY.categories)
    assert len(bank["normal"]) == 5
    sentences = list(bank["normal"])
    for category in bank["categories"].values():
        assert 4 <= len(category["signs"]) <= 8
        sentences += category["signs"]
    assert len(set(sentences)) == len(sentences)
    assert not [sentence for sentence in sentences if CATEGORY_WORDS.search(sentence)]
    assert not set(sentences) & {*phrases(wordings, "train"), *phrases(wordings, "held_out")}
    assert all(len(sentence.split()) <= 15 for sentence in sentences)
