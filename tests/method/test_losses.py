"""The inter-anomaly loss, Eq. 3 to 5: worked by hand, decision by decision, and by an oracle."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from sdmad.method.losses import anchor_loss, image_text_loss, inter_anomaly_loss

NAN = math.nan
LOSSES = [image_text_loss, anchor_loss, inter_anomaly_loss]

# In the plane, D = 2. Signs: category 0 has (1, 0) and (.8, .6), category 1 has (0, 1).
# The anchor is (.6, .8). The image is (1, 0). Distances 1 - cosine from the image:
#   sign 0: 0, sign 1: 1 - .8 = .2, sign 2: 1, anchor: 1 - .6 = .4.
SIGNS = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
CATEGORY = torch.tensor([0, 0, 1])
ANCHOR = torch.tensor([0.6, 0.8], dtype=torch.float64)
IMAGE = torch.tensor([[1.0, 0.0]], dtype=torch.float64)


def labels(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def hand(loss, rows, image=IMAGE, **settings):
    return float(loss(image, SIGNS, CATEGORY, ANCHOR, labels(*rows), **settings))


def test_equation_3_by_hand():
    # Sum over the signs of category 0: 0 + .2.
    assert hand(image_text_loss, [[1, 0]]) == pytest.approx(0.2)
    # Category 1 has one sign, at distance 1.
    assert hand(image_text_loss, [[0, 1]]) == pytest.approx(1.0)


def test_equation_4_by_hand():
    # Labelled category 0: own 0 - .4 and .2 - .4 are below 0; foreign .4 - 1 is below 0.
    assert hand(anchor_loss, [[1, 0]]) == 0
    # Labelled category 1: own 1 - .4 = .6; foreign .4 - 0 = .4 and .4 - .2 = .2. Sum 1.2.
    assert hand(anchor_loss, [[0, 1]]) == pytest.approx(1.2)


def test_equation_4_with_a_margin_by_hand():
    # Margin .3, category 0: own max(0, -.4 + .3) = 0 and max(0, -.2 + .3) = .1;
    # foreign max(0, .4 - 1 + .3) = 0. Sum .1.
    assert hand(anchor_loss, [[1, 0]], margin=0.3) == pytest.approx(0.1)
    # Category 1: (.6 + .3) + (.4 + .3) + (.2 + .3) = 2.1.
    assert hand(anchor_loss, [[0, 1]], margin=0.3) == pytest.approx(2.1)


def test_equation_5_by_hand():
    # Eq. 3 + Eq. 4 for category 1: 1 + 1.2; with weight .1 and margin .3: .1 + 2.1.
    assert hand(inter_anomaly_loss, [[0, 1]]) == pytest.approx(2.2)
    assert hand(inter_anomaly_loss, [[0, 1]], margin=0.3, image_text_weight=0.1) == pytest.approx(
        2.2
    )
    assert hand(inter_anomaly_loss, [[1, 0]], image_text_weight=0.5) == pytest.approx(0.1)


def test_sums_over_signs_are_averaged_over_images():
    # The image twice, once with each label: Eq. 3 (.2 + 1) / 2, Eq. 4 (0 + 1.2) / 2.
    rows, images = [[1, 0], [0, 1]], IMAGE.repeat(2, 1)
    assert hand(image_text_loss, rows, images) == pytest.approx(0.6)
    assert hand(anchor_loss, rows, images) == pytest.approx(0.6)


def test_decision_a_normal_image_has_the_anchor_as_positive_and_every_sign_as_negative():
    # Eq. 3: its distance to the anchor, .4. Eq. 4: the first hinge is zero; the second over all
    # signs: .4 - 0, .4 - .2, .4 - 1 -> .4 + .2 + 0 = .6.
    assert hand(image_text_loss, [[0, 0]]) == pytest.approx(0.4)
    assert hand(anchor_loss, [[0, 0]]) == pytest.approx(0.6)
    # With a margin .3 the first hinge is still zero (not the margin): .7 + .5 + 0 = 1.2.
    assert hand(anchor_loss, [[0, 0]], margin=0.3) == pytest.approx(1.2)


def test_decision_an_image_with_several_categories():
    # Both present: Eq. 3 over all three signs, 0 + .2 + 1. Eq. 4: no sign is a negative, so only
    # the own hinges: 0 + 0 + (1 - .4).
    assert hand(image_text_loss, [[1, 1]]) == pytest.approx(1.2)
    assert hand(anchor_loss, [[1, 1]]) == pytest.approx(0.6)


def test_decision_an_unknown_label_counts_neither_way():
    # Category 1 present, 0 unknown: only sign 2 counts: Eq. 3 1, Eq. 4 .6.
    assert hand(image_text_loss, [[NAN, 1]]) == pytest.approx(1.0)
    assert hand(anchor_loss, [[NAN, 1]]) == pytest.approx(0.6)
    # Category 0 present, 1 unknown: .2 and 0 + 0; a margin .3 reaches the own signs only: .1.
    assert hand(image_text_loss, [[1, NAN]]) == pytest.approx(0.2)
    assert hand(anchor_loss, [[1, NAN]], margin=0.3) == pytest.approx(0.1)


def test_decision_a_row_without_a_one_but_with_an_unknown_label_is_not_normal():
    # Not normal: no pull to the anchor. Category 0 is absent: its signs are negatives: .4 + .2.
    assert hand(image_text_loss, [[0, NAN]]) == 0
    assert hand(anchor_loss, [[0, NAN]]) == pytest.approx(0.6)
    # Nothing known: nothing.
    assert hand(inter_anomaly_loss, [[NAN, NAN]], margin=0.3) == 0


def test_an_image_with_another_finding_is_not_pulled_to_the_anchor():
    # Both categories absent: .4 to the anchor where it is normal, nothing where it is not; Eq. 4
    # holds either way: .4 less 0, .2 and 1, hinged.
    for normal, pull in ((None, 0.4), (True, 0.4), (False, 0.0)):
        told = None if normal is None else torch.tensor([normal])
        assert hand(image_text_loss, [[0, 0]], normal=told) == pytest.approx(pull)
        assert hand(inter_anomaly_loss, [[0, 0]], normal=told) == pytest.approx(pull + 0.6)


def test_an_image_without_a_known_label_still_counts_in_the_mean():
    # .2 from the first image, 0 from the second: mean .1.
    assert hand(image_text_loss, [[1, 0], [NAN, NAN]], IMAGE.repeat(2, 1)) == pytest.approx(0.1)


@pytest.mark.parametrize("rows", [[[1, 0]], [[0, 1]], [[0, 0]], [[1, 1]], [[1, 0], [0, 0]]])
def test_collapsed_embeddings_cost_nothing_without_a_margin_and_something_with_one(rows):
    """TRIAL, point 1: all embeddings equal is a minimum of Eq. 5; a margin lifts it."""
    point = torch.tensor([0.6, 0.8], dtype=torch.float64)
    n = len(rows)
    arguments = (point.repeat(n, 1), point.repeat(3, 1), CATEGORY, point, labels(*rows))
    assert float(inter_anomaly_loss(*arguments)) == pytest.approx(0.0, abs=1e-12)
    # Every known sign's hinge is then the margin itself, except a normal image's first hinge,
    # which has no sign: three signs a row, .3 each.
    assert float(inter_anomaly_loss(*arguments, margin=0.3)) == pytest.approx(0.9)


def naive(images, signs, category, anchor, label_rows, margin=0.0, weight=1.0):
    """Eq. 3 to 5, read off the paper's page, in Python numbers and loops.

    Returns Eq. 3, Eq. 4 and Eq. 5.
    """

    def d(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return 1 - dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))

    total3 = total4 = 0.0
    for image, row in zip(images, label_rows, strict=True):
        known = [not math.isnan(value) for value in row]
        if all(known) and not any(row):
            total3 += d(image, anchor)
        for sign, c in zip(signs, category, strict=True):
            if not known[c]:
                continue
            if row[c] == 1:
                total3 += d(image, sign)
                total4 += max(0.0, d(image, sign) - d(image, anchor) + margin)
            else:
                total4 += max(0.0, d(image, anchor) - d(image, sign) + margin)
    eq3, eq4 = total3 / len(images), total4 / len(images)
    return eq3, eq4, weight * eq3 + eq4


def random_case(seed, unknown=0.3):
    """Random unit embeddings, categories with one to four signs, labels 1, 0 and NaN."""
    generator = torch.Generator().manual_seed(seed)
    n, K, D = 5, 3, 4
    sizes = torch.randint(1, 5, (K,), generator=generator)
    category = torch.repeat_interleave(torch.arange(K), sizes)
    category = category[torch.randperm(len(category), generator=generator)]

    def unit(*shape):
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return normalize(values, dim=-1)

    label_rows = torch.randint(0, 2, (n, K), generator=generator).double()
    label_rows[torch.rand(n, K, generator=generator) < unknown] = NAN
    label_rows[0] = 0.0  # always a normal image
    return unit(n, D), unit(len(category), D), category, unit(D), label_rows


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("margin", "weight"), [(0.0, 1.0), (0.25, 0.1)])
def test_against_loops_written_from_the_paper(seed, margin, weight):
    case = random_case(seed)
    eq3, eq4, eq5 = naive(*(part.tolist() for part in case), margin=margin, weight=weight)
    assert float(image_text_loss(*case)) == pytest.approx(eq3)
    assert float(anchor_loss(*case, margin=margin)) == pytest.approx(eq4)
    assert float(inter_anomaly_loss(*case, margin, weight)) == pytest.approx(eq5)


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_integers_mean_the_same(seed):
    images, signs, category, anchor, rows = random_case(seed, unknown=0.0)
    for loss in LOSSES:
        assert torch.equal(
            loss(images, signs, category, anchor, rows),
            loss(images, signs, category, anchor, rows.long()),
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss, seed):
    images, signs, category, anchor, rows = random_case(seed)
    settings = {} if loss is image_text_loss else {"margin": 0.2}
    # Away from the hinges' kinks, or finite differences would straddle them.
    gap = (images @ signs.T - (images @ anchor).unsqueeze(1)).abs()
    assert (gap - settings.get("margin", 0)).abs().min() > 1e-4

    def run(i, s, a):
        return loss(i, s, category, a, rows, **settings)

    inputs = tuple(part.clone().requires_grad_() for part in (images, signs, anchor))
    assert torch.autograd.gradcheck(run, inputs)


def test_unknown_labels_leave_no_nan_in_the_gradient():
    images = IMAGE.clone().requires_grad_()
    inter_anomaly_loss(images, SIGNS, CATEGORY, ANCHOR, labels([NAN, 1]), 0.3).backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_scalar_of_the_features_type(loss, dtype):
    value = loss(IMAGE.to(dtype), SIGNS.to(dtype), CATEGORY, ANCHOR.to(dtype), labels([1, 0]))
    assert value.shape == ()
    assert value.dtype == dtype


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": torch.zeros(3, 5)}, r"text_features must have shape \(3, 2\), got \(3, 5\)"),
        ({"text": torch.zeros(4, 2)}, r"category must have shape \(4,\), got \(3,\)"),
        ({"text": torch.zeros(3)}, r"text_features must have shape \(3, 2\), got \(3,\)"),
        ({"anchor": torch.zeros(3)}, r"anchor must have shape \(2,\), got \(3,\)"),
        ({"anchor": torch.zeros(1, 2)}, r"anchor must have shape \(2,\), got \(1, 2\)"),
        ({"labels": torch.zeros(2, 2)}, r"labels must have shape \(1, 2\), got \(2, 2\)"),
        ({"labels": torch.zeros(2)}, r"labels .* got shape \(2,\)"),
        ({"labels": torch.zeros(1, 0)}, r"labels .* got shape \(1, 0\)"),
        ({"image": torch.zeros(2)}, r"image_features .* got shape \(2,\)"),
        ({"image": torch.zeros(0, 2)}, r"image_features .* got shape \(0, 2\)"),
        ({"category": torch.tensor([[0, 0, 1]])}, r"category .* \(3,\), got \(1, 3\)"),
        ({"category": torch.tensor([0, 0, 2])}, "2 columns of labels from 0, got 0 to 2"),
        ({"category": torch.tensor([-1, 0, 1])}, "2 columns of labels from 0, got -1 to 1"),
        ({"category": torch.tensor([True, False, True])}, "int64, got torch.bool"),
        ({"category": torch.tensor([0.0, 0.0, 1.0])}, "int64, got torch.float32"),
    ],
)
def test_wrong_shapes_raise_with_expected_and_actual(loss, change, message):
    parts = {
        "image": IMAGE, "text": SIGNS, "category": CATEGORY, "anchor": ANCHOR,
        "labels": labels([1, 0]),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        loss(*{**parts, **change}.values())
