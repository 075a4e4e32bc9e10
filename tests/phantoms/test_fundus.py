"""The fundus phantom: colour, exact masks, visible signs, wordings and bank that fit together."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml

import sdmad
from sdmad.phantoms.cases import draw_categories, draw_signs
from sdmad.phantoms.fundus import MODALITY
from sdmad.phantoms.fundus_anatomy import anatomy
from sdmad.phantoms.fundus_scene import blob
from sdmad.phantoms.fundus_signs import SIGNS

ROOT = Path(sdmad.__path__[0])
CASES = [(view, sign) for view, signs in MODALITY.views.items() for sign in signs]
CUP_AND_EXUDATES = ("large_cup", "hard_exudates")
CATEGORY_WORDS = re.compile(
    r"\b(diabet\w+|retinopathy|degeneration|age.related|glaucoma\w*|occlu\w+|myop\w+|detach\w+)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def wordings():
    return yaml.safe_load((ROOT / "phantoms/wordings/fundus.yaml").read_text())


@pytest.fixture(scope="module")
def bank():
    return yaml.safe_load((ROOT / "signs/banks/fundus.yaml").read_text())


def draw(seed, signs, view="macula_centred", size=128):
    return MODALITY.render(np.random.default_rng(seed), signs, size, view)


def scene_of(seed, size=128, view="macula_centred"):
    """The normal scene that a picture of the same seed shows."""
    key = int(np.random.default_rng(seed).integers(2**32))
    return anatomy(np.random.default_rng([key, 0]), size, view)


def places(mask):
    """Rows and columns of a mask's pixels in [-1, 1], shape ``(n, 2)``."""
    return (np.argwhere(mask) + 0.5) / len(mask) * 2 - 1


def core(seed, sign):
    """Colours with and without a sign where it changes most, each ``(n, 3)``."""
    image, masks = draw(seed, (sign,))
    without, _ = draw(seed, ())
    change = np.abs(image - without).max(2)
    where = masks[sign] & (change >= np.quantile(change[masks[sign]], 0.7))
    return image[where], without[where]


@pytest.mark.parametrize(("view", "sign"), CASES)
def test_sign_is_visible_and_its_mask_exact(view, sign):
    for seed in range(6):
        without, none = draw(seed, (), view)
        image, masks = draw(seed, (sign,), view)
        assert none == {}
        assert set(masks) == {sign}
        assert image.dtype == np.float32
        assert image.shape == (128, 128, 3)
        assert image.min() >= 0
        assert image.max() <= 1
        change, mask = np.abs(image - without).max(2), masks[sign]
        assert mask.dtype == bool
        assert mask.shape == (128, 128)
        assert mask.sum() >= 15
        assert change[mask].mean() >= 0.04
        assert change[mask].min() > 0.015
        assert np.all(change[~mask] == 0)


def test_every_allowed_pair_shows_both_signs():
    for seed, pair in enumerate(combinations(MODALITY.signs, 2)):
        if frozenset(pair) not in MODALITY.excludes:
            both, masks = draw(seed, pair)
            for other, mine in (pair, pair[::-1]):
                change = np.abs(both - draw(seed, (other,))[0]).max(2)
                assert masks[mine].sum() >= 12, (mine, other)
                assert (change > 0.04).sum() >= 10, (mine, other)


def test_all_signs_at_once_in_both_views():
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


def test_the_anatomy_is_the_same_whichever_signs_are_drawn():
    for seed in range(4):
        image, masks = draw(seed, ("hard_exudates", "disc_haemorrhage"))
        other, more = draw(seed, ("large_cup", "dot_haemorrhages"))
        untouched = ~np.any([*masks.values(), *more.values()], axis=0)
        assert untouched.mean() > 0.5
        np.testing.assert_array_equal(image[untouched], other[untouched])


def test_a_sign_is_the_same_beside_another_one():
    for seed in range(4):
        alone, beside = draw(seed, ("hard_exudates",))[1], draw(seed, CUP_AND_EXUDATES)[1]
        np.testing.assert_array_equal(alone["hard_exudates"], beside["hard_exudates"])


@pytest.mark.parametrize("size", [96, 240])
def test_other_sizes(size):
    for view, signs in MODALITY.views.items():
        for sign in signs:
            image, masks = draw(2, (sign,), view, size)
            assert image.shape == (size, size, 3)
            assert masks[sign].any()


def test_lengths_follow_the_size():
    small, large = (draw(5, ("submacular_blood",), size=s)[1] for s in (128, 384))
    shares = [masks["submacular_blood"].mean() for masks in (small, large)]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_the_field_is_round_on_black_and_orange():
    for seed in range(12):
        image, _ = draw(seed, ())
        lit = image.max(2) > 0
        assert not lit[:8, :8].any()
        assert not lit[-8:, -8:].any()
        assert 0.6 < lit.mean() < 0.8
        red, green, blue = np.median(image[lit], axis=0)
        assert red > 1.4 * green > 1.4 * blue > 0


