import math

import pytest
import torch

from sdmad.baselines.mvfa.losses import detection_loss, segmentation_loss


def test_the_detection_loss_is_worked_by_hand():
    # Patches with the odds 1 and 3 have 0.5 and 0.75: the image has 0.625.
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]]])
    one = torch.ones(1)
    assert detection_loss(logits, one).item() == pytest.approx(-math.log(0.625))
    assert detection_loss(logits, 0 * one).item() == pytest.approx(-math.log(0.375))
    twice = math.log(1 + math.exp(-0.625))
    assert detection_loss(logits, one, second_sigmoid=True).item() == pytest.approx(twice)


def test_the_detection_loss_stays_finite_where_a_probability_is_no_number():
    logits = torch.tensor([[[200.0, 0.0]]], requires_grad=True)
    loss = detection_loss(logits, torch.ones(1))
    loss.backward()
    assert loss.item() == pytest.approx(200)
    assert logits.grad.flatten().tolist() == pytest.approx([1, -1])


def test_the_segmentation_loss_is_worked_by_hand():
    # Every pixel has 0.75 of abnormal, and one of four is abnormal.
    logits = torch.tensor([[[0.0, math.log(3)]] * 4])
    mask = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    focal = (0.0625 * -math.log(0.75) + 3 * 0.5625 * -math.log(0.25)) / 4
    dice = 1 - (2 * 0.75 + 1) / (3 + 1 + 1)
    assert segmentation_loss(logits, mask).item() == pytest.approx(focal + dice, abs=1e-4)
