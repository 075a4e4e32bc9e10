"""Images in batches, maps of their own size, and what may hold images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdmad.detector.base import BATCH_SIZE, as_image_list, resize_map
from sdmad.detector.batches import LANE_BATCH
from sdmad.errors import InputError
from sdmad.evaluation.checks import label_matrix


def test_an_unreadable_image_of_a_later_batch_is_told_by_its_place(fitted, pictures, tmp_path):
    images = [pictures[0][i % 12] for i in range(BATCH_SIZE + 3)]
    bad = (1, BATCH_SIZE + 1)
    for place in bad:
        images[place] = tmp_path / f"{place}.png"
    told = []
    scored = fitted.score_images(images, lambda place, error: told.append((place, error.path.name)))
    assert told == [(place, f"{place}.png") for place in bad]
    assert np.flatnonzero(np.isnan(scored.scores).any(axis=1)).tolist() == list(bad)
    others = [i for i in range(len(images)) if i not in bad]
    expected = fitted.decision_function([images[i] for i in others])
    np.testing.assert_allclose(scored.scores[others], expected, atol=1e-5)


def test_a_score_counts_known_labels_only(fitted, pictures):
    images = pictures[0][:4]
    labels = fitted.predict(images).astype(float)
    assert fitted.score(images, labels) == 1
    labels[0, 1] = 1 - labels[0, 1]
    assert fitted.score(images, labels) == 0.75
    labels[0, 1] = np.nan
    assert fitted.score(images, labels) == 1
    labels[2] = 1 - labels[2]
    labels[3] = np.nan  # nothing is known of it: it does not count
    assert fitted.score(images, labels) == pytest.approx(2 / 3)


def test_a_map_grows_about_its_pixels_centres():
    # Twice as wide: the new centres lie a quarter of an old pixel from the old ones.
    large = resize_map(torch.tensor([[0.0, 4.0]]), (2, 4))
    np.testing.assert_allclose(large, [[0, 1, 3, 4]] * 2)
    assert large.dtype == np.float32


def test_an_array_of_images_is_a_list_of_them():
    grey, colour = np.zeros((5, 8, 9)), np.zeros((5, 8, 9, 3))
    assert [image.shape for image in as_image_list(grey)] == [(8, 9)] * 5
    assert [image.shape for image in as_image_list(colour)] == [(8, 9, 3)] * 5
    assert as_image_list(np.array(["a.png", "b.png"])) == ["a.png", "b.png"]


def test_a_single_image_is_no_list_of_images():
    for single in ("a.png", Path("a.png"), Image.new("L", (8, 8)), np.zeros((8, 8))):
        with pytest.raises(InputError, match="give a list of images"):
            as_image_list(single)


def test_a_wrong_label_is_told_by_its_place():
    with pytest.raises(InputError, match="got 2 in row 1, column 2"):
        label_matrix([[0, 1, np.nan], [1, 0, 2]], (2, 3))


def test_a_processor_scores_few_together_and_each_as_if_alone(fitted, pictures):
    assert fitted.several_at_once
    assert fitted.batch == LANE_BATCH < BATCH_SIZE
    images = pictures[0][: 2 * LANE_BATCH + 1]
    alone = [fitted.decision_function([image])[0] for image in images]
    np.testing.assert_allclose(fitted.decision_function(images), alone, atol=1e-5)