def test_some_fields_are_cut_at_top_and_bottom():
    top = [draw(seed, ())[0][4].max() > 0 for seed in range(24)]
    assert 0.4 < np.mean(top) < 0.95


def test_the_disc_is_bright_the_macula_dark_and_vessels_dark():
    for seed in range(8):
        scene = scene_of(seed)
        tone, level = scene.picture().sum(2), np.median(scene.ground.sum(2))
        box, cover = blob(scene, (scene.disc.row, scene.disc.col), (scene.disc.radius,) * 2)
        assert np.median(tone[box][cover == 1]) > 1.1 * level
        box, cover = blob(scene, scene.fovea, (0.1, 0.1))
        assert np.median(tone[box][cover == 1]) < 0.95 * level
        vein = scene.shares[..., 0] > 0.9
        assert vein.sum() > 50
        assert np.median(tone[vein] / scene.ground.sum(2)[vein]) < 0.6


def test_the_disc_lies_right_and_left():
    assert {scene_of(seed).side for seed in range(12)} == {-1, 1}
    for seed in range(12):
        macular, central = scene_of(seed), scene_of(seed, view="disc_centred")
        assert macular.side * macular.disc.col > 0.5
        assert abs(central.disc.col) < 0.2


def test_exudates_are_yellower_and_brighter_than_the_retina():
    for seed in range(8):
        image, without = core(seed, "hard_exudates")
        assert (image.sum(1) > without.sum(1)).mean() > 0.9
        yellow, before = (np.minimum(c[:, 0], c[:, 1]) - c[:, 2] for c in (image, without))
        assert np.mean(yellow - before) > 0.1


@pytest.mark.parametrize("sign", ["dot_haemorrhages", "flame_haemorrhages", "submacular_blood"])
def test_blood_is_darker_and_redder_than_the_retina(sign):
    for seed in range(8):
        image, without = core(seed, sign)
        assert (image.sum(1) < without.sum(1)).all()
        red, before = (c[:, 0] / c.sum(1) for c in (image, without))
        assert np.mean(red - before) > 0.03


@pytest.mark.parametrize("sign", ["cotton_wool_spots", "grey_elevated_retina", "disc_crescent"])
def test_white_and_grey_signs_have_little_colour(sign):
    for seed in range(8):
        image, without = core(seed, sign)
        span, before = (np.ptp(c, axis=1) / c.max(1) for c in (image, without))
        assert np.mean(span) < np.mean(before) - 0.15


def cup_to_disc(scene):
    """Ratio of diameters from the area that is nearer to the cup's colour than to the rim's."""
    place = scene.disc.row, scene.disc.col
    half = scene.disc.radius, scene.disc.radius * scene.disc.aspect
    box, cover = blob(scene, place, half, scene.disc.turn)
    inside = scene.ground[box][cover > 0.5]
    far = [np.linalg.norm(inside - c, axis=1) for c in (scene.disc.pallor, scene.disc.rim)]
    return np.sqrt(np.mean(far[0] < far[1]))


def test_a_large_cup_has_a_large_cup_to_disc_ratio():
    for seed in range(8):
        scene = scene_of(seed, 240)
        assert 0.2 < cup_to_disc(scene) < 0.5
        SIGNS["large_cup"](scene, np.random.default_rng(seed))
        assert 0.65 < cup_to_disc(scene) < 0.9


def test_a_notch_reaches_the_border_at_one_pole_alone():
    for seed in range(8):
        scene = scene_of(seed, 240)
        SIGNS["notched_rim"](scene, np.random.default_rng(seed))
        disc = scene.disc
        pale = np.abs(scene.ground - disc.pallor).max(2) < 0.05
        up, down = (
            pale[s.box(disc.row + sign * 0.86 * disc.radius, disc.col, 0.3 * disc.radius)].any()
            for s, sign in ((scene, -1), (scene, 1))
        )
        assert up != down


def test_a_nerve_fibre_wedge_widens_away_from_the_disc():
    for seed in range(8):
        scene, mask = scene_of(seed), draw(seed, ("nerve_fibre_wedge",))[1]["nerve_fibre_wedge"]
        temporal = scene.side * (scene.disc.col - places(mask)[:, 1])
        near, far = (((temporal > a) & (temporal < a + 0.1)).sum() for a in (0.2, 0.5))
        assert far > near > 0
        assert temporal.min() > -0.1


def test_flames_stay_in_one_sector_and_point_away_from_the_disc():
    for seed in range(8):
        scene, mask = scene_of(seed), draw(seed, ("flame_haemorrhages",))[1]["flame_haemorrhages"]
        offset = places(mask) - (scene.disc.row, scene.disc.col)
        direction = (offset / np.linalg.norm(offset, axis=1, keepdims=True)).mean(0)
        assert np.linalg.norm(direction) > 0.8


