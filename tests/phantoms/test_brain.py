"""The brain MRI phantom: exact masks, visible signs, and wordings and bank that fit it."""

from importlib import resources

import numpy as np
import pytest
import yaml

from sdmad.phantoms.base import grid
from sdmad.phantoms.brain import MODALITY, SIGNS, compose
from sdmad.phantoms.brain_anatomy import SEQUENCES, capsules, curve

VIEW_SIGNS = [(view, sign) for view, signs in MODALITY.views.items() for sign in signs]
CATEGORIES = (
    "Craniotomy",
    "Posttreatment change",
    "Nonspecific lesion",
    "Dural thickening",
    "Enlarged ventricles",
    "Small vessel chronic white matter ischemic change",
)


def load(package: str, name: str) -> dict:
    return yaml.safe_load((resources.files("sdmad") / package / name).read_text())


WORDINGS = load("phantoms/wordings", "brain.yaml")
BANK = load("signs/banks", "brain.yaml")


def phrases(entry) -> list[str]:
    return entry if isinstance(entry, list) else entry["train"] + entry["held_out"]


@pytest.mark.parametrize("view", MODALITY.views)
def test_same_seed_same_picture(view):
    signs = MODALITY.views[view][:3]
    first, first_masks = MODALITY.render(np.random.default_rng(4), signs, 128, view)
    second, second_masks = MODALITY.render(np.random.default_rng(4), signs, 128, view)
    other, _ = MODALITY.render(np.random.default_rng(5), signs, 128, view)
    assert np.array_equal(first, second)
    assert all(np.array_equal(first_masks[s], second_masks[s]) for s in signs)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("view", "sign"), VIEW_SIGNS)
def test_sign_changes_the_picture_inside_its_mask_and_nowhere_else(view, sign):
    for seed in range(8):
        shown, masks = compose(seed, [sign], 128, view)
        plain, none = compose(seed, [], 128, view, like=[sign])
        mask = masks[sign]
        assert none == {}
        assert mask.shape == (128, 128)
        assert mask.dtype == np.bool_
        assert mask.sum() >= 9
        assert np.array_equal(shown[~mask], plain[~mask])
        assert np.abs(shown - plain)[mask].mean() >= 0.04


@pytest.mark.parametrize("size", [96, 160])
@pytest.mark.parametrize("view", MODALITY.views)
def test_all_signs_together_at_other_sizes(view, size):
    signs = [s for s in MODALITY.views[view] if s != "small_bright_focus"]
    image, masks = MODALITY.render(np.random.default_rng(size), signs, size, view)
    assert image.shape == (size, size)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert list(masks) == signs
    assert all(mask.any() for mask in masks.values())


def test_order_of_the_signs_does_not_matter():
    signs = ["thick_falx", "resection_cavity", "large_ventricles"]
    forwards, _ = compose(3, signs, 128, "axial")
    backwards, _ = compose(3, signs[::-1], 128, "axial")
    assert np.array_equal(forwards, backwards)


def test_normal_heads_differ_in_contrast_and_framing():
    heads = np.stack([compose(seed, [], 128, "axial")[0] for seed in range(24)])
    filled = (heads > 0.15).mean(axis=(1, 2))
    assert filled.max() > 1.3 * filled.min()
    assert heads[:, 60:68, 40:50].mean(axis=(1, 2)).std() > 0.05
    assert heads.std(axis=0).mean() > 0.1


def test_unknown_sign_or_view():
    with pytest.raises(KeyError):
        compose(0, ["nothing of the kind"], 128, "axial")
    with pytest.raises(KeyError):
        compose(0, [], 128, "oblique")


def test_capsules_against_distances_worked_by_hand():
    y, x = np.float32([[0.0, 3.0, 0.0, -2.0]]), np.float32([[2.0, 2.0, 6.0, -1.0]])
    distance = capsules(x, y, [(0, 0, 1), (4, 0, 2)])
    # nearest points (2,0), (2,0), (4,0), (0,0); radii 1.5, 1.5, 2, 1
    assert distance[0] == pytest.approx([-1.5, 1.5, 0.0, np.sqrt(5) - 1], abs=1e-6)
    # a second capsule from (4,0) up to (4,4) comes nearer to the point (2,3) than the first
    joined = capsules(x, y, [(0, 0, 1), (4, 0, 2), (4, 4, 1)])
    assert joined[0] == pytest.approx([-1.5, 0.75, 0.0, np.sqrt(5) - 1], abs=1e-6)


def test_curve_keeps_the_ends_and_cuts_the_corner():
    rounded = curve([(0, 0, 1), (4, 0, 1), (4, 4, 3)])
    assert rounded == [(0, 0, 1), (3, 0, 1), (4, 1, 1.5), (4, 4, 3)]


