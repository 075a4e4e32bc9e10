import io

import numpy as np
import pytest
from PIL import Image

from sdmad.errors import InputError
from sdmad.reporting.sign_plots import sign_matrix

COSINE = np.array([[1.0, 0.1, 0.8], [0.1, 1.0, 0.2], [0.8, 0.2, 1.0]])
SIGNS = ("a $ring", "a bar", "an arc_{2}")
OWNERS = ("Ring", "Bar_$", "Ring")


def test_signs_stand_category_by_category_with_their_marks():
    svg = sign_matrix(COSINE, SIGNS, OWNERS, [True, True, False], "svg").decode()
    texts = [line.split("--")[1].strip() for line in svg.splitlines() if "<!-- " in line]
    assert texts[:5] == ["Ring", "Bar_$", "a $ring", "an arc_{2} (discarded)", "a bar"]


def test_the_picture_is_a_png_and_the_same_each_time():
    picture = sign_matrix(COSINE, SIGNS, OWNERS, np.ones(3))
    image = Image.open(io.BytesIO(picture))
    assert image.format == "PNG"
    assert min(image.size) > 400
    assert picture == sign_matrix(COSINE, SIGNS, OWNERS, np.ones(3))


def test_many_signs_are_drawn_without_their_texts():
    svg = sign_matrix(np.eye(130), ["a sign"] * 130, ["One"] * 130, np.ones(130), "svg").decode()
    assert "<!-- a sign -->" not in svg
    assert "<!-- One -->" in svg


@pytest.mark.parametrize(
    ("cosine", "signs", "owners", "kept"),
    [
        (COSINE[:2], SIGNS, OWNERS, np.ones(3)),
        (COSINE, SIGNS, OWNERS[:2], np.ones(3)),
        (COSINE, SIGNS, OWNERS, np.ones(2)),
        (np.full((3, 3), np.nan), SIGNS, OWNERS, np.ones(3)),
        (np.empty((0, 0)), (), (), np.ones(0)),
    ],
)
def test_shapes_that_disagree_are_refused(cosine, signs, owners, kept):
    with pytest.raises(InputError):
        sign_matrix(cosine, signs, owners, kept)
