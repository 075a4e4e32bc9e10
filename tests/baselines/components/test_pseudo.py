import math

import pytest
import torch
from torch import Generator

from sdmad.baselines.components.pseudo import Brightness, cut_and_paste, jitter, paste_anomaly, turn


@pytest.fixture
def draws():
    return Generator().manual_seed(0)


def test_brightness_and_pixels_are_inverse():
    brightness = Brightness((0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    pixels = torch.tensor([1.0, -1.0, 0.25]).reshape(1, 3, 1, 1)
    assert brightness.of(pixels).flatten().tolist() == [1.0, 0.0, 0.5]
    torch.testing.assert_close(brightness.standardise(brightness.of(pixels)), pixels)


def test_a_turn_keeps_the_middle_and_blackens_corners(draws):
    image = torch.ones(40, 1, 33, 33)
    turned = turn(image, 180.0, draws)
    assert torch.allclose(turned[:, 0, 16, 16], torch.ones(40))
    corners = turned[:, 0, 0, 0]
    assert (corners == 0).any()
    assert turned.amin() >= 0
    # A disc that touches no edge keeps its sum whatever the angle.
    y, x = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    disc = torch.exp(-((x - 6) ** 2 + y**2) / 8).expand(40, 1, 33, 33)
    whole = turn(disc, 180.0, draws)
    torch.testing.assert_close(whole.sum(dim=(1, 2, 3)), disc.sum(dim=(1, 2, 3)), rtol=0.02, atol=0)
    # Its middle goes round: to as many sides as there are angles.
    middle = whole.flatten(1).argmax(dim=1)
    assert len(set(middle.tolist())) > 10


def test_no_turn_changes_nothing(draws):
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(turn(image, 0.0, draws), image)


def test_jitter_stays_within_its_bounds(draws):
    grey = torch.full((3, 4, 4), 0.5)
    for _ in range(20):
        changed = jitter(grey, 0.1, draws)
        assert torch.allclose(changed, changed[0, 0, 0])  # nothing but brightness can change
        assert 0.45 - 1e-6 <= float(changed[0, 0, 0]) <= 0.55 + 1e-6
    assert torch.equal(jitter(grey, 0.0, draws), grey)


def test_a_rectangle_of_the_wanted_size_is_pasted(draws):
    image = torch.arange(3 * 40 * 40.0).reshape(3, 40, 40) / 4800  # every place differs
    for _ in range(20):
        changed = cut_and_paste(image, (0.02, 0.15), (0.3, 3.3), 0.0, draws)
        other = (changed != image).any(dim=0)
        rows, columns = other.any(dim=1).nonzero(), other.any(dim=0).nonzero()
        height, width = len(rows), len(columns)
        assert other.sum() == height * width  # a rectangle, without holes
        assert 0.02 * 0.8 <= height * width / 1600 <= 0.15 * 1.2
        assert 0.3 * 0.8 <= width / height <= 3.3 * 1.2
        top, left = int(rows[0]), int(columns[0])
        piece = changed[0, top : top + height, left : left + width]
        cut = round(float(piece[0, 0]) * 4800)
        source = image[0, cut // 40 :, cut % 40 :][:height, :width]  # of the image itself
        torch.testing.assert_close(piece, source)


def test_an_anomaly_is_pasted_with_its_mask(draws):
    normal, abnormal = torch.zeros(3, 16, 16), torch.full((3, 16, 16), 0.2)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[3:5, 3:9] = True
    mask[5, 3] = True
    abnormal[:, mask] = 0.7
    shapes = set()
    for _ in range(30):
        image, where = paste_anomaly(normal, abnormal, mask, 0.0, draws)
        assert where.sum() == 13
        assert torch.allclose(image[:, where], torch.tensor(0.7))  # the anomaly, nothing around it
        assert not image[:, ~where].any()
        rows, columns = where.any(dim=1).nonzero(), where.any(dim=0).nonzero()
        shapes.add((len(rows), len(columns), int(rows[0]), int(columns[0])))
    assert {s[:2] for s in shapes} == {(3, 6), (6, 3)}
    assert len(shapes) > 15  # it goes to many places


def test_the_same_draws_give_the_same_image():
    image = torch.rand(3, 20, 20)
    one, two = (
        cut_and_paste(image, (0.1, 0.1), (1.0, 1.0), 0.1, Generator().manual_seed(4))
        for _ in range(2)
    )
    assert torch.equal(one, two)
    assert math.isclose(float((one != image).any(dim=0).sum()), 36, abs_tol=18)
