import io

import numpy as np
import pytest
from PIL import Image

from sdmad.errors import InputError
from sdmad.reporting.map_plot import Overlay, laid_over, overlay_plot

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


def test_a_map_laid_over_the_image_alone():
    """Of 60 x 60 pixels a sixth each way is the corner's edge; what is low stays as it was."""
    found = laid_over(GREY, Overlay("Ring", "a sign", CORNER, "cosine"), 60)
    picture = np.asarray(Image.open(io.BytesIO(found.png)).convert("RGB")).astype(int)
    assert picture.shape == (60, 60, 3)
    assert (picture[45:, :15] == 120).all()
    # Vermilion at 0.8 over grey: .835 x 255 x .8 + 120 x .2 = 194, and no blue but grey's fifth.
    assert picture[5, 55].tolist() == [194, 99, 24]
    assert found.scale.startswith("Cosine from 0.000 to 0.400")


def test_the_outline_says_where_it_begins():
    slope = np.linspace(0, 1, 3600, dtype=np.float32).reshape(60, 60)
    found = laid_over(GREY, Overlay("Ring", "", slope, "cosine"), 60)
    assert found.scale == "Cosine from 0.000 to 1.000, outlined from 0.900."
    picture = np.asarray(Image.open(io.BytesIO(found.png)).convert("RGB"))
    assert (picture[54] == 255).all()  # the first of the highest six rows of 60
    assert (picture[53] == 0).all()


def test_a_flat_map_laid_over_has_no_outline():
    found = laid_over(GREY, Overlay("Ring", "", np.full((4, 4), 0.2, np.float32), "cosine"), 60)
    picture = np.asarray(Image.open(io.BytesIO(found.png)).convert("RGB"))
    assert (picture == 120).all()
    assert "outlined" not in found.scale
