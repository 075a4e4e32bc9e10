import numpy as np
import torch

from sdmad.detector.scores import ImageScores


def made(count, start=0.0):
    scores = torch.arange(2.0 * count).reshape(count, 2) + start
    return ImageScores.of(scores, scores > 2, scores[:, 0])


def test_a_detector_without_signs_has_no_similarity_and_no_anchor():
    scored = made(3)
    assert scored.similarity.shape == (3, 0)
    assert np.isnan(scored.anchor_similarity).all()
    assert scored.anchor_similarity.shape == (3,)
    assert scored.scores.dtype == scored.abnormality.dtype == np.float64
    assert scored.decisions.tolist() == [[False, False], [False, True], [True, True]]


def test_parts_are_joined_and_rows_chosen_in_their_order():
    whole = ImageScores.join([made(2), made(1, 10)])
    assert whole.scores.tolist() == [[0, 1], [2, 3], [10, 11]]
    assert len(whole) == 3
    assert whole.rows(np.array([2, 0])).abnormality.tolist() == [10, 0]


def test_unreadable_images_get_empty_rows():
    spread = made(2).spread([1, 3], 4)
    np.testing.assert_array_equal(spread.scores, [[np.nan] * 2, [0, 1], [np.nan] * 2, [2, 3]])
    assert spread.decisions.tolist() == [[False] * 2, [False] * 2, [False] * 2, [False, True]]
    np.testing.assert_array_equal(spread.abnormality, [np.nan, 0, np.nan, 2])
    # What was scored beyond the readable ones, a blank in an empty batch, is dropped.
    assert np.isnan(made(1).spread([], 2).scores).all()
