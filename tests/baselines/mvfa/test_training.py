import math

import pytest
import torch

from sdmad.baselines.components.minimise import Schedule
from sdmad.baselines.mvfa.adapters import LevelFeatures
from sdmad.baselines.mvfa.losses import segmentation_loss
from sdmad.baselines.mvfa.training import Lessons, Training, lesson_losses

TOY_LOGITS = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
"""Of normal and abnormal, a level each: an abnormal probability of a half and of three quarters."""


def toy_losses(masks, second_sigmoid=False):
    """The lesson of one abnormal image, whose two patches all have a level's logits."""
    levels = [
        LevelFeatures(torch.zeros(1, 5, 2), row.expand(1, 5, 2).contiguous()) for row in TOY_LOGITS
    ]
    lessons = Lessons(
        torch.zeros(1, 5, 3),
        None,
        torch.eye(2)[None],
        torch.ones(1, 1),
        torch.zeros(1, 1, 4, 4, dtype=torch.bool) if masks is None else masks[None, None],
        torch.tensor([[masks is not None]]),
        segment=masks is not None,
    )
    training = Training(
        1.0,
        None,
        second_sigmoid,
        Schedule(1, 1, 1e-3, (0.5, 0.999), 0),
    )
    loss, _ = lesson_losses(lambda *_: (levels, None), lessons, training, torch.tensor([0]))
    return loss.item()


def test_the_losses_of_two_levels_add_up():
    found = -math.log(0.5) - math.log(0.75)
    assert toy_losses(None) == pytest.approx(found)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2] = True
    everywhere_half = segmentation_loss(torch.zeros(1, 4, 2), mask[None].float()).item()
    assert toy_losses(mask) == pytest.approx(found + 2 * everywhere_half)


def test_the_published_second_sigmoid_takes_the_probability_for_a_logit():
    flawed = math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(-0.75))
    assert toy_losses(None, second_sigmoid=True) == pytest.approx(flawed)
