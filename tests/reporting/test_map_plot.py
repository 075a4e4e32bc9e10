import io

import numpy as np
import pytest
from PIL import Image

from sdmad.errors import InputError
from sdmad.reporting.map_plot import Overlay, overlay_plot

GREY = Image.new("L", (60, 60), 120)
CORNER = np.zeros((6, 6), np.float32)
CORNER[:3, 3:] = 0.4


def drawn(values, image=GREY, text="a sign"):
    png = overlay_plot(image, [Overlay("Ring", text, values, "cosine")], "picture.png")
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def redness(picture):
    return picture[..., 0] - picture[..., 2]


def test_the_map_is_red_where_it_is_high_and_nowhere_on_the_image_alone():
    picture = drawn(CORNER)
    half = picture.shape[1] // 2
    assert redness(picture[:, :half]).max() < 60  # the ink of titles is a little blue
    rows, columns = np.nonzero(redness(picture[:, half:]) > 100)
    panel = picture[:, half:]
    middle = panel.shape[1] / 2
    above = rows < panel.shape[0] / 2  # below lies the scale
    assert above.sum() > 1000
    assert (columns[above] > 0.9 * middle).all()


def test_a_flat_map_leaves_the_image_grey():
    assert (redness(drawn(np.full((4, 4), 0.2, np.float32)))[:250] < 60).all()


def test_the_same_maps_give_the_same_bytes_whatever_the_texts_hold():
    overlay = Overlay("$x_", "100 % of $y^\\frac", CORNER, "cosine")
    one = overlay_plot(GREY, [overlay, overlay], "=$\\alpha.png")
    assert one.startswith(b"\x89PNG")
    assert one == overlay_plot(GREY, [overlay, overlay], "=$\\alpha.png")


@pytest.mark.parametrize("size", [(400, 4), (4, 400), (3000, 2000)])
def test_images_of_any_shape_give_a_picture_of_bounded_size(size):
    picture = drawn(CORNER, Image.new("RGB", size, (90, 100, 110)))
    assert 300 < min(picture.shape[:2]) <= max(picture.shape[:2]) < 1500


def test_what_is_no_map_is_refused():
    with pytest.raises(InputError, match="at least one map"):
        overlay_plot(GREY, [], "x")
    for wrong in (np.full((2, 2), np.nan, np.float32), np.zeros((2, 2, 2), np.float32)):
        with pytest.raises(InputError, match="map 'Ring': expected finite values"):
            drawn(wrong)
