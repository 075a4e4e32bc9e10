import warnings

import numpy as np
import pytest
from PIL import Image

from sdmad.data import intensity
from sdmad.data.images import read_image, to_image
from sdmad.data.intensity import IntensityWarning
from sdmad.data.listing import list_images
from sdmad.phantoms.cases import draw_cases, load_modality

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(intensity, "_told", set())


def told(source, window="auto"):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_image(source, window)
    assert all(entry.category is IntensityWarning for entry in caught)
    return [str(entry.message) for entry in caught]


@pytest.mark.parametrize(
    ("source", "window", "message"),
    [
        (np.full((9, 9), 7, np.uint8), "auto", "every pixel is the same"),
        (np.full((9, 9), 7.0), "auto", "every pixel is the same"),
        (np.full((9, 9, 3), (1, 2, 3), np.uint8), "auto", "every pixel has the same colour"),
        (NOISE.astype(np.int16), (5000, 100), "every pixel is the same"),
        (NOISE > 128, "auto", "one of 4 grey values: a mask"),
        (NOISE // 128, "auto", "one of 4 grey values: a mask"),
        (NOISE / 255 / 255, "auto", "one of 4 grey values"),  # divided twice
        (NOISE.astype(np.int16), (128, 4000), r"only 18 of 256 grey levels are left"),
        (NOISE.astype(np.float32), "auto", r"values from 0 to 255 looks like 8-bit grey values"),
        (NOISE % 100 * 1.0, "auto", r"from 0 to 99 looks like 8-bit"),
        (NOISE * 0.99, "auto", r"looks like 8-bit"),
    ],
)
def test_each_rule(source, window, message):
    (text,) = told(source, window)
    assert message in text
    assert "told once" in text


def test_outlier_that_darkens_the_rest():
    values = NOISE.astype(np.uint16)
    values[0, 0] = 65535
    assert "the window percentiles helps" in told(values)[0]
    intensity._told.clear()
    assert told(values, "percentiles") == []


@pytest.mark.parametrize(
    "source",
    [
        NOISE,
        NOISE.astype(np.uint16) * 16,
        NOISE / 255,
        NOISE / 255 * 0.3,  # a dim picture within [0, 1]
        NOISE.astype(np.float32) * 3.7,  # magnitudes of magnetic resonance
        NOISE * 0.37,
        NOISE.astype(np.float32) * 8 - 1024,  # Hounsfield units
        np.dstack([NOISE, NOISE[::-1], NOISE.T]),
        np.where(np.arange(64) < 40, 0, NOISE),  # much black background
        np.eye(8, dtype=np.uint8),  # too small to tell
    ],
    ids=range(10),
)
def test_no_warning_on_ordinary_images(source):
    assert told(source) == []


def test_once_a_process_and_kind(tmp_path):
    assert len(told(np.zeros((9, 9), np.uint8))) == 1
    assert told(np.ones((9, 9), np.uint8)) == []
    assert len(told(NOISE > 5)) == 1
    assert told(NOISE > 6) == []


def test_the_file_is_named(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(NOISE > 9).save(path)
    with pytest.warns(IntensityWarning, match=r"mask\.png: 99 % of the pixels"):
        read_image(path)


@pytest.mark.parametrize("name", ["brain", "chest", "oct", "breast", "thyroid", "skin", "fundus"])
def test_phantoms_are_ordinary(name):
    for case in draw_cases(load_modality(name), 6, seed=3, style="test", size=96):
        assert told(case.image) == []


@pytest.mark.filterwarnings("ignore:.*passed over")
@pytest.mark.parametrize("name", ["oct2017_val32", "nih_cxr14_64px", "brain_mri_tumor4"])
def test_real_images_are_ordinary(realdata, name):
    files = list_images([realdata / name])
    for file in files[:: max(1, len(files) // 30)]:
        assert told(file) == []
