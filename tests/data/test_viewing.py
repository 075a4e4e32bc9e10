"""What a viewer gets: the very values, and where the file's own window begins and ends."""

import numpy as np
import pytest
from PIL import Image

from sdmad.data import decoders
from sdmad.data.plane import ImageError, Plane
from sdmad.data.viewing import DEPTH, ramp, viewed
from sdmad.data.windows import eight_bit, linear, linear_exact, sigmoid

CT = np.array([[0, 24, 1024], [1064, 1264, 3000]], np.uint16)


def in_units(view):
    return view.slope * view.values.astype(float) + view.intercept


def test_whole_numbers_of_a_ct_are_kept_to_the_letter():
    plane = Plane(CT, linear_exact(40, 400), units=lambda stored: stored - 1024)
    view = viewed(plane)
    assert view.values.dtype == np.uint16
    assert view.slope == 1
    np.testing.assert_array_equal(in_units(view), CT.astype(float) - 1024)
    np.testing.assert_allclose((view.low, view.high), (40 - 200, 40 + 200), atol=1e-6)
    assert (view.smallest, view.largest) == (-1024, 1976)


def test_a_dicom_window_begins_and_ends_where_the_standard_says():
    """PS3.3 C.11.2.1.2.1: black up to c - .5 - (w-1)/2, white above c - .5 + (w-1)/2."""
    low, high = ramp(linear(40, 400), -1000, 1000)
    np.testing.assert_allclose((low, high), (39.5 - 199.5, 39.5 + 199.5), atol=1e-6)


def test_a_window_wider_than_the_values_is_found_beyond_them():
    np.testing.assert_allclose(ramp(linear_exact(0, 1000), -10, 10), (-500, 500), atol=1e-6)


@pytest.mark.parametrize(("step", "around"), [(3.0, (2.9, 3.1)), (9.0, (8.9, 9.1))])
def test_a_window_of_one_step_is_both_sides_of_it(step, around):
    low, high = ramp(lambda units: (units > step).astype(float), 0, 10)
    assert around[0] < low < high < around[1]


def test_a_curve_is_the_line_through_its_ends():
    low, high = ramp(sigmoid(0, 10), -20, 20)
    assert low == pytest.approx(-high)
    assert 20 <= high <= 21


def test_floats_are_kept_to_one_of_65535_steps():
    values = np.random.default_rng(0).normal(0, 3e-4, (40, 50))
    view = viewed(Plane(values))
    assert np.abs(in_units(view) - values).max() <= view.slope / 2 * 1.001
    assert view.slope == pytest.approx((values.max() - values.min()) / DEPTH)


def test_what_is_not_finite_is_dark_or_bright():
    view = viewed(Plane(np.array([[np.nan, -np.inf], [np.inf, 5.0], [1.0, 1.0]])))
    assert in_units(view).tolist() == [[1, 1], [5, 5], [1, 1]]
    with pytest.raises(ImageError, match="no finite value"):
        viewed(Plane(np.full((2, 2), np.nan)))


def test_where_the_smallest_is_white_units_are_turned():
    plane = Plane(CT, linear_exact(1064, 400), inverted=True)
    view = viewed(plane)
    np.testing.assert_array_equal(in_units(view), -CT.astype(float))
    np.testing.assert_allclose((view.low, view.high), (-1264, -864), atol=1e-6)


def test_padding_is_dark():
    padding = np.zeros(CT.shape, bool)
    padding[1, 2] = True
    view = viewed(Plane(CT, padding=padding))
    assert view.largest == 1264
    assert in_units(view)[1, 2] == view.smallest == 0


def test_one_value_throughout():
    view = viewed(Plane(np.full((3, 3), 7, np.int16)))
    assert in_units(view).tolist() == [[7.0] * 3] * 3
    assert view.low < view.high


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("shade", [linear_exact(900, 700), linear(1500, 2000), None])
def test_a_viewers_picture_is_the_one_that_the_model_sees(shade, inverted):
    """The viewer's formula, on what it gets, against the package's own window."""
    plane = Plane(
        np.random.default_rng(1).integers(0, 3000, (50, 60), np.uint16), shade, inverted=inverted
    )
    view = viewed(plane)
    center, width = (view.low + view.high) / 2, view.high - view.low
    bright = np.clip((in_units(view) - (center - width / 2)) / width, 0, 1)
    shown = np.rint(bright * 255)
    assert np.abs(shown - eight_bit(plane).astype(float)).max() <= 1


def test_a_decoder_tells_the_values_with_what_they_mean(tmp_path):
    Image.fromarray(CT).save(tmp_path / "a.png")
    found = decoders.ask_for_described("view", tmp_path / "a.png", index=None, max_pixels=100)
    values = found.array.copy().view("<u2")[..., 0]
    np.testing.assert_array_equal(
        values * found.about["slope"] + found.about["intercept"], CT.astype(float)
    )
    assert (found.about["slice"], found.about["slices"]) == (0, 1)
    with pytest.raises(ImageError, match="more than 5 pixels"):
        decoders.ask("view", tmp_path / "a.png", index=None, max_pixels=5)


def test_colour_is_as_it_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = decoders.ask_for_described("view", tmp_path / "a.png", index=None, max_pixels=100)
    np.testing.assert_array_equal(found.array, pixels)


@pytest.mark.parametrize(("size", "shape"), [((300, 100), (43, 128)), ((20, 64), (128, 40))])
def test_a_thumbnail_keeps_the_shape(tmp_path, size, shape):
    Image.new("L", size).save(tmp_path / "a.png")
    arguments = {"index": None, "max_pixels": 1 << 20, "side": 128}
    assert decoders.ask_for_pixels("thumbnail", tmp_path / "a.png", **arguments).shape == shape
