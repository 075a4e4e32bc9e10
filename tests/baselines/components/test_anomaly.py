"""Detectors of one kind of anomaly, one a category."""

import numpy as np

from sdmad.baselines.components.anomaly import OnePerCategory
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
