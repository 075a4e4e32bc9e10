import numpy as np
import pytest

from sdmad.errors import InputError
from sdmad.evaluation.intervals import percentile_interval
from sdmad.evaluation.pixel_intervals import PATIENT_CAPACITY, bootstrap_pixels
from sdmad.evaluation.pixels import PixelScores
from sdmad.evaluation.resampling import resample_weights

SIZE = 40


def draw_patients(count, seed=0):
    """Maps and masks of each patient, one or two images each; every third patient is normal."""
    rng = np.random.default_rng(seed)
    patients = []
    for number in range(count):
        images = []
        for _ in range(1 + number % 2):
            mask = np.zeros((SIZE, SIZE), dtype=bool)
            if number % 3:
                row, column = rng.integers(0, SIZE - 8, 2)
                mask[row : row + rng.integers(2, 8), column : column + rng.integers(2, 8)] = True
            noise = rng.normal(size=mask.shape) + 0.5 * rng.normal()
            images.append((np.exp(noise + rng.uniform(0, 2) * mask), mask))
        patients.append(images)
    return patients


def add_all(images, threshold=None, **settings):
    pixels = PixelScores(threshold, **settings)
    for score, mask in images:
        pixels.add(score, mask)
    return pixels


def test_intervals_agree_with_a_naive_loop():
    patients = draw_patients(12)
    parts = [add_all(images, 3.0, capacity=PATIENT_CAPACITY) for images in patients]
    found = bootstrap_pixels(parts, 40, seed=3)
    weights = next(resample_weights(12, 40, np.random.default_rng(3)))
    figures = []
    for column in weights.T.astype(int):
        drawn = [one for images, n in zip(patients, column, strict=True) for one in images * n]
        whole = add_all(drawn, 3.0)
        figures.append((whole.auroc(), whole.aupro(), whole.dice_at(3.0)))
    auroc, aupro, dice = np.array(figures).T
    np.testing.assert_allclose(found.auroc, percentile_interval(auroc), atol=1e-3)
    np.testing.assert_allclose(found.aupro, percentile_interval(aupro), atol=2e-3)
    np.testing.assert_allclose(found.dice, percentile_interval(dice), atol=1e-12)


def test_what_cannot_be_resampled_has_no_interval():
    parts = [add_all(images) for images in draw_patients(4)]
    assert np.isnan(bootstrap_pixels(parts, 20).dice).all()
    for one in (bootstrap_pixels(parts[:1], 20), bootstrap_pixels(parts, 0)):
        assert np.isnan([one.auroc, one.aupro, one.dice]).all()
    normal = [parts[0], parts[3]]
    assert np.isnan(bootstrap_pixels(normal, 20).auroc).all()


def test_same_seed_same_intervals():
    parts = [add_all(images, 1.0) for images in draw_patients(5)]
    assert bootstrap_pixels(parts, 20, 1) == bootstrap_pixels(parts, 20, 1)
    assert bootstrap_pixels(parts, 20, 1) != bootstrap_pixels(parts, 20, 2)


def test_wrong_input_is_named():
    with pytest.raises(InputError, match="different thresholds"):
        bootstrap_pixels([PixelScores(1.0), PixelScores(2.0)])
    with pytest.raises(InputError, match="resamples"):
        bootstrap_pixels([PixelScores(), PixelScores()], -1)
    with pytest.raises(InputError, match="no Dice counts"):
        PixelScores().dice_counts()
