import numpy as np
import pytest

from sdmad.errors import InputError
from sdmad.evaluation.limits import Basis
from sdmad.evaluation.pixel_intervals import (
    PIXEL_METRICS,
    PatientPixels,
    patient_capacity,
    pixel_difference,
    summarise_pixels,
)
from sdmad.evaluation.pixels import PixelScores
from sdmad.evaluation.resampling import resample_weights
from sdmad.evaluation.spread import Spread

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


def by_patient(patients, threshold=None):
    capacity = patient_capacity(len(patients))
    return PatientPixels.of(
        {
            f"p{i}": add_all(images, threshold, capacity=capacity)
            for i, images in enumerate(patients)
        }
    )


def naive(patients, weights, threshold):
    """The metrics of each resample, all drawn images put together; ``(R, 3)``."""
    figures = []
    for column in weights.T.astype(int):
        drawn = [one for images, n in zip(patients, column, strict=True) for one in images * n]
        whole = add_all(drawn, threshold)
        figures.append((whole.auroc(), whole.aupro(), whole.dice_at(threshold)))
    return np.array(figures)


def test_intervals_agree_with_a_naive_loop():
    patients = draw_patients(12)
    found = summarise_pixels([by_patient(patients, 3.0)], 40, seed=3)
    weights = next(resample_weights(12, 40, np.random.default_rng(3)))
    for name, values, tolerance in zip(
        PIXEL_METRICS, naive(patients, weights, 3.0).T, (1e-3, 2e-3, 1e-12), strict=True
    ):
        ends = (found[name].low, found[name].high)
        point = naive(patients, np.ones((12, 1)), 3.0)[:, PIXEL_METRICS.index(name)]
        one = Spread(point[None], values[None, None], (Basis("pixels", (8, 12)),))
        np.testing.assert_allclose(ends, one.interval(), atol=tolerance)
        assert np.isnan(found[name].deviation)


def test_a_patient_takes_a_row_of_bounded_length():
    pixels = by_patient(draw_patients(4), 3.0)  # 8000 pixels of distinct scores
    steps = pixels.normal.shape[1]
    assert 512 < steps <= 1024
    assert pixels.abnormal.shape == (4, steps, 2)
    assert pixels.normal.sum() + pixels.abnormal[:, :, 0].sum() == 6 * SIZE**2


def test_draws_and_patients_count_together():
    draws = [draw_patients(9, seed) for seed in (1, 2)]
    found = summarise_pixels([by_patient(draw, 3.0) for draw in draws], 30, seed=5)
    weights = next(resample_weights(9, 30, np.random.default_rng(5)))
    values = np.stack([naive(draw, weights, 3.0) for draw in draws])
    for place, name in enumerate(PIXEL_METRICS):
        whole = [naive(draw, np.ones((9, 1)), 3.0)[0, place] for draw in draws]
        assert found[name].mean == pytest.approx(np.mean(whole), abs=2e-3)
        assert found[name].deviation == pytest.approx(np.std(whole, ddof=1), abs=2e-3)
        both = Spread(np.array([whole]), values[None, :, :, place], (Basis("pixels", (6, 9)),))
        ends = (found[name].low, found[name].high)
        np.testing.assert_allclose(ends, both.interval(), atol=2e-2)


def test_patients_of_other_draws_keep_their_rows():
    patients = draw_patients(6)
    both = by_patient(patients, 3.0)
    turned = PatientPixels(
        both.patients[::-1], both.normal[::-1], both.abnormal[::-1], both.called[::-1]
    )
    found = summarise_pixels([both, turned], 30)
    assert found["aupro"].deviation == pytest.approx(0, abs=1e-12)
    assert found["aupro"].low == pytest.approx(summarise_pixels([both], 30)["aupro"].low)


def test_difference_with_itself_is_none_and_with_another_is_theirs():
    one = [by_patient(draw_patients(8, 1), 3.0)]
    other = [by_patient(draw_patients(8, 2), 3.0)]
    for found in pixel_difference(one, one, 20).values():
        assert found.difference == 0
        assert np.isnan([found.low, found.high]).all()  # no patient moves it
    gap = pixel_difference(one, other, 20)["dice"].difference
    means = [summarise_pixels(draws, 0)["dice"].mean for draws in (one, other)]
    assert gap == pytest.approx(means[0] - means[1])
    with pytest.raises(InputError, match="different patients"):
        pixel_difference(one, [by_patient(draw_patients(7), 3.0)])


def test_what_cannot_be_resampled_has_no_interval():
    patients = draw_patients(4)
    found = summarise_pixels([by_patient(patients)], 20)
    assert np.isnan([found["dice"].mean, found["dice"].low]).all()
    for draws, resamples in ((by_patient(patients[1:2]), 20), (by_patient(patients), 0)):
        found = summarise_pixels([draws], resamples)
        assert np.isnan([one.low for one in found.values()]).all()
        assert not np.isnan(found["pixel_auroc"].mean)
    normal = by_patient([patients[0], patients[3]])
    assert np.isnan(summarise_pixels([normal], 20)["pixel_auroc"].mean)


def test_same_seed_same_intervals():
    draws = [by_patient(draw_patients(5), 1.0)]
    assert str(summarise_pixels(draws, 20, 1)) == str(summarise_pixels(draws, 20, 1))
    assert str(summarise_pixels(draws, 20, 1)) != str(summarise_pixels(draws, 20, 2))


def test_wrong_input_is_named():
    with pytest.raises(InputError, match="different thresholds"):
        PatientPixels.of({"a": PixelScores(1.0), "b": PixelScores(2.0)})
    with pytest.raises(InputError, match="no patient"):
        PatientPixels.of({})
    with pytest.raises(InputError, match="no draw"):
        summarise_pixels([])
    with pytest.raises(InputError, match="resamples"):
        summarise_pixels([by_patient(draw_patients(2))], -1)
    with pytest.raises(InputError, match="no Dice counts"):
        PixelScores().dice_counts()
