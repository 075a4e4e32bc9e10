"""The ultrasound phantoms: exact masks, visible signs, wordings and bank that fit together."""

import re
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

import sdmad
from sdmad.phantoms import breast, thyroid
from sdmad.phantoms.breast_anatomy import LAYERS, anatomy
from sdmad.phantoms.ultrasound import RANGE, curved_view, linear_view, speckle_pool
from sdmad.phantoms.ultrasound_scan import Lesion, Scan, beneath

ROOT = Path(sdmad.__path__[0])
MODALITIES = (breast.MODALITY, thyroid.MODALITY)
CASES = [(m, view, sign) for m in MODALITIES for view, signs in m.views.items() for sign in signs]
DARK = ("dilated_ducts", "posterior_shadow", "coarse_calcification", "node_without_hilum")
BRIGHT = ("echogenic_rind", "skin_thickening")
CATEGORY_WORDS = re.compile(
    r"\b(cysts?|fibroadenoma|adenoma|carcinoma|cancer|malignan\w+|ectasia|abscess"
    r"|lymphadenopathy|colloid|thyroiditis|goitre|metasta\w+)\b",
    re.IGNORECASE,
)
UNSEEN = {"breast": ("Lymphadenopathy",), "thyroid": ("Nodal_metastasis",)}


@pytest.fixture(params=MODALITIES, ids=lambda modality: modality.name)
def modality(request):
    return request.param


@pytest.fixture
def wordings(modality):
    return yaml.safe_load((ROOT / f"phantoms/wordings/{modality.name}.yaml").read_text())


@pytest.fixture
def bank(modality):
    return yaml.safe_load((ROOT / f"signs/banks/{modality.name}.yaml").read_text())


def draw(seed, signs, view=None, size=128, modality=breast.MODALITY):
    rng = np.random.default_rng(seed)
    return modality.render(rng, signs, size, view or modality.main_view)


@pytest.mark.parametrize(("modality", "view", "sign"), CASES)
def test_sign_is_visible_and_its_mask_exact(modality, view, sign):
    for seed in range(6):
        without, none = draw(seed, (), view, modality=modality)
        image, masks = draw(seed, (sign,), view, modality=modality)
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


def test_every_allowed_pair_shows_both_signs(modality):
    for seed, pair in enumerate(combinations(modality.signs, 2)):
        if frozenset(pair) not in modality.excludes:
            _, masks = draw(seed, pair, modality=modality)
            assert all(mask.sum() >= 12 for mask in masks.values()), pair


def test_pairs_of_a_category_both_show(modality):
    for category in modality.categories.values():
        for a, b in combinations(category.own + category.shared, 2):
            if frozenset((a, b)) not in modality.excludes:
                both, masks = draw(3, (a, b), modality=modality)
                for other, mine in ((a, b), (b, a)):
                    change = np.abs(both - draw(3, (other,), modality=modality)[0])
                    assert masks[mine].any()
                    assert change.max() > 0.1, (mine, other)


def test_all_signs_at_once(modality):
    for view, signs in modality.views.items():
        for seed in range(3):
            image, masks = draw(seed, signs, view, modality=modality)
            assert set(masks) == set(signs)
            assert np.isfinite(image).all()


def test_deterministic_and_order_of_signs_is_irrelevant(modality):
    signs = modality.signs[::4]
    first, masks = draw(11, signs, modality=modality)
    second, others = draw(11, signs[::-1], modality=modality)
    np.testing.assert_array_equal(first, second)
    for name in signs:
        np.testing.assert_array_equal(masks[name], others[name])
    assert np.abs(first - draw(12, signs, modality=modality)[0]).mean() > 0.01


@pytest.mark.parametrize("size", [96, 224])
def test_other_sizes(modality, size):
    for view, signs in modality.views.items():
        image, masks = draw(2, signs[-3:], view, size, modality)
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
    for view in breast.MODALITY.views:
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


