import math

import pytest
import torch

from sdmad.baselines.pixel_losses import both_sides_loss, dice_loss, focal_loss

PROBABILITIES = torch.tensor([[[0.5, 0.25]]])
MASK = torch.tensor([[[1.0, 0.0]]])


def test_the_focal_loss_is_that_of_two_pixels_worked_by_hand():
    # True classes have 0.5 and 0.75: 0.25 log 2 and 0.0625 log(4 / 3), up to the smoothing.
    expected = (0.25 * math.log(2) + 0.0625 * math.log(4 / 3)) / 2
    assert focal_loss(PROBABILITIES, MASK).item() == pytest.approx(expected, abs=2e-5)


def test_the_focal_loss_is_finite_and_small_where_all_is_right():
    assert 0 <= focal_loss(MASK, MASK).item() < 1e-4
    assert focal_loss(1 - MASK, MASK).item() == pytest.approx(-math.log(2e-5), rel=1e-3)


def test_the_dice_loss_is_worked_by_hand():
    # 2 * 0.5 + 1 over 0.75 + 1 + 1.
    assert dice_loss(PROBABILITIES, MASK).item() == pytest.approx(1 - 2 / 2.75)
    both = torch.cat([PROBABILITIES, MASK]), torch.cat([MASK, MASK])
    assert dice_loss(*both).tolist() == pytest.approx([1 - 2 / 2.75, 0])


def test_both_sides_add_the_normal_class():
    # Normal has 0.5 and 0.75 against 0 and 1: 2 * 0.75 + 1 over 1.25 + 1 + 1.
    expected = focal_loss(PROBABILITIES, MASK) + (1 - 2 / 2.75) + (1 - 2.5 / 3.25)
    assert both_sides_loss(PROBABILITIES, MASK).item() == pytest.approx(expected.item())


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="do not fit masks"):
        focal_loss(PROBABILITIES, MASK[0])
    with pytest.raises(ValueError, match="do not fit masks"):
        dice_loss(PROBABILITIES[:, :, :1], MASK)
