"""Scores and decisions, Eq. 7 and 8: by hand, decision by decision, and by an oracle."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from sdmad.method.scoring import (
    abnormality,
    binary_predictions,
    category_scores,
    normal_anchor,
    pool_signs,
)

# In the plane: category 0 has (1, 0) and (.6, .8), category 1 has (0, 1) and (-.6, .8).
# The image (.8, .6) has cosines .8, .48 + .48 = .96, .6 and -.48 + .48 = 0.
# The image (0, 1) has cosines 0, .8, 1 and .8.
SIGNS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)
CATEGORY = torch.tensor([0, 0, 1, 1])
IMAGES = torch.tensor([[0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
ALL = torch.ones(4, dtype=torch.bool)


def table(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_equation_7_by_hand():
    torch.testing.assert_close(
        category_scores(IMAGES, SIGNS, CATEGORY, ALL), table([0.96, 0.6], [0.8, 1.0])
    )


def test_equation_7_looks_at_kept_signs_only():
    keep = torch.tensor([True, False, False, True])
    torch.testing.assert_close(
        category_scores(IMAGES, SIGNS, CATEGORY, keep), table([0.8, 0.0], [0.0, 0.8])
    )


def test_pooling_by_hand():
    # Means: (.8 + .96) / 2, (.6 + 0) / 2; (0 + .8) / 2, (1 + .8) / 2. Smallest: .8, 0; 0, .8.
    torch.testing.assert_close(
        category_scores(IMAGES, SIGNS, CATEGORY, ALL, "mean"), table([0.88, 0.3], [0.4, 0.9])
    )
    similarity = IMAGES @ SIGNS.T
    torch.testing.assert_close(
        pool_signs(similarity, CATEGORY, ALL, "min"), table([0.8, 0.0], [0.0, 0.8])
    )


def test_decision_equation_8_takes_the_smallest_cosine_not_the_largest():
    # Anchor (5, 12) / 13: cosines with the images (4 + 7.2) / 13 = .8615 and 12 / 13 = .9231.
    # Smallest cosines: image 0 .8 and 0, image 1 0 and .8: none exceeds the anchor's.
    anchor = torch.tensor([5 / 13, 12 / 13], dtype=torch.float64)
    assert binary_predictions(IMAGES, SIGNS, CATEGORY, ALL, anchor).tolist() == [
        [False, False],
        [False, False],
    ]
    # Largest: image 0 .96 and .6, image 1 .8 and 1: by sup each image would have a category.
    assert binary_predictions(IMAGES, SIGNS, CATEGORY, ALL, anchor, "max").tolist() == [
        [True, False],
        [False, True],
    ]


def test_equation_8_by_hand():
    # Anchor (.8, -.6): cosines .64 - .36 = .28 and -.6. Smallest of image 0: .8 > .28 and
    # 0 < .28; of image 1: 0 > -.6 and .8 > -.6.
    anchor = torch.tensor([0.8, -0.6], dtype=torch.float64)
    found = binary_predictions(IMAGES, SIGNS, CATEGORY, ALL, anchor)
    assert found.dtype == torch.bool
    assert found.tolist() == [[True, False], [True, True]]


def test_equation_8_must_exceed_the_anchor_strictly():
    # The sign is the anchor: their cosines are the same number.
    sign = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    arguments = (torch.tensor([[1.0, 0.0, 0.0, 0.0]]), sign, torch.tensor([0]))
    assert not binary_predictions(*arguments, torch.tensor([True]), sign[0]).any()


def test_equation_8_looks_at_kept_signs_only_and_the_mean_lies_between():
    # Anchor (.96, .28): cosines .768 + .168 = .936 and .28.
    anchor = torch.tensor([0.96, 0.28], dtype=torch.float64)
    keep = torch.tensor([False, True, True, True])
    # Image 0: smallest .96 (only sign 1) > .936; 0. Image 1: .8 > .28; smallest of 1, .8 > .28.
    assert binary_predictions(IMAGES, SIGNS, CATEGORY, keep, anchor).tolist() == [
        [True, False],
        [True, True],
    ]
    # All signs: image 1, category 0: smallest 0, mean .4, anchor .28.
    assert not binary_predictions(IMAGES, SIGNS, CATEGORY, ALL, anchor)[1, 0]
    assert binary_predictions(IMAGES, SIGNS, CATEGORY, ALL, anchor, "mean")[1, 0]


def test_decision_abnormality_is_the_best_category_against_the_anchor():
    # Image 0: .96 - .8; image 1: 1 - .96.
    scores = category_scores(IMAGES, SIGNS, CATEGORY, ALL)
    torch.testing.assert_close(
        abnormality(scores, torch.tensor([0.8, 0.96], dtype=torch.float64)),
        torch.tensor([0.16, 0.04], dtype=torch.float64),
    )


def test_decision_the_anchor_is_the_mean_made_unit_length_again():
    # Mean of (1, 0) and (.6, .8): (.8, .4), of length sqrt(.8): (.8944, .4472).
    anchor = normal_anchor(SIGNS[:2])
    expected = torch.tensor([0.8, 0.4], dtype=torch.float64) / math.sqrt(0.8)
    torch.testing.assert_close(anchor, expected)
    torch.testing.assert_close(normal_anchor(SIGNS[2:3]), SIGNS[2])


def test_decision_scores_never_depend_on_the_other_images():
    scores = category_scores(IMAGES, SIGNS, CATEGORY, ALL)
    for i in range(2):
        alone = category_scores(IMAGES[i : i + 1], SIGNS, CATEGORY, ALL)
        torch.testing.assert_close(alone[0], scores[i])


def naive(images, signs, category, keep, anchor):
    """Eq. 7 and 8 in loops: scores and predictions."""

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    scores, found = [], []
    for image in images:
        score_row, found_row = [], []
        for c in range(max(category) + 1):
            mine = [
                cosine(image, sign)
                for sign, k, kept in zip(signs, category, keep, strict=True)
                if k == c and kept
            ]
            score_row.append(max(mine))
            found_row.append(min(mine) > cosine(image, anchor))
        scores.append(score_row)
        found.append(found_row)
    return scores, found


@pytest.mark.parametrize("seed", range(10))
def test_against_loops_written_from_the_paper(seed):
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape):
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return normalize(values, dim=-1)

    category = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 2])
    keep = torch.rand(10, generator=generator) < 0.6
    keep[:3] = True  # every category keeps one
    images, signs, anchor = unit(6, 3), unit(10, 3), unit(3)
    scores, found = naive(*(x.tolist() for x in (images, signs, category, keep, anchor)))
    torch.testing.assert_close(category_scores(images, signs, category, keep), table(*scores))
    assert binary_predictions(images, signs, category, keep, anchor).tolist() == found


def test_a_category_without_a_kept_sign_raises():
    """The largest cosine over nothing would be minus infinity, the smallest plus infinity."""
    keep = torch.tensor([True, True, False, False])
    for score in (category_scores, binary_predictions):
        arguments = (IMAGES, SIGNS, CATEGORY, keep)
        with pytest.raises(ValueError, match="category 1 keeps no sign"):
            score(*arguments, *([SIGNS[0]] if score is binary_predictions else []))
    with pytest.raises(ValueError, match="category 1 keeps no sign"):
        category_scores(IMAGES, SIGNS, torch.tensor([0, 0, 2, 2]), ALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 3)}, r"\(n, D\), text_features \(S, D\), got \(2, 3\) and"),
        ({"images": torch.zeros(2)}, r"got \(2,\) and \(4, 2\)"),
        ({"signs": torch.zeros(4)}, r"got \(2, 2\) and \(4,\)"),
        ({"category": torch.zeros(3, dtype=torch.int64)}, r"got \(2, 4\), \(3,\) and \(4,\)"),
        ({"keep": torch.ones(3, dtype=torch.bool)}, r"got \(2, 4\), \(4,\) and \(3,\)"),
        ({"keep": torch.ones(4, dtype=torch.int64)}, "boolean, got torch.int64"),
        ({"anchor": torch.zeros(3)}, r"anchor must have shape \(2,\), got \(3,\)"),
        ({"anchor": torch.zeros(2, 1)}, r"anchor must have shape \(2,\), got \(2, 1\)"),
        (
            {
                "signs": torch.zeros(0, 2, dtype=torch.float64),
                "category": torch.zeros(0, dtype=torch.int64),
                "keep": torch.zeros(0, dtype=torch.bool),
            },
            "no sign to score with",
        ),
    ],
)
def test_wrong_shapes_raise_with_expected_and_actual(change, message):
    parts = {
        "images": IMAGES, "signs": SIGNS, "category": CATEGORY, "keep": ALL, "anchor": SIGNS[0],
    }  # fmt: skip
    parts |= change
    with pytest.raises(ValueError, match=message):
        binary_predictions(*parts.values())
    if "anchor" not in change:
        with pytest.raises(ValueError, match=message):
            category_scores(*list(parts.values())[:4])


def test_unknown_pooling_and_wrong_shapes_of_the_rest_raise():
    with pytest.raises(ValueError, match=r"one of \('max', 'mean', 'min'\), got 'sum'"):
        category_scores(IMAGES, SIGNS, CATEGORY, ALL, "sum")
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(3,\)"):
        abnormality(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 1\)"):
        abnormality(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"m > 0, got \(0, 3\)"):
        normal_anchor(torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r"m > 0, got \(3,\)"):
        normal_anchor(torch.zeros(3))
