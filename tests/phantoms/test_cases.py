from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from sdmad.errors import InputError
from sdmad.phantoms.acquisition import STYLES
from sdmad.phantoms.cases import (
    MODALITIES,
    draw_cases,
    draw_categories,
    draw_signs,
    load_modality,
    render_case,
)


@pytest.fixture(scope="module", params=MODALITIES)
def modality(request):
    return load_modality(request.param)


@pytest.fixture(scope="module")
def cases(modality):
    return list(draw_cases(modality, 80, 3, "validation", 96))


def test_the_seed_settles_everything(modality):
    first = list(draw_cases(modality, 6, 1, size=96))
    again = list(draw_cases(modality, 6, 1, size=96))
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.image, other.image)
        assert (one.categories, one.signs, one.patient) == (
            other.categories,
            other.signs,
            other.patient,
        )
        for sign in one.signs:
            assert np.array_equal(one.masks[sign], other.masks[sign])


def test_more_images_begin_with_the_same_ones(modality):
    few = list(draw_cases(modality, 4, 5, size=96))
    many = list(islice(draw_cases(modality, 400, 5, size=96), 4))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(few, many, strict=True))


def test_seeds_and_styles_never_share_a_picture(modality):
    seen = [
        case.image.tobytes()
        for seed in (0, 1)
        for style in STYLES
        for case in draw_cases(modality, 4, seed, style, 96)
    ]
    assert len(set(seen)) == len(seen)


def test_styles_draw_other_findings(modality):
    drawn = {
        style: [case.signs for case in draw_cases(modality, 12, 0, style, 96)] for style in STYLES
    }
    assert len({tuple(signs) for signs in drawn.values()}) == len(STYLES)


def test_styles_acquire_one_picture_differently(modality):
    sign = modality.signs[0]
    pictures = [
        render_case(modality, [sign], style, 96, (7, 11))[0].astype(float) for style in STYLES
    ]
    for a in range(len(pictures)):
        for b in range(a):
            assert np.abs(pictures[a] - pictures[b]).mean() > 1


def test_the_pictures_are_grey_or_in_colour_and_each_sign_has_its_mask(modality, cases):
    for case in cases:
        assert case.image.dtype == np.uint8
        colour = (3,) if modality.name in ("skin", "fundus") else ()
        assert case.image.shape == (96, 96, *colour)
        assert set(case.masks) == set(case.signs)
        assert all(m.shape == (96, 96) and m.dtype == bool for m in case.masks.values())
    masks = [mask for case in cases for mask in case.masks.values()]
    assert np.mean([mask.any() for mask in masks]) > 0.95


def test_each_category_shows_a_sign_of_its_own_and_no_foreign_one(modality, cases):
    for case in cases:
        allowed = set()
        for name in case.categories:
            category = modality.categories[name]
            assert set(category.own) & set(case.signs), (name, case.signs)
            allowed |= {*category.own, *category.shared}
        assert set(case.signs) <= allowed
        for pair in modality.excludes:
            assert not pair <= set(case.signs)


def test_own_signs_tell_categories_apart(modality):
    owners = Counter(sign for category in modality.categories.values() for sign in category.own)
    assert set(owners.values()) == {1}
    for name, category in modality.categories.items():
        for other, foreign in modality.categories.items():
            if name != other:
                assert not set(category.own) & set(foreign.shared)
        assert {*category.own, *category.shared} <= set(modality.signs)


def test_a_patients_second_image_has_the_same_findings_and_another_acquisition(modality):
    cases = list(draw_cases(modality, 80, 2, size=96))
    people = Counter(case.patient for case in cases)
    assert set(people.values()) == {1, 2}
    assert sorted(people) == list(range(len(people)))
    for first, second in pairwise(cases):
        if first.patient == second.patient:
            assert first.categories == second.categories
            assert first.signs == second.signs
            assert not np.array_equal(first.image, second.image)


def test_normal_single_and_several_findings_occur_as_the_modality_allows(modality):
    rng = np.random.default_rng(0)
    counts = Counter(len(draw_categories(modality, rng)) for _ in range(400))
    assert 0.15 < counts[0] / 400 < 0.35
    assert set(counts) == ({0, 1, 2, 3} if modality.multi_label else {0, 1})


def test_every_sign_is_drawn_some_time(modality):
    rng = np.random.default_rng(1)
    seen = set()
    for name in modality.categories:
        for _ in range(60):
            seen |= set(draw_signs(modality, [name], rng))
    of_categories = {s for c in modality.categories.values() for s in (*c.own, *c.shared)}
    assert seen == of_categories <= set(modality.signs)


def test_categories_that_rest_on_unseen_signs_are_known(modality):
    assert len(modality.unseen) >= 2
    assert modality.unseen <= set(modality.signs)
    for name in modality.unseen_categories():
        assert set(modality.categories[name].own) <= modality.unseen


@pytest.mark.parametrize("name", ["brain", "chest", "breast", "thyroid", "skin", "fundus"])
def test_unseen_categories_exist_where_categories_rest_on_unseen_signs(name):
    assert load_modality(name).unseen_categories()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"style": "clinical"}, "no acquisition style 'clinical'"),
        ({"size": 95}, "96 to 2048"),
        ({"size": 2049}, "96 to 2048"),
        ({"images": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
    ],
)
def test_what_is_out_of_range_is_refused(modality, arguments, said):
    with pytest.raises(InputError, match=said):
        next(draw_cases(modality, **{"images": 1, "seed": 0, **arguments}))


def test_an_unknown_modality_is_refused():
    with pytest.raises(InputError, match="there are brain, chest, oct, breast, thyroid, skin, "):
        load_modality("knee")
