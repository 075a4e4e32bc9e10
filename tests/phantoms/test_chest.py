import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest
import yaml

from sdmad.phantoms.chest import MODALITY
from sdmad.phantoms.chest_scene import between, unit
from sdmad.phantoms.chest_signs import SIGNS

CHESTXRAY8 = [
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
    "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening",
    "Hernia",
]  # fmt: skip
UNSEEN = {"retrocardiac_gas_bubble", "air_fluid_level_behind_heart"}
DRAWN = [(view, sign) for view, signs in MODALITY.views.items() for sign in signs]


def draw(seed, signs, size=128, view="frontal"):
    return MODALITY.render(np.random.default_rng(seed), signs, size, view)


def packaged(package, name):
    return yaml.safe_load(resources.files(package).joinpath(name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wordings():
    return packaged("sdmad.phantoms", "wordings/chest.yaml")


@pytest.fixture(scope="module")
def bank():
    return packaged("sdmad.signs", "banks/chest.yaml")


def test_same_seed_same_picture():
    signs = ["nodule", "large_heart", "reticular_lines"]
    first, masks = draw(3, signs)
    again, masks_again = draw(3, signs)
    other, _ = draw(4, signs)
    assert np.array_equal(first, again)
    assert all(np.array_equal(masks[s], masks_again[s]) for s in signs)
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize("size", [96, 128, 160])
@pytest.mark.parametrize("view", list(MODALITY.views))
def test_picture_format(view, size):
    signs = list(MODALITY.views[view][:3])
    image, masks = draw(0, signs, size, view)
    assert image.shape == (size, size)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.std() > 0.1
    assert list(masks) == signs
    assert all(m.shape == (size, size) and m.dtype == np.bool_ for m in masks.values())


@pytest.mark.parametrize(("view", "sign"), DRAWN)
def test_mask_is_where_the_sign_changed_the_picture(view, sign):
    for seed in range(8):
        plain, _ = draw(seed, [], view=view)
        image, masks = draw(seed, [sign], view=view)
        mask, change = masks[sign], np.abs(image - plain)
        assert mask.sum() >= 8
        assert np.all(change[~mask] == 0)
        assert np.all(change[mask] > 0.019)
        assert change[mask].mean() >= 0.04


def test_a_second_sign_leaves_the_rest_of_the_picture_alone():
    for seed in range(10):
        one, _ = draw(seed, ["large_heart"])
        both, masks = draw(seed, ["nodule", "large_heart"])
        assert np.array_equal(one[~masks["nodule"]], both[~masks["nodule"]])


def test_order_of_request_does_not_matter():
    signs = ["mass", "flat_diaphragm", "bulla"]
    first, masks = draw(1, signs)
    second, turned = draw(1, signs[::-1])
    assert np.array_equal(first, second)
    assert list(turned) == signs[::-1]
    assert all(np.array_equal(masks[s], turned[s]) for s in signs)


def test_every_allowed_pair_shows_both_signs():
    for seed, pair in enumerate(combinations(MODALITY.signs, 2)):
        if frozenset(pair) in MODALITY.excludes:
            continue
        _, masks = draw(seed, pair)
        assert all(mask.sum() >= 4 for mask in masks.values()), pair


@pytest.mark.parametrize(
    ("sign", "direction"),
    [
        ("large_heart", 1),
        ("meniscus_fluid", 1),
        ("mass", 1),
        ("hyperlucent_lungs", -1),
        ("deep_sulcus", -1),
        ("bulla", -1),
    ],
)
def test_tissue_and_fluid_brighten_and_gas_darkens(sign, direction):
    for seed in range(6):
        image, masks = draw(seed, [sign])
        change = (image - draw(seed, [])[0])[masks[sign]]
        assert np.median(change) * direction > 0.03


def test_nodule_is_smaller_than_mass():
    areas = {
        sign: [draw(seed, [sign])[1][sign].sum() for seed in range(12)]
        for sign in ("nodule", "mass")
    }
    assert max(areas["nodule"]) < 200
    assert np.median(areas["mass"]) > 3 * np.median(areas["nodule"])


def test_views_are_different_anatomy():
    frontal = np.mean([draw(s, [])[0] for s in range(20)], axis=0)
    lateral = np.mean([draw(s, [], view="lateral")[0] for s in range(20)], axis=0)
    assert np.corrcoef(frontal.ravel(), lateral.ravel())[0, 1] < 0.8


def test_small_helpers():
    assert np.array_equal(unit(np.array([-1, 0.25, 2])), [0, 0.25, 1])
    values = [between(np.random.default_rng(s), 2, 3) for s in range(50)]
    assert 2 <= min(values) < 2.2 < 2.8 < max(values) <= 3


def test_categories_are_those_of_chestxray8():
    assert list(MODALITY.categories) == CHESTXRAY8
    assert MODALITY.unseen == UNSEEN
    assert MODALITY.unseen_categories() == ("Hernia",)
    assert set(MODALITY.categories["Hernia"].shared) == set()


def test_own_signs_belong_to_one_category():
    own = [sign for c in MODALITY.categories.values() for sign in c.own]
    shared = {sign for c in MODALITY.categories.values() for sign in c.shared}
    assert len(own) == len(set(own))
    assert not shared & set(own)
    assert set(own) | shared == set(MODALITY.signs) == set(SIGNS)
    assert all(1 <= len(c.own) <= 3 for c in MODALITY.categories.values())
    assert len(MODALITY.signs) >= 19
    assert len(MODALITY.views["lateral"]) >= 6
    assert not set(MODALITY.views["lateral"]) & UNSEEN
    assert all(pair <= set(MODALITY.signs) and len(pair) == 2 for pair in MODALITY.excludes)


def test_wordings_are_complete_and_held_out_apart(wordings):
    assert set(wordings["signs"]) == set(MODALITY.signs)
    assert set(wordings["views"]) == set(MODALITY.views)
    assert len(wordings["modality"]["train"]) >= 8
    assert len(wordings["normal"]["train"]) >= 14
    assert all(len(w) >= 4 for w in wordings["views"].values())
    parts = [wordings["modality"], wordings["normal"], *wordings["signs"].values()]
    train = [phrase for part in parts for phrase in part["train"]]
    held_out = [phrase for part in parts for phrase in part["held_out"]]
    assert len(train) == len(set(train))
    assert not set(train) & set(held_out)
    for sign, part in wordings["signs"].items():
        assert len(part["held_out"]) >= 4, sign
        assert (len(part["train"]) == 0) if sign in UNSEEN else (len(part["train"]) >= 14), sign
    words = set(re.findall(r"[a-z]+", " ".join(train).lower()))
    assert len(words) > 500
    known = [w in words for p in held_out for w in re.findall(r"[a-z]+", p.lower())]
    assert np.mean(known) > 0.9


def test_captions_never_name_a_category_that_is_not_a_sign(wordings):
    names = [n.lower().replace("_", " ") for n in CHESTXRAY8 if n not in ("Mass", "Nodule")]
    train = [p for part in wordings["signs"].values() for p in part["train"]]
    for phrase in train + wordings["normal"]["train"]:
        assert not any(name in phrase.lower() for name in names), phrase


def test_bank_matches_categories(bank, wordings):
    assert bank["modality"] == MODALITY.title
    assert list(bank["categories"]) == CHESTXRAY8
    assert 4 <= len(bank["normal"]) <= 6
    train = {p for part in wordings["signs"].values() for p in part["train"]}
    sentences = [s for c in bank["categories"].values() for s in c["signs"]]
    assert len(sentences) == len(set(sentences))
    assert not set(sentences) & train
    assert all(len(s.split()) < 20 for s in sentences + bank["normal"])
    assert all(4 <= len(c["signs"]) <= 8 for c in bank["categories"].values())
