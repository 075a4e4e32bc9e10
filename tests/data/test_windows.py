import tracemalloc

import numpy as np
import pytest

from sdmad.data.plane import ImageError, Plane
from sdmad.data.windows import (
    BLOCK,
    between,
    check_window,
    eight_bit,
    linear,
    linear_exact,
    parse_window,
    sigmoid,
)
from sdmad.errors import InputError

HU = np.array([[-1024.0, -160.0], [39.5, 240.0]])


@pytest.mark.parametrize(
    "value", ["auto", "lut", "full", "percentiles", (40.0, 400.0), (-0.5, 1.0)]
)
def test_settings_that_are_kept(value):
    assert check_window(value) == value
    text = value if isinstance(value, str) else ",".join(map(str, value))
    assert parse_window(text) == value


def test_settings_from_json_and_typing():
    assert check_window([40, 400]) == (40.0, 400.0)
    assert parse_window(" Full ") == "full"
    assert parse_window(" 40 , 400") == (40.0, 400.0)


@pytest.mark.parametrize(
    "value",
    ["", "lung", "40,400", None, 3, (1,), (1, 2, 3), ("1", "2"), (True, 5), (1, float("nan")), {}],
)
def test_settings_refused(value):
    with pytest.raises(InputError, match="window: expected auto, lut, full, percentiles or center"):
        check_window(value)


@pytest.mark.parametrize("text", ["", "lung", "40", "40,", "40,400,1", "40;400", "nan,9", "0,inf"])
def test_text_refused(text):
    with pytest.raises(InputError, match=r"window: expected auto.* such as 40,400, got '"):
        parse_window(text)


@pytest.mark.parametrize("width", [0, -5, 0.5])
def test_width_below_one(width):
    with pytest.raises(InputError, match=r"width must be at least 1, got .* full or percentiles"):
        check_window((0, width))
    with pytest.raises(InputError, match="width must be at least 1"):
        parse_window(f"0,{width}")


def test_linear_by_the_standards_formula():
    # PS3.3 C.11.2.1.2.1 with c = 2048, w = 4096 over 12 bits: x = 0 is 0, x = 4095 is all
    values = linear(2048, 4096)(np.array([-1.0, 0, 1, 4094, 4095, 4096]))
    np.testing.assert_allclose(values, [0, 0, 1 / 4095, 4094 / 4095, 1, 1])
    # c = 2048, w = 1: a threshold between 2047 and 2048
    np.testing.assert_array_equal(linear(2048, 1)(np.array([2047.0, 2047.5, 2048])), [0, 0, 1])
    # c = 0, w = 100: x = -50 is 0, x = 49 is 1 (the standard's own note)
    np.testing.assert_allclose(linear(0, 100)(np.array([-50.0, -0.5, 49])), [0, 0.5, 1])


def test_other_functions():
    np.testing.assert_allclose(
        linear_exact(0, 100)(np.array([-51.0, -50, -25, 0, 50, 60])), [0, 0, 0.25, 0.5, 1, 1]
    )
    np.testing.assert_allclose(
        sigmoid(10, 8)(np.array([8.0, 10, 12, -1e9, 1e9])),
        [1 / (1 + np.e), 0.5, np.e / (1 + np.e), 0, 1],
        atol=1e-12,
    )


def test_between_wide_and_empty_ranges():
    np.testing.assert_allclose(between(-1e308, 1e308)(np.array([-1e308, 0, 1e308])), [0, 0.5, 1])
    np.testing.assert_array_equal(between(7, 7)(np.array([6.0, 7, 8])), [0, 0, 1])


def test_auto_and_full():
    plane = Plane(HU, linear(40, 400))
    np.testing.assert_array_equal(eight_bit(plane), [[0, 0], [128, 255]])
    expected = np.rint((HU + 1024) / 1264 * 255)
    np.testing.assert_array_equal(eight_bit(plane, "full"), expected)
    np.testing.assert_array_equal(eight_bit(Plane(HU)), expected)
    np.testing.assert_array_equal(eight_bit(Plane(HU), (40.0, 400.0)), [[0, 0], [128, 255]])


