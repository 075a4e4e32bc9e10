"""Sign selection, Definition 3.2 to Eq. 6: by hand, decision by decision, and by an oracle."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from sdmad.method.selection import emptied_categories, select_signs, sign_margins

INF = math.inf


def at(*degrees):
    """Unit vectors of the plane at these angles, ``(S, 2)``; d is 1 - cos of their difference."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_definition_3_2_and_delta_by_hand():
    # Category 0 at 0 and 60 degrees, category 1 at 90, category 2 at 180.
    # d(60) = 1 - .5 = .5, d(90) = 1, d(30) = 1 - .8660 = .1340, d(180) = 2, d(120) = 1.5.
    # Sign 0 (0): own .5; foreign min(d(90), d(180)) = 1, its nearest sign 2.
    # Sign 1 (60): own .5; foreign min(d(30), d(120)) = .1340, sign 2.
    # Sign 2 (90): the only one of its category; foreign min(d(90), d(30), d(90)) = .1340, sign 1.
    # Sign 3 (180): the only one; foreign min(2, 1.5, 1) = 1, sign 2.
    margins = sign_margins(at(0, 60, 90, 180), torch.tensor([0, 0, 1, 2]))
    near = 1 - math.cos(math.pi / 6)
    expect = torch.tensor
    torch.testing.assert_close(margins.own, expect([0.5, 0.5, INF, INF], dtype=torch.float64))
    torch.testing.assert_close(margins.foreign, expect([1.0, near, near, 1.0], dtype=torch.float64))
    assert margins.nearest_foreign.tolist() == [2, 2, 1, 2]
    torch.testing.assert_close(
        margins.margin, expect([0.5, near - 0.5, -INF, -INF], dtype=torch.float64)
    )


def test_equation_6_by_hand():
    # As above: sign 0 has .5 < 1 and stays, sign 1 has .5 > .1340 and goes; the others are the
    # only ones of their categories and stay.
    keep = select_signs(at(0, 60, 90, 180), torch.tensor([0, 0, 1, 2]))
    assert keep.dtype == torch.bool
    assert keep.tolist() == [True, False, True, True]


def test_the_inequality_of_equation_6_is_strict():
    features = torch.tensor(
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.8, 0.0, 0.6], [0.0, 0.0, -1.0], [0.0, 0.0, -1.0]]
    )
    # Sign 1 is orthogonal to every other sign: own 1, foreign 1, not smaller, so it goes.
    # Signs 0 and 2 have own .2 and foreign 1 or more; signs 3 and 4 are the same.
    keep = select_signs(features, torch.tensor([0, 0, 0, 1, 1]))
    assert keep.tolist() == [True, False, True, True, True]


def test_decision_the_sign_itself_is_left_out_of_its_own_distance():
    # Were sign 0 compared with itself, its own distance would be 0 and it would stay.
    margins = sign_margins(at(0, 90, 10), torch.tensor([0, 0, 1]))
    assert margins.own[0] == pytest.approx(1.0)
    assert select_signs(at(0, 90, 10, 15), torch.tensor([0, 0, 1, 1])).tolist() == [
        False,  # own 1, foreign d(10): goes
        True,  # own 1, foreign d(75) = .74: the largest margin of an emptied category
        True,
        True,
    ]


def test_decision_identical_embeddings_in_one_category_support_each_other():
    # Two at 0, one foreign sign at 1 degree: own distance 0, foreign 1 - cos(1 deg) > 0.
    features, category = at(0, 0, 1, 40), torch.tensor([0, 0, 1, 1])
    margins = sign_margins(features, category)
    assert margins.own[:2].tolist() == [0, 0]
    assert select_signs(features, category)[:2].tolist() == [True, True]


def test_decision_the_same_sentence_in_two_categories_is_dropped_from_both():
    # Signs 1 and 3 are the same sentence: foreign distance 0, never above the own distance.
    features, category = at(0, 5, 90, 5, 95), torch.tensor([0, 0, 1, 1, 1])
    margins = sign_margins(features, category)
    assert margins.foreign[[1, 3]].tolist() == [0, 0]
    # The others stay: sign 0 has d(5) against d(5), the same; so it is emptied and refilled.
    assert select_signs(features, category).tolist() == [True, False, True, False, True]


def test_identical_embeddings_in_one_and_in_another_category_go_all():
    # Twice in category 0 and once in 1: own 0, foreign 0, and 0 < 0 does not hold.
    features, category = at(0, 0, 20, 25, 0), torch.tensor([0, 0, 0, 0, 1])
    assert select_signs(features, category).tolist() == [False, False, True, True, True]


def test_identical_float32_embeddings_are_at_distance_zero_exactly():
    generator = torch.Generator().manual_seed(0)
    once = normalize(torch.randn(20, 512, generator=generator), dim=1)
    # A float32 unit vector's product with itself is not 1 exactly: rounding leaves a distance.
    assert (1 - (once * once).sum(dim=1)).max() > 0
    # Every sentence twice in one category, then once in each of two.
    within = sign_margins(torch.cat([once, once]), torch.arange(20).repeat(2))
    assert within.own.tolist() == [0] * 40
    assert within.foreign.min() > 0.5
    across = sign_margins(torch.cat([once, once]), torch.arange(2).repeat_interleave(20))
    assert across.foreign.tolist() == [0] * 40
    assert across.own.min() > 0.5