def test_modality_is_consistent(modality):
    known = set(modality.signs)
    assert all(set(signs) <= known for signs in modality.views.values())
    assert len(modality.views) == 2
    assert modality.multi_label
    assert modality.unseen_categories() == UNSEEN[modality.name]
    used = {s for c in modality.categories.values() for s in c.own + c.shared}
    assert used == known


def phrases(wordings, part):
    yield from wordings["modality"][part]
    yield from wordings["normal"][part]
    for sign in wordings["signs"].values():
        yield from sign[part]
    if part == "train":
        for names in wordings["views"].values():
            yield from names


def test_wordings_cover_every_sign(modality, wordings):
    assert set(wordings["signs"]) == set(modality.signs)
    assert set(wordings["views"]) == set(modality.views)
    for name, sign in wordings["signs"].items():
        assert len(sign["held_out"]) >= 4
        assert (sign["train"] == []) == (name in modality.unseen)
        assert name in modality.unseen or len(sign["train"]) >= 8


def test_wordings_are_distinct_and_name_no_category(wordings):
    train, held_out = (list(phrases(wordings, part)) for part in ("train", "held_out"))
    assert len(set(train + held_out)) == len(train + held_out)
    assert not [phrase for phrase in train + held_out if CATEGORY_WORDS.search(phrase)]
    words = {word for phrase in train for word in re.findall(r"[a-z]+", phrase.lower())}
    heard = [word for phrase in held_out for word in re.findall(r"[a-z]+", phrase.lower())]
    assert np.mean([word in words for word in heard]) > 0.9


def test_bank_fits_the_modality_and_rewords(modality, wordings, bank):
    assert bank["modality"] == modality.title
    assert list(bank["categories"]) == list(modality.categories)
    assert 4 <= len(bank["normal"]) <= 6
    sentences = list(bank["normal"])
    for category in bank["categories"].values():
        assert 4 <= len(category["signs"]) <= 8
        sentences += category["signs"]
    assert len(set(sentences)) == len(sentences)
    assert not set(sentences) & {*phrases(wordings, "train"), *phrases(wordings, "held_out")}
    assert all(len(sentence.split()) < 20 for sentence in sentences)


def neck(seed):
    """The normal scan that a picture of the same seed shows."""
    key = int(np.random.default_rng(seed).integers(2**32))
    return thyroid.anatomy(np.random.default_rng([key, 0]), 128, "transverse")


def share_within(shape, scan, mask):
    box, inside, _, _ = shape.measure(scan)
    return np.mean(mask[box][inside > 0.05])


def test_nodules_keep_clear_of_trachea_and_vessels():
    for seed in range(12):
        sign, scan = "isoechoic_nodule_with_halo", neck(seed)
        mask = draw(seed, (sign,), modality=thyroid.MODALITY)[1][sign]
        for part in (*scan.organs["vessels"], *scan.organs["trachea"]):
            assert share_within(part, scan, mask) < 0.2


def test_an_enlarged_lobe_grows_around_the_old_one():
    for seed in range(12):
        scan = neck(seed)
        mask = draw(seed, ("enlarged_lobe",), modality=thyroid.MODALITY)[1]["enlarged_lobe"]
        lobes = [share_within(lobe, scan, mask) for lobe in scan.organs["lobes"]]
        assert max(lobes) < 0.1
        rows, _ = np.nonzero(mask)
        before = min(lobe.row - lobe.down for lobe in scan.organs["lobes"])
        assert (rows.min() / 64 - 1) < before + 0.05


def test_the_whole_gland_is_patchy_or_parted():
    for sign in ("patchy_dark_parenchyma", "echogenic_septa"):
        for seed in range(6):
            scan, mask = neck(seed), draw(seed, (sign,), modality=thyroid.MODALITY)[1][sign]
            shares = [share_within(lobe, scan, mask) for lobe in scan.organs["lobes"]]
            assert min(shares) > 0.4