def test_percentiles():
    values = np.arange(1001.0).reshape(7, 143)  # 0.5 and 99.5 per cent are exactly 5 and 995
    expected = np.rint(np.clip((values - 5) / 990, 0, 1) * 255)
    np.testing.assert_array_equal(eight_bit(Plane(values), "percentiles"), expected)
    holed = np.concatenate([values, [[np.nan, np.inf, -np.inf] * 47 + [np.nan, 5]]])[:, :143]
    shown = eight_bit(Plane(holed), "percentiles")
    assert np.abs(shown[:7].astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(shown[7, :3], [0, 255, 0])


def test_percentiles_that_fall_together_are_the_full_range():
    values = np.zeros((100, 100))
    values[0, 0] = 8
    shown = eight_bit(Plane(values), "percentiles")
    assert (shown[0, 0], shown.sum()) == (255, 255)


def test_padding_and_inversion():
    padding = np.array([[True, False], [False, False]])
    np.testing.assert_array_equal(
        eight_bit(Plane(HU, padding=padding)), [[0, 0], [np.rint(199.5 / 400 * 255), 255]]
    )
    np.testing.assert_array_equal(
        eight_bit(Plane(HU, linear(40, 400), padding, inverted=True)), [[0, 255], [128, 0]]
    )
    assert eight_bit(Plane(HU, padding=np.ones((2, 2), bool))).max() == 0


def test_values_that_are_not_finite():
    with pytest.raises(ImageError, match="holds no finite value"):
        eight_bit(Plane(np.full((2, 2), np.nan)))
    values = np.array([[np.nan, np.inf], [-np.inf, 0.0]])
    for window in ("auto", "full", "percentiles", (0.5, 2.0)):
        shown = eight_bit(Plane(values), window)
        np.testing.assert_array_equal(shown.ravel()[:3], [0, 255, 0])


def test_colour_is_never_windowed():
    colour = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(eight_bit(Plane(colour), (100.0, 50.0)), colour)


def test_blocks_of_rows_do_not_show():
    values = np.random.default_rng(0).integers(0, 5000, (3, BLOCK // 2 + 7)).astype(np.int16)
    expected = np.rint((values - values.min()) / float(np.ptp(values)) * 255)
    np.testing.assert_array_equal(eight_bit(Plane(values)), expected)


KINDS = ["u1", "i1", "u2", "i2", ">u2", ">i2", "u4", "i4", "i8", "f4", "f8"]


def of_all_kinds(kind):
    """70,000 values, more than a table of 16 bits has entries, near both ends of the type."""
    rng = np.random.default_rng(0)
    kind = np.dtype(kind)
    if kind.kind == "f":
        return rng.normal(50, 900, (250, 280)).astype(kind)
    ends = np.iinfo(kind)
    low, high = max(ends.min, -(2**40)), min(ends.max, 2**40)
    values = rng.integers(low, high, (250, 280), endpoint=True).astype(kind)
    values[0, :2] = low, high
    return values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("units", [None, lambda values: values * -0.37 + 12])
@pytest.mark.parametrize("masked", [False, True])
def test_every_type_is_shown_as_its_float64_copy_is(kind, units, masked):
    """The oracle keeps whole copies in float64 and asks NumPy for the percentiles."""
    values = of_all_kinds(kind)
    padding = np.random.default_rng(1).random(values.shape) < 0.3 if masked else None
    exact = values.astype(np.float64)
    exact = exact if units is None else units(exact)
    counted = exact if padding is None else exact[~padding]
    ranges = {
        "full": (counted.min(), counted.max()),
        "percentiles": np.percentile(counted, (0.5, 99.5)),
    }
    for window, (low, high) in ranges.items():
        for inverted in (False, True):
            bright = np.clip((exact - low) / (high - low), 0, 1)
            expected = np.rint((1 - bright if inverted else bright) * 255)
            if padding is not None:
                expected[padding] = 0
            plane = Plane(values, padding=padding, inverted=inverted, units=units)
            np.testing.assert_array_equal(eight_bit(plane, window), expected)


def test_units_come_before_the_window():
    hu = Plane(np.array([[0, 864], [1063, 2000]], np.uint16), units=lambda v: v - 1024)
    # HU -1024, -160, 39 and 976 in the window 40, 400
    expected = [[0, 0], [np.rint((-0.5 / 399 + 0.5) * 255), 255]]
    np.testing.assert_array_equal(eight_bit(hu, (40.0, 400.0)), expected)


def test_memory_stays_near_that_of_the_picture():
    values = np.arange(1 << 25, dtype=np.uint32).reshape(1 << 12, 1 << 13)  # 128 MiB
    tracemalloc.start()
    eight_bit(Plane(values, units=lambda v: v * 2.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20  # 32 MiB of result and some blocks; a float64 copy were 256 MiB
