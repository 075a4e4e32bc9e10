"""The memory of normal images, on a toy whose places are the image's own pixels."""

import numpy as np
import pytest
import torch

from sdmad.baselines.components.anomaly import OnePerCategory
from sdmad.baselines.components.remembered import Memory, Remembered, unlike
from sdmad.errors import InputError


class Toy(Remembered):
    """Places are the first channel's pixels; the score is the largest distance."""

    def __init__(self):
        self.reads = []
        super().__init__(self._read, blur=0.0)

    def _read(self, pixels):
        self.reads.append(len(pixels))
        return pixels[:, 0].flatten(1).unsqueeze(2)

    def remember(self, pixels):
        return Memory.of(self.read(pixels))

    def compare(self, places, memory):
        distances = (places[:, None, 0] - memory[None, :, 0]).abs().amin(dim=1)
        return distances, distances.max()


def images(*levels):
    return torch.stack([torch.full((3, 2, 2), float(level)) for level in levels])


def test_images_are_known_by_their_pixels():
    assert unlike(images(1, 2, 1), images(1)[0]).tolist() == [False, True, False]


def test_a_normal_image_is_not_compared_with_itself():
    pixels, abnormal = images(0, 1, 3, 10), torch.tensor([False, False, False, True])
    toy = Toy().fit(pixels, abnormal, [None] * 4)
    assert toy.memory_.owner.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert toy.score_pixels(pixels).tolist() == [0, 0, 0, 7]
    assert toy.support_scores(pixels).tolist() == [1, 1, 2, 7]
    assert toy.natural_threshold == 2  # the farthest normal image from the others
    alone = Toy().fit(pixels[[0, 3]], abnormal[[0, 3]], [None] * 2)
    assert alone.support_scores(pixels[[0, 3]]).tolist() == [0, 10]


def test_the_map_is_the_distances_in_the_images_size():
    toy = Toy().fit(images(0), torch.tensor([False]), [None])
    seen = images(0)
    seen[0, 0] = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    assert toy.map_pixels(seen).tolist() == [[[1.0, 0.0], [0.0, 3.0]]]


def test_one_memory_of_normal_images_serves_all_categories(tiny_backbone):
    toy = Toy()
    detector = OnePerCategory(("A", "B"), tiny_backbone, lambda _: toy)
    pictures = [np.full((32, 32), level, np.uint8) for level in (10, 60, 200, 240)]
    for picture in pictures:
        picture[::4] += 5  # one grey value alone would be warned of
    detector.fit(pictures, np.array([[0, 0], [0, 0], [1, 0], [0, 1]]))
    assert len(toy.normal_) == 2
    toy.reads.clear()
    scored = detector.score_images(pictures)
    assert toy.reads == [4]  # once for three questions
    assert (scored.scores == scored.abnormality[:, None]).all()
    assert scored.abnormality[:2].tolist() == [0, 0]
    # B is farther from what is normal than A: its threshold lies above A's.
    assert detector.thresholds_[1] > detector.thresholds_[0]


def test_the_only_normal_image_has_no_say_in_a_threshold(tiny_backbone):
    """Its distance from itself is 0, whatever an unseen one's is."""
    toy = Toy()
    detector = OnePerCategory(("A", "B"), tiny_backbone, lambda _: toy)
    pictures = [np.full((32, 32), level, np.uint8) for level in (10, 200, 240)]
    for picture in pictures:
        picture[::4] += 5
    detector.fit(pictures, np.array([[0, 0], [1, 0], [0, 1]]))
    pixels = tiny_backbone.preprocessing(pictures)
    assert toy.compared_with_itself(pixels).tolist() == [True, False, False]
    normal, a, b = toy.score_pixels(pixels).tolist()
    assert normal == 0
    assert detector.thresholds_.tolist() == pytest.approx([(a + b) / 2] * 2, rel=1e-6)
    detector.fit(pictures[:2], np.array([[0, 0], [1, 0]]))  # nothing else lacks A
    assert float(detector.thresholds_[0]) == pytest.approx(a / 2, rel=1e-6)


def test_of_two_normal_images_each_has_a_say():
    pixels = images(0, 1, 10)
    toy = Toy().fit(pixels, torch.tensor([False, False, True]), [None] * 3)
    assert not toy.compared_with_itself(pixels).any()


def test_a_second_fit_forgets_the_first():
    toy = Toy().fit(images(0), torch.tensor([False]), [None])
    seen = images(5)
    assert toy.score_pixels(seen).tolist() == [5]
    toy.fit(images(4), torch.tensor([False]), [None])
    assert toy.score_pixels(seen).tolist() == [1]


def test_it_needs_a_normal_image():
    with pytest.raises(InputError, match="Toy needs at least one normal image"):
        Toy().fit(images(5), torch.tensor([True]), [None])
