import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from sdmad.data.images import ImageError, read_image
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError

PLAIN = Preprocessing(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), normalise_border=False)


def test_constant_image_is_standardised_by_hand():
    preprocessing = Preprocessing(3, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    result = preprocessing([np.full((10, 20), 51, np.uint8)])  # 51 / 255 = 0.2
    assert result.shape == (1, 3, 3, 3)
    assert result.dtype == torch.float32
    expected = torch.tensor([-0.6, -0.2, 0.1]).reshape(1, 3, 1, 1).expand(1, 3, 3, 3)
    torch.testing.assert_close(result, expected)


def test_whole_image_is_squashed_not_cropped():
    pixels = np.zeros((40, 400), np.uint8)
    pixels[:, :100] = 255  # the left quarter, which a centre crop would lose
    result = PLAIN([pixels])[0, 0]
    assert result[:, 0].min() > 0.9
    assert result[:, 2:].abs().max() < 0.1


def test_antialiasing():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show: becomes their mean
    result = PLAIN([stripes])
    assert (result - 0.5).abs().max() < 0.03


def test_channels():
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 1] = 255
    result = PLAIN([colour])[0]
    assert result[:, 2, 2].tolist() == [0.0, 1.0, 0.0]
    grey = PLAIN([np.arange(64, dtype=np.uint8).reshape(8, 8)])[0]
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])


def test_path_image_and_array_agree(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 20)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    result = PLAIN([path, str(path), read_image(path), Image.open(path), pixels])
    for other in result[1:]:
        assert torch.equal(result[0], other)


def test_scores_of_one_image_do_not_depend_on_the_others():
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 255, (9, 9)).astype(np.uint8) for _ in range(3)]
    assert torch.equal(PLAIN(images)[1], PLAIN([images[1]])[0])


def test_border_setting():
    pixels = np.full((200, 200), 20, np.uint8)
    pixels[: 100 - 20] = 255
    on = Preprocessing(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert on([pixels]).max() < 0.1
    assert PLAIN([pixels]).max() > 0.9


def test_no_images_and_single_images():
    assert PLAIN([]).shape == (0, 3, 4, 4)
    for single in ("a.png", np.zeros((4, 4), np.uint8), Image.new("L", (4, 4))):
        with pytest.raises(InputError, match="give a list"):
            PLAIN(single)


def test_bad_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png"):
        PLAIN([np.zeros((4, 4), np.uint8), tmp_path / "none.png"])


def test_round_trip_through_json():
    preprocessing = Preprocessing(7, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), False)
    values = json.loads(json.dumps(preprocessing.to_dict()))
    assert Preprocessing.from_dict(values) == preprocessing


@pytest.mark.parametrize("window", ["auto", "full", "percentiles", (40.0, 400.0)])
def test_window_travels_with_the_settings(window):
    preprocessing = Preprocessing(4, PLAIN.mean, PLAIN.std, False, window)
    values = json.loads(json.dumps(preprocessing.to_dict()))
    assert values["window"] == (window if isinstance(window, str) else [40, 400])
    assert Preprocessing.from_dict(values) == preprocessing


def test_settings_saved_before_there_were_windows():
    values = PLAIN.to_dict()
    del values["window"]
    assert Preprocessing.from_dict(values) == PLAIN
    assert PLAIN.window == "auto"


def test_window_is_applied(tmp_path):
    units = np.full((9, 9), 40, np.int32)
    units[:, 5:], units[0, 0] = 3000, -1024
    Image.fromarray(units).save(tmp_path / "a.tif")
    own = Preprocessing(9, PLAIN.mean, PLAIN.std, False)
    window = Preprocessing(9, PLAIN.mean, PLAIN.std, False, (40, 400))
    for source in (tmp_path / "a.tif", units, Image.fromarray(units)):
        plain, shown = own([source])[0, 0], window([source])[0, 0]
        assert shown[5, 2] == pytest.approx(round((0.5 / 399 + 0.5) * 255) / 255)
        assert plain[5, 2] == pytest.approx(round(1064 / 4024 * 255) / 255)
        assert shown[5, 8] == plain[5, 8] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size must be a whole number from 1 to 4096, got 0"),
        ({"size": 2.5}, "size must be"),
        ({"size": True}, "size must be"),
        ({"mean": [0, 0]}, "mean must be three finite numbers"),
        ({"mean": "abc"}, "mean must be"),
        ({"std": [1, 1, math.nan]}, "std must be three finite"),
        ({"std": [1, 0, 1]}, "std must be at least 0.0001"),
        ({"normalise_border": 1}, "normalise_border must be true or false"),
        ({"window": "lung"}, "preprocessing: window: expected auto, lut, full, percentiles"),
        ({"window": [40, 0]}, "preprocessing: window: the width must be at least 1"),
        ({"crop": 1}, "unknown key crop; known: size"),
    ],
)
def test_from_dict_refuses(change, message):
    with pytest.raises(InputError, match=message):
        Preprocessing.from_dict({**PLAIN.to_dict(), **change})


def test_from_dict_missing():
    with pytest.raises(InputError, match="missing key mean, std"):
        Preprocessing.from_dict({"size": 3})
    with pytest.raises(InputError, match="expected a mapping, got list"):
        Preprocessing.from_dict([])