def test_decision_a_category_with_one_sign_keeps_it():
    # Its only sign lies within a foreign cluster, yet stays.
    keep = select_signs(at(0, 1, 2), torch.tensor([0, 1, 1]))
    assert keep[0]


def test_decision_a_category_whose_signs_are_all_discarded_keeps_the_largest_margin():
    # Category 0 at 0, 90 and 200, category 1 at 5, 80 and 170, each foreign sign nearer:
    # margins delta - D_inf of category 0:
    #   0:   (1 - cos 5)  - (1 - cos 90)  = .0038 - 1      = -.9962
    #   90:  (1 - cos 10) - (1 - cos 90)  = .0152 - 1      = -.9848
    #   200: (1 - cos 30) - (1 - cos 110) = .1340 - 1.3420 = -1.2080
    features, category = at(0, 90, 200, 5, 80, 170), torch.tensor([0, 0, 0, 1, 1, 1])
    assert select_signs(features, category).tolist()[:3] == [False, True, False]
    assert emptied_categories(features, category) == [0, 1]


def test_emptied_categories_names_only_those_that_lose_several_signs():
    # Category 0 (one sign) is never "emptied", category 1 keeps signs, category 2 loses both:
    # at 50 and 140, with foreign signs at 45 and 135.
    features = at(45, 135, 136, 50, 140)
    category = torch.tensor([0, 1, 1, 2, 2])
    assert emptied_categories(features, category) == [2]


def test_decision_one_category_only_keeps_every_sign():
    category = torch.zeros(3, dtype=torch.int64)
    margins = sign_margins(at(0, 90, 180), category)
    assert margins.foreign.tolist() == [INF, INF, INF]
    assert margins.nearest_foreign.tolist() == [-1, -1, -1]
    assert select_signs(at(0, 90, 180), category).tolist() == [True, True, True]
    assert emptied_categories(at(0, 90, 180), category) == []
    # One category of one sign: nothing to compare with at all.
    assert select_signs(at(0), category[:1]).tolist() == [True]


def naive_selection(signs, category):
    """Definition 3.2, Remark 3.3 and Eq. 6 with METHOD's decisions, in loops over numbers."""

    def d(a, b):
        return 0.0 if a == b else 1 - sum(x * y for x, y in zip(a, b, strict=True))

    def distance_to(i, c):
        others = [j for j, k in enumerate(category) if k == c and j != i]
        return min((d(signs[i], signs[j]) for j in others), default=INF)

    K = max(category) + 1
    own = [distance_to(i, c) for i, c in enumerate(category)]
    delta = [
        min((distance_to(i, k) for k in range(K) if k != c), default=INF)
        for i, c in enumerate(category)
    ]
    keep = [a < b for a, b in zip(own, delta, strict=True)]
    emptied = []
    for c in range(K):
        mine = [i for i, k in enumerate(category) if k == c]
        if not any(keep[i] for i in mine):
            if len(mine) > 1:
                emptied.append(c)
                keep[max(mine, key=lambda i: delta[i] - own[i])] = True
            else:
                keep[mine[0]] = True
    return keep, emptied


@pytest.mark.parametrize("seed", range(20))
def test_against_loops_written_from_the_paper(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 6, (4,), generator=generator)
    category = torch.repeat_interleave(torch.arange(4), sizes)
    category = category[torch.randperm(len(category), generator=generator)]
    features = torch.randn(len(category), 3, generator=generator, dtype=torch.float64)
    if seed % 2:  # some sentences stand twice
        features[-1] = features[0]
    features = normalize(features, dim=1)
    keep, emptied = naive_selection(features.tolist(), category.tolist())
    assert select_signs(features, category).tolist() == keep
    assert emptied_categories(features, category) == emptied


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_signs_does_not_matter(seed):
    generator = torch.Generator().manual_seed(seed)
    features = normalize(torch.randn(12, 4, generator=generator), dim=1)
    category = torch.arange(12) % 3
    order = torch.randperm(12, generator=generator)
    assert torch.equal(
        select_signs(features[order], category[order]), select_signs(features, category)[order]
    )


def test_every_category_keeps_a_sign_even_when_all_embeddings_collapse():
    category = torch.arange(12) % 3
    keep = select_signs(torch.ones(12, 4) / 2, category)
    assert torch.bincount(category[keep], minlength=3).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("features", "category", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), r"got \(3, 2\) and \(2,\)"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), r"got \(3,\) and \(3,\)"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), "no sign to select from"),
        (torch.zeros(2, 2), torch.tensor([0, -1]), "must count from 0, got -1"),
    ],
)
def test_wrong_shapes_raise_with_expected_and_actual(features, category, message):
    for function in (select_signs, sign_margins, emptied_categories):
        with pytest.raises(ValueError, match=message):
            function(features, category)


def test_a_category_without_a_sign_raises():
    with pytest.raises(ValueError, match="category 1 has no sign"):
        select_signs(at(0, 90), torch.tensor([0, 2]))
