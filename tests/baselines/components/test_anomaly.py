"""Detectors of one kind of anomaly, one a category."""

import numpy as np
import pytest

from sdmad.baselines.components.anomaly import OnePerCategory
from sdmad.errors import InputError
from tests.toys import Brightness


def test_what_single_systems_learn_from(tiny_backbone, pictures):
    images, labels = pictures
    masks = [None, *[np.ones((32, 32), bool)] * 11]
    detector = OnePerCategory(("Ring", "Bar", "Dots"), tiny_backbone, lambda name: Brightness())
    detector.fit(images, labels, masks=masks)
    assert detector.general.seen[:2] == (12, 8)
    assert [one.seen[:2] for one in detector.single] == [(12, 4), (12, 4), (12, 2)]
    assert detector.general.seen[2] == [False, *[True] * 11]
    pixels = tiny_backbone.preprocessing(images)
    bright = pixels.mean(dim=(1, 2, 3)).numpy()
    ring = labels[:, 0] == 1
    middle = (bright[ring].mean() + bright[~ring].mean()) / 2
    found = detector.score_images(images)
    np.testing.assert_array_equal(found.decisions[:, 0], bright > middle)
    np.testing.assert_allclose(found.abnormality, bright, rtol=1e-6)
    maps = list(detector.anomaly_maps(images[:2]))
    assert [m.shape for m in maps] == [(32, 32), (32, 32)]


class Told(Brightness):
    """Keeps the masks that it is given."""

    def _fit(self, pixels, abnormal, masks):
        super()._fit(pixels, abnormal, masks)
        self.masks = [None if mask is None else np.argwhere(mask).tolist() for mask in masks]


def spot(*places, planes=()):
    mask = np.zeros((*planes, 4, 4), dtype=bool)
    for place in places:
        mask[place] = True
    return mask


def test_a_category_has_its_own_masks_and_any_anomaly_all_of_them(tiny_backbone, pictures):
    """A plane a category, or the whole of an image that shows nothing else."""
    labels = np.array(
        [[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, np.nan, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    )
    masks = [
        spot((0, 0)),
        spot((0, 1, 1), (1, 2, 2), planes=(3,)),
        spot((3, 3)),  # of a ring or of a bar
        spot((2, 0)),  # perhaps of a bar
        spot((0, 3, 0), planes=(3,)),  # dots, but nobody knows where
        None,
        None,
    ]
    detector = OnePerCategory(("Ring", "Bar", "Dots"), tiny_backbone, lambda name: Told())
    detector.fit(pictures[0][:7], labels, masks=masks)
    whole = [[[0, 0]], [[1, 1], [2, 2]], [[3, 3]], [[2, 0]], [[3, 0]], None, None]
    assert detector.general.masks == whole
    ring, bar, dots = detector.single
    assert ring.masks == [[[0, 0]], [[1, 1]], None, None, [[3, 0]], None, None]
    assert bar.masks == [None, [[2, 2]], None, None, None, None]  # the fourth is not known
    assert dots.masks == [None] * 7


def test_masks_of_another_number_of_categories_are_refused(tiny_backbone, pictures):
    detector = OnePerCategory(("Ring", "Bar", "Dots"), tiny_backbone, lambda name: Told())
    images, labels = pictures
    masks = [None, spot(planes=(2,)), *[None] * 10]
    with pytest.raises(InputError, match=r"masks\[1\] has the shape \(2, 4, 4\); give \(H, W\)"):
        detector.fit(images, labels, masks=masks)


def test_an_image_with_another_finding_is_no_normal_one(tiny_backbone, pictures):
    images, labels = pictures
    normal = ~labels.any(axis=1)
    normal[4] = False  # one of four without a mark shows something else
    detector = OnePerCategory(("Ring", "Bar", "Dots"), tiny_backbone, lambda name: Brightness())
    detector.fit(images, labels, normal=normal)
    assert detector.general.seen[:2] == (11, 8)
    assert [one.seen[:2] for one in detector.single] == [(12, 4), (12, 4), (12, 2)]


def test_an_unknown_label_leaves_the_image_out_of_that_category(tiny_backbone, pictures):
    images, labels = pictures
    labels = labels.copy()
    labels[0] = np.nan
    detector = OnePerCategory(("Ring", "Bar", "Dots"), tiny_backbone, lambda name: Brightness())
    detector.fit(images, labels)
    assert [one.seen[0] for one in detector.single] == [11, 11, 11]
    assert detector.general.seen[0] == 11