def test_tortuous_veins_are_longer_and_broader_and_arteries_as_before():
    for seed in range(4):
        scene = scene_of(seed)
        before = scene.vessels
        SIGNS["tortuous_veins"](scene, np.random.default_rng(seed))
        for old, new in zip(before, scene.vessels, strict=True):
            if old.vein:
                assert new.width.min() > 1.3 * old.width.min()
            else:
                np.testing.assert_array_equal(old.points, new.points)
        length = [
            sum(np.linalg.norm(np.diff(v.points, axis=0), axis=1).sum() for v in vs if v.vein)
            for vs in (before, scene.vessels)
        ]
        assert length[1] > 1.05 * length[0]


def test_a_crescent_lies_on_the_side_of_the_macula():
    for seed in range(8):
        scene, (image, masks) = scene_of(seed), draw(seed, ("disc_crescent",))
        bright = masks["disc_crescent"] & ((image - draw(seed, ())[0])[..., 2] > 0.15)
        assert np.mean(scene.side * (scene.disc.col - places(bright)[:, 1])) > 0.1


@pytest.mark.parametrize("sign", ["soft_drusen", "geographic_atrophy", "submacular_blood"])
def test_signs_of_the_macula_lie_there(sign):
    for seed in range(8):
        scene, mask = scene_of(seed), draw(seed, (sign,))[1][sign]
        assert np.linalg.norm(places(mask).mean(0) - scene.fovea) < 0.2


def test_a_tear_lies_far_from_the_disc_and_holds_red():
    for seed in range(8):
        scene, (image, masks) = scene_of(seed), draw(seed, ("horseshoe_tear",))
        mask = masks["horseshoe_tear"]
        assert np.linalg.norm(places(mask) - (scene.disc.row, scene.disc.col), axis=1).min() > 0.3
        red = mask & (image[..., 0] > 2.5 * image[..., 1])
        pale = mask & (image[..., 0] < 1.5 * image[..., 1])
        assert red.sum() > 20
        assert pale.sum() > 20


def test_modality_is_consistent():
    known = set(MODALITY.signs)
    assert tuple(SIGNS) == MODALITY.signs
    assert MODALITY.main_view == "macula_centred"
    assert all(set(signs) <= known for signs in MODALITY.views.values())
    assert MODALITY.multi_label
    assert MODALITY.unseen_categories() == ("Retinal_detachment",)
    assert {s for c in MODALITY.categories.values() for s in c.own + c.shared} == known


def test_categories_can_be_drawn_together():
    rng = np.random.default_rng(0)
    for _ in range(300):
        categories = draw_categories(MODALITY, rng)
        signs = set(draw_signs(MODALITY, categories, rng))
        assert all(signs & set(MODALITY.categories[name].own) for name in categories)


def phrases(wordings, part):
    yield from wordings["modality"][part]
    yield from wordings["normal"][part]
    for sign in wordings["signs"].values():
        yield from sign[part]
    if part == "train":
        for names in wordings["views"].values():
            yield from names


def test_wordings_cover_every_sign(wordings):
    assert list(wordings["signs"]) == list(MODALITY.signs)
    assert set(wordings["views"]) == set(MODALITY.views)
    for name, sign in wordings["signs"].items():
        assert len(sign["held_out"]) >= 4
        assert len(sign["train"]) == (0 if name in MODALITY.unseen else 10)


def test_wordings_are_distinct_and_name_no_category(wordings):
    train, held_out = (list(phrases(wordings, part)) for part in ("train", "held_out"))
    assert len(set(train + held_out)) == len(train + held_out)
    assert not [phrase for phrase in train + held_out if CATEGORY_WORDS.search(phrase)]
    words = {word for phrase in train for word in re.findall(r"[a-z]+", phrase.lower())}
    heard = [word for phrase in held_out for word in re.findall(r"[a-z]+", phrase.lower())]
    assert np.mean([word in words for word in heard]) > 0.9


def test_bank_fits_the_modality_and_rewords(wordings, bank):
    assert bank["modality"] == MODALITY.title
    assert list(bank["categories"]) == list(MODALITY.categories)
    assert len(bank["normal"]) == 5
    sentences = list(bank["normal"])
    for category in bank["categories"].values():
        assert 5 <= len(category["signs"]) <= 6
        sentences += category["signs"]
    assert len(set(sentences)) == len(sentences)
    assert not set(sentences) & {*phrases(wordings, "train"), *phrases(wordings, "held_out")}
    assert all(len(sentence.split()) <= 15 for sentence in sentences)
    assert not [sentence for sentence in sentences if CATEGORY_WORDS.search(sentence)]