def test_fluid_is_dark_or_bright_as_the_sequence_says():
    mask_value = []
    for seed in range(30):
        image, masks = compose(seed, ["large_ventricles"], 128, "axial")
        mask_value.append(float(np.median(image[masks["large_ventricles"]])))
    assert SEQUENCES["t2"]["csf"] > SEQUENCES["t2"]["grey"] > SEQUENCES["t2"]["white"]
    assert SEQUENCES["t1"]["csf"] < SEQUENCES["t1"]["grey"] < SEQUENCES["t1"]["white"]
    assert min(mask_value) < 0.2
    assert max(mask_value) > 0.6


def test_rim_lies_in_a_ring_and_falx_in_the_middle():
    _, x = grid(128)
    for seed in range(6):
        signs = ["bright_dural_rim", "thick_falx"]
        _, masks = compose(seed, signs, 128, "axial")
        rim, falx = (masks[s] for s in signs)
        assert not rim[54:74, 54:74].any()
        assert np.abs(x[falx]).mean() < 0.5 * np.abs(x[rim]).mean()


def test_categories_rest_on_their_own_signs():
    assert tuple(MODALITY.categories) == CATEGORIES
    assert MODALITY.multi_label
    assert MODALITY.main_view == "axial"
    assert MODALITY.unseen_categories() == ("Dural thickening",)
    owners = [sign for c in MODALITY.categories.values() for sign in c.own]
    assert len(owners) == len(set(owners))
    for category in MODALITY.categories.values():
        assert category.own
        assert set(category.own + category.shared) <= set(MODALITY.signs)
        assert not set(category.shared) & set(owners)
    others = [c for n, c in MODALITY.categories.items() if n != "Dural thickening"]
    assert not any(MODALITY.unseen & set(c.own + c.shared) for c in others)


def test_views_are_subsets_of_the_signs():
    assert len(MODALITY.signs) >= 13
    assert MODALITY.signs == SIGNS
    for view, signs in MODALITY.views.items():
        assert set(signs) <= set(MODALITY.signs)
        assert len(signs) >= 6
        if view != MODALITY.main_view:
            assert not set(signs) & MODALITY.unseen


def test_wordings_cover_every_sign_and_view():
    assert set(WORDINGS["signs"]) == set(MODALITY.signs)
    assert set(WORDINGS["views"]) == set(MODALITY.views)
    assert all(len(v) >= 4 for v in WORDINGS["views"].values())
    assert len(WORDINGS["modality"]["train"]) >= 8
    assert len(WORDINGS["modality"]["held_out"]) == 2
    assert len(WORDINGS["normal"]["train"]) >= 14
    assert len(WORDINGS["normal"]["held_out"]) >= 4
    for sign, entry in WORDINGS["signs"].items():
        assert len(entry["held_out"]) >= 4
        if sign in MODALITY.unseen:
            assert entry["train"] == []
        else:
            assert len(entry["train"]) >= 14


def test_wordings_are_distinct_lower_case_and_name_no_category():
    entries = [*WORDINGS["signs"].values(), *WORDINGS["views"].values(), WORDINGS["normal"]]
    every = [p for entry in [*entries, WORDINGS["modality"]] for p in phrases(entry)]
    assert len(every) == len(set(every))
    for phrase in every:
        assert not phrase.endswith(".")
        assert phrase[0].islower() or phrase.startswith(("MRI", "MR "))
        assert not any(name.lower() in phrase.lower() for name in CATEGORIES)


def test_wordings_have_a_wide_vocabulary():
    train = [p for e in WORDINGS["signs"].values() for p in e["train"]]
    train += WORDINGS["normal"]["train"]
    words = {w for p in train for w in p.lower().replace(",", "").split()}
    held_out = {
        w
        for sign, e in WORDINGS["signs"].items()
        if sign not in MODALITY.unseen
        for p in e["held_out"]
        for w in p.lower().replace(",", "").split()
    }
    assert len(words) >= 400
    assert len(held_out - words) <= 0.05 * len(held_out)


def test_bank_names_the_categories_and_repeats_no_wording():
    assert BANK["modality"] == MODALITY.title
    assert tuple(BANK["categories"]) == CATEGORIES
    assert 4 <= len(BANK["normal"]) <= 6
    sentences = list(BANK["normal"])
    for category in BANK["categories"].values():
        assert 4 <= len(category["signs"]) <= 8
        sentences += category["signs"]
    assert len(sentences) == len(set(sentences))
    assert all(len(s.split()) < 20 for s in sentences)
    seen = {p for e in WORDINGS["signs"].values() for p in e["train"]}
    seen |= set(WORDINGS["normal"]["train"])
    assert not seen & set(sentences)
