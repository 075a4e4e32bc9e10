"""The retinal OCT phantom: exact masks, visible signs, wordings and bank that fit together."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import sdmad
from sdmad.phantoms import oct_signs
from sdmad.phantoms.oct import MODALITY, render

ROOT = Path(sdmad.__path__[0])
WORDINGS = yaml.safe_load((ROOT / "phantoms/wordings/oct.yaml").read_text())
BANK = yaml.safe_load((ROOT / "signs/banks/oct.yaml").read_text())
CASES = [(view, sign) for view, signs in MODALITY.views.items() for sign in signs]


def draw(seed, signs, view="foveal", size=128):
    return render(np.random.default_rng(seed), signs, size, view)


def flat_retina(size=8):
    thickness = np.zeros((18, size), np.float32)
    thickness[oct_signs.NFL] = 2
    thickness[oct_signs.ONL] = 10
    thickness[oct_signs.RPE] = 3
    return oct_signs.Retina(
        x=np.linspace(-1, 1, size, dtype=np.float32),
        bruch=np.full(size, 50, np.float32),
        thickness=thickness,
        level=np.ones((18, size), np.float32),
        pitless=thickness.copy(),
        total=15.0,
        fovea=0.0,
    )


def test_edges_stack_up_from_bruch():
    edges = flat_retina().edges()[:, 0]
    assert edges[oct_signs.CHOROID] == edges[oct_signs.BRUCH] == 50
    assert edges[oct_signs.DEPOSIT] == 47  # top of a 3 px pigment epithelium
    assert edges[oct_signs.NFL] == 37
    assert edges[oct_signs.VITREOUS] == 35


def test_lift_raises_the_surface_by_what_is_not_absorbed():
    retina = flat_retina()
    retina.lift(oct_signs.SUBRETINAL, np.full(8, 4, np.float32), absorbed=0.25)
    assert retina.thickness[oct_signs.ONL] == pytest.approx(9)
    assert retina.edges()[oct_signs.VITREOUS] == pytest.approx(35 - 3)


def test_settle_restores_the_whole_thickness():
    retina = flat_retina()
    retina.thickness[oct_signs.DEPOSIT] += 5
    retina.settle(np.full(8, 15, np.float32))
    assert retina.thickness.sum(0) == pytest.approx(15)
    assert retina.thickness[oct_signs.ONL] == pytest.approx(5)


def test_dome_and_plateau():
    x = np.array([-1, -0.5, 0, 0.5, 1], np.float32)
    assert oct_signs.dome(x, 0.0, 1.0) == pytest.approx([0, 0.75, 1, 0.75, 0])
    assert oct_signs.plateau(x, 0.0, 0.5, 0.1) == pytest.approx([0, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize(("view", "sign"), CASES)
def test_sign_is_visible_and_its_mask_exact(view, sign):
    for seed in range(5):
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
        assert change[~mask].max() <= 0.025


def test_all_signs_at_once():
    for view, signs in MODALITY.views.items():
        for seed in range(5):
            image, masks = draw(seed, signs, view)
            assert set(masks) == set(signs)
            assert np.isfinite(image).all()
            assert all(mask.any() for mask in masks.values())


def test_pairs_of_a_category_both_show():
    for category in MODALITY.categories.values():
        signs = category.own + category.shared
        for a in signs:
            for b in signs:
                if a < b and frozenset((a, b)) not in MODALITY.excludes:
                    both, masks = draw(3, (a, b))
                    for other, mine in ((a, b), (b, a)):
                        alone, _ = draw(3, (other,))
                        change = np.abs(both - alone)
                        assert masks[mine].any()
                        assert change.max() > 0.1, (mine, other)


def test_deterministic_and_order_of_signs_is_irrelevant():
    signs = ("intraretinal_cysts", "subretinal_fluid", "hyperreflective_foci")
    first, masks = draw(11, signs)
    second, others = draw(11, signs[::-1])
    np.testing.assert_array_equal(first, second)
    for name in signs:
        np.testing.assert_array_equal(masks[name], others[name])
    assert np.abs(first - draw(12, signs)[0]).mean() > 0.01


@pytest.mark.parametrize("size", [96, 192])
def test_other_sizes(size):
    for view, signs in MODALITY.views.items():
        image, masks = draw(2, signs[-3:], view, size)
        assert image.shape == (size, size)
        assert all(mask.any() and mask.shape == image.shape for mask in masks.values())


def test_foveal_view_has_a_pit_and_parafoveal_none():
    def hollow(view):
        """Missing thickness at the fovea relative to the same retina without the pit."""
        from sdmad.phantoms.oct import _anatomy

        retina = _anatomy(np.random.default_rng(4), 128, view)
        at = np.abs(retina.x - retina.fovea).argmin()
        return 1 - retina.thickness.sum(0)[at] / retina.pitless.sum(0)[at]

    assert hollow("foveal") > 0.25
    assert hollow("parafoveal") == 0


def test_modality_is_consistent():
    known = set(MODALITY.signs)
    assert MODALITY.main_view == "foveal"
    assert len(known) >= 10
    assert len(MODALITY.views["parafoveal"]) >= 6
    assert all(set(signs) <= known for signs in MODALITY.views.values())
    assert list(MODALITY.categories) == ["CNV", "DME", "Drusen"]
    assert MODALITY.unseen_categories() == ("CNV",)
    assert not MODALITY.multi_label
    owners = [sign for c in MODALITY.categories.values() for sign in c.own]
    assert len(owners) == len(set(owners))
    for category in MODALITY.categories.values():
        assert set(category.own + category.shared) <= known
    for c in MODALITY.categories.values():
        assert not {s for other in MODALITY.categories.values() for s in other.shared} & set(c.own)


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
    assert all(len(phrases) >= 4 for phrases in WORDINGS["views"].values())
    assert len(WORDINGS["modality"]["train"]) >= 8
    assert len(WORDINGS["modality"]["held_out"]) >= 2
    assert len(WORDINGS["normal"]["train"]) >= 14
    for name, sign in WORDINGS["signs"].items():
        assert len(sign["held_out"]) >= 4
        if name in MODALITY.unseen:
            assert sign["train"] == []
        else:
            assert len(sign["train"]) >= 14


def test_wordings_are_distinct_and_name_no_category():
    train, held_out = list(training_phrases()), list(held_out_phrases())
    assert len(set(train)) == len(train)
    assert len(set(held_out)) == len(held_out)
    assert not set(train) & set(held_out)
    names = re.compile(r"\b(cnv|dme|drusen|neovasculari[sz]ation|diabetic)\b", re.IGNORECASE)
    assert not [phrase for phrase in train if names.search(phrase)]
    words = {word for phrase in train for word in re.findall(r"[a-z]+", phrase.lower())}
    assert len(words) >= 300
    heard = [word for phrase in held_out for word in re.findall(r"[a-z]+", phrase.lower())]
    assert np.mean([word in words for word in heard]) > 0.9


def test_bank_fits_the_modality_and_rewords():
    assert list(BANK["categories"]) == list(MODALITY.categories)
    assert 4 <= len(BANK["normal"]) <= 6
    sentences = list(BANK["normal"])
    for category in BANK["categories"].values():
        assert 4 <= len(category["signs"]) <= 8
        sentences += category["signs"]
    assert len(set(sentences)) == len(sentences)
    assert not set(sentences) & (set(training_phrases()) | set(held_out_phrases()))
    assert all(len(sentence.split()) < 20 for sentence in sentences)
