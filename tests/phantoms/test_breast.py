"""The breast ultrasound phantom: exact masks, visible signs, fitting wordings and bank."""

import re
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

import sdmad
from sdmad.phantoms.breast import MODALITY, render
from sdmad.phantoms.breast_anatomy import LAYERS, anatomy
from sdmad.phantoms.ultrasound import (
    RANGE,
    Lesion,
    Scan,
    beneath,
    curved_view,
    linear_view,
    speckle_pool,
)

ROOT = Path(sdmad.__path__[0])
WORDINGS = yaml.safe_load((ROOT / "phantoms/wordings/breast.yaml").read_text())
BANK = yaml.safe_load((ROOT / "signs/banks/breast.yaml").read_text())
CASES = [(view, sign) for view, signs in MODALITY.views.items() for sign in signs]
DARK = ("dilated_ducts", "posterior_shadow", "coarse_calcification", "node_without_hilum")
BRIGHT = ("echogenic_rind", "skin_thickening")


def draw(seed, signs, view="linear", size=128):
    return render(np.random.default_rng(seed), signs, size, view)


@pytest.mark.parametrize(("view", "sign"), CASES)
def test_sign_is_visible_and_its_mask_exact(view, sign):
    for seed in range(6):
        without, none = draw(seed, (), view)
        image, masks = draw(seed, (sign,), view)
        assert none == {}
        assert image.dtype == np.float32
        assert image.shape == (128, 128)
        assert image.min() >= 0
        assert image.max() <= 1
        change, mask = np.abs(image - without), masks[sign]
        assert mask.dtype == bool
        assert mask.sum() >= 20
        assert change[mask].mean() >= 0.04
        assert np.all(change[~mask] == 0)
        assert np.mean(change[mask] > 0.015) > 0.6  # speckle hides some of it in black


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
            assert np.isfinite(image).all()


def test_deterministic_and_order_of_signs_is_irrelevant():
    signs = ("spiculated_mass", "posterior_shadow", "skin_thickening")
    first, masks = draw(11, signs)
    second, others = draw(11, signs[::-1])
    np.testing.assert_array_equal(first, second)
    for name in signs:
        np.testing.assert_array_equal(masks[name], others[name])
    assert np.abs(first - draw(12, signs)[0]).mean() > 0.01


@pytest.mark.parametrize("size", [96, 224])
def test_other_sizes(size):
    for view, signs in MODALITY.views.items():
        image, masks = draw(2, signs[-3:], view, size)
        assert image.shape == (size, size)
        assert all(mask.any() and mask.shape == image.shape for mask in masks.values())


def test_fluid_and_shadow_darken_and_rinds_brighten():
    for sign, direction in (*((s, -1) for s in DARK), *((s, 1) for s in BRIGHT)):
        changes = []
        for seed in range(5):
            image, masks = draw(seed, (sign,))
            change = (image - draw(seed, ())[0])[masks[sign]]
            changes.append(np.sum(np.clip(change * direction, 0, None)) / np.abs(change).sum())
        assert np.mean(changes) > 0.6, sign


def test_fluid_is_black_and_what_lies_behind_it_bright():
    for seed in range(8):
        image, masks = draw(seed, ("anechoic_cyst",))
        change = np.where(masks["anechoic_cyst"], image - draw(seed, ())[0], 0)
        fluid, bright = np.argwhere(change < -0.2), np.argwhere(change > 0.1)
        assert np.median(image[tuple(fluid.T)]) == 0
        assert np.median(bright[:, 0]) > np.median(fluid[:, 0])


def test_a_shadow_lies_behind_the_mass():
    for seed in range(8):
        _, masks = draw(seed, ("circumscribed_oval_mass", "posterior_shadow"))
        _, alone = draw(seed, ("circumscribed_oval_mass",))
        mass = np.argwhere(alone["circumscribed_oval_mass"])
        shade = np.argwhere(masks["posterior_shadow"])
        assert shade[:, 0].mean() > np.percentile(mass[:, 0], 30)
        assert abs(shade[:, 1].mean() - mass[:, 1].mean()) < 8


def test_a_mass_taller_than_wide_is_so():
    for seed in range(8):
        image, masks = draw(seed, ("taller_than_wide_mass",))
        core = masks["taller_than_wide_mass"] & (draw(seed, ())[0] - image > 0.1)
        rows, cols = (np.flatnonzero(core.any(axis)) for axis in (1, 0))
        assert np.ptp(rows) > np.ptp(cols)


def test_speckle_is_the_log_of_a_rayleigh_magnitude():
    """One look has Rayleigh's deviation of 5.57 dB; averaged looks have less."""
    deviation = speckle_pool(128).std(axis=(1, 2)) * RANGE
    assert deviation.max() == pytest.approx(5.57, abs=0.5)
    assert deviation.min() > 2.5
    plate = speckle_pool(128)[deviation.argmax()].ravel()
    power = 10 ** (plate * RANGE / 10)
    assert stats.skew(plate) < -0.4  # dark holes, no bright outliers
    assert power.std() / power.mean() == pytest.approx(1, abs=0.1)  # exponential power


