import math

import pytest
import torch

from sdmad.baselines.components import pixel_losses
from sdmad.baselines.components.pixel_losses import both_sides_loss, one_side_loss

PROBABILITIES = torch.tensor([[[0.5, 0.25]]])
MASK = torch.tensor([[[1.0, 0.0]]])
# True classes have 0.5 and 0.75: 0.25 log 2 and 0.0625 log(4 / 3), up to the smoothing.
FOCAL = (0.25 * math.log(2) + 0.0625 * math.log(4 / 3)) / 2
# 2 * 0.5 + 1 over 0.75 + 1 + 1.
DICE = 1 - 2 / 2.75


def test_two_pixels_are_worked_by_hand():
    assert one_side_loss(PROBABILITIES, MASK).item() == pytest.approx(FOCAL + DICE, abs=2e-5)


def test_both_sides_add_the_normal_class():
    # Normal has 0.5 and 0.75 against 0 and 1: 2 * 0.75 + 1 over 1.25 + 1 + 1.
    expected = FOCAL + DICE + (1 - 2.5 / 3.25)
    assert both_sides_loss(PROBABILITIES, MASK).item() == pytest.approx(expected, abs=2e-5)


def test_it_is_finite_where_all_is_right_and_where_all_is_wrong():
    assert 0 <= both_sides_loss(MASK, MASK).item() < 1e-4
    wrong = (-math.log(2e-5)) + (1 - 1 / 3)  # Dice: nothing in common of one pixel each
    assert one_side_loss(1 - MASK, MASK).item() == pytest.approx(wrong, rel=1e-3)
    for loss in (one_side_loss, both_sides_loss):
        ends = (1 - MASK).requires_grad_()
        loss(ends, MASK).sum().backward()
        assert torch.isfinite(ends.grad).all()


def plain(p, m, both):
    """The formulas of the module's docstring, by autograd."""
    target = m.clamp(1e-5, 1 - 1e-5)
    true = target * p + (1 - target) * (1 - p) + 1e-5
    loss = -((1 - true) ** 2 * true.log()).mean(dim=(1, 2))
    for x, y in ((p, m), (1 - p, 1 - m))[: 1 + both]:
        dice = (2 * (x * y).sum(dim=(1, 2)) + 1) / (x.sum(dim=(1, 2)) + y.sum(dim=(1, 2)) + 1)
        loss = loss + 1 - dice
    return loss


@pytest.mark.parametrize("both", [False, True])
def test_value_and_derivative_are_those_of_the_formulas(both, monkeypatch):
    monkeypatch.setattr(pixel_losses, "CHUNK", 2 * 35)  # two images at a time, of five
    draws = torch.Generator().manual_seed(0)
    p = torch.rand(5, 5, 7, generator=draws, dtype=torch.float64)
    m = (torch.rand(5, 5, 7, generator=draws) < 0.3).double()
    m[1], m[2] = 0, 1
    weight = torch.arange(1.0, 6.0, dtype=torch.float64)
    results = []
    for loss in (both_sides_loss if both else one_side_loss, lambda p, m: plain(p, m, both)):
        mine = p.clone().requires_grad_()
        values = loss(mine, m)
        (values * weight).sum().backward()
        results.append((values.detach(), mine.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_of_no_image_there_is_no_loss():
    assert one_side_loss(PROBABILITIES[:0], MASK[:0]).shape == (0,)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="do not fit masks"):
        one_side_loss(PROBABILITIES, MASK[0])
    with pytest.raises(ValueError, match="do not fit masks"):
        both_sides_loss(PROBABILITIES[:, :, :1], MASK)