def test_layers_lie_one_below_the_other():
    for view in MODALITY.views:
        for seed in range(10):
            scan = anatomy(np.random.default_rng(seed), 96, view)
            edges = [scan.edges[name] for name in LAYERS]
            assert edges[0].min() > 0
            assert all((b > a).all() for a, b in pairwise(edges))


@pytest.mark.parametrize("view", [linear_view, curved_view])
def test_places_and_beams_agree(view):
    for seed in range(8):
        shown = view(np.random.default_rng(seed), 128)
        row, col = shown.at(0.3, 0.7)
        assert shown.place(row, col) == pytest.approx((0.3, 0.7))
        at = tuple(int((v + 1) * 64) for v in (row, col))
        assert shown.beam[at] == pytest.approx(0.3, abs=0.03)
        assert shown.depth[at] == pytest.approx(0.7, abs=0.03)
        assert shown.inside[at]
        right = shown.at(0.31, 0.7)
        moved = np.hypot(right[0] - row, right[1] - col)
        assert moved == pytest.approx(0.01 * shown.width(0.7), rel=0.01)


def test_curved_pictures_are_black_outside_the_fan():
    for seed in range(8):
        image, _ = draw(seed, (), "curved")
        assert image[0, :8].max() == image[0, -8:].max() == 0
        assert 0.15 < np.mean(image == 0) < 0.75


def test_a_lesion_covers_its_ellipse_and_shades_what_is_behind():
    scan = Scan(linear_view(np.random.default_rng(1), 128), np.zeros((128, 128), np.float32))
    lesion = Lesion(0.0, 0.2, 0.3, 0.15)
    box, inside, _, height = lesion.measure(scan)
    area = lesion.cover(scan, inside).sum() * (2 / 128) ** 2
    assert area == pytest.approx(np.pi * 0.3 * 0.15, rel=0.03)
    assert height.min() < -1 < 1 < height.max()
    assert box[0].stop < 128
    shadow = beneath(scan, lesion, -0.5, 1.0)
    rows, cols = np.nonzero(shadow < -0.1)
    assert rows.min() > 64
    assert np.abs(cols - 76.8).max() < 0.33 * 64


def test_modality_is_consistent():
    known = set(MODALITY.signs)
    assert MODALITY.main_view == "linear"
    assert all(set(signs) <= known for signs in MODALITY.views.values())
    assert MODALITY.multi_label
    assert MODALITY.unseen_categories() == ("Lymphadenopathy",)
    used = {s for c in MODALITY.categories.values() for s in c.own + c.shared}
    assert used == known


def training_phrases():
    yield from WORDINGS["modality"]["train"]
    yield from WORDINGS["normal"]["train"]
    for phrases in WORDINGS["views"].values():
        yield from phrases
    for sign in WORDINGS["signs"].values():
        yield from sign["train"]


def held_out_phrases():
    yield from WORDINGS["modality"]["held_out"]
    yield from WORDINGS["normal"]["held_out"]
    for sign in WORDINGS["signs"].values():
        yield from sign["held_out"]


def test_wordings_cover_every_sign():
    assert set(WORDINGS["signs"]) == set(MODALITY.signs)
    assert set(WORDINGS["views"]) == set(MODALITY.views)
    for name, sign in WORDINGS["signs"].items():
        assert len(sign["held_out"]) >= 4
        assert (sign["train"] == []) == (name in MODALITY.unseen)
        assert name in MODALITY.unseen or len(sign["train"]) >= 8


def test_wordings_are_distinct_and_name_no_category():
    train, held_out = list(training_phrases()), list(held_out_phrases())
    assert len(set(train + held_out)) == len(train + held_out)
    names = re.compile(
        r"\b(cysts?|fibroadenoma|carcinoma|cancer|malignan\w+|ectasia|abscess|lymphadenopathy)\b",
        re.IGNORECASE,
    )
    assert not [phrase for phrase in train + held_out if names.search(phrase)]
    words = {word for phrase in train for word in re.findall(r"[a-z]+", phrase.lower())}
    heard = [word for phrase in held_out for word in re.findall(r"[a-z]+", phrase.lower())]
    assert np.mean([word in words for word in heard]) > 0.9


def test_bank_fits_the_modality_and_rewords():
    assert BANK["modality"] == MODALITY.title
    assert list(BANK["categories"]) == list(MODALITY.categories)
    assert 4 <= len(BANK["normal"]) <= 6
    sentences = list(BANK["normal"])
    for category in BANK["categories"].values():
        assert 4 <= len(category["signs"]) <= 8
        sentences += category["signs"]
    assert len(set(sentences)) == len(sentences)
    assert not set(sentences) & {*training_phrases(), *held_out_phrases()}
    assert all(len(sentence.split()) < 20 for sentence in sentences)
