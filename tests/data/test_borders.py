import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from sdmad.data.borders import _within, normalise_border, runs_of, white_padding
from sdmad.data.images import read_image
from sdmad.data.table import read_label_table


def dark_picture(height=160, width=200, seed=0):
    return np.random.default_rng(seed).integers(0, 60, (height, width)).astype(np.uint8)


def test_white_bar_becomes_black_and_nothing_else_changes():
    pixels = dark_picture()
    pixels[:20] = 255
    result = np.asarray(normalise_border(Image.fromarray(pixels)))
    assert result[:20].max() == 0
    np.testing.assert_array_equal(result[22:], pixels[22:])  # two pixels of blurred rim
    assert result.shape == pixels.shape


def test_white_triangle_and_jpeg_noise():
    pixels = dark_picture()
    rows, columns = np.indices(pixels.shape)
    triangle = rows < 30 - columns * 0.2
    noise = np.random.default_rng(1).integers(247, 256, pixels.shape)
    pixels = np.where(triangle, noise, pixels).astype(np.uint8)
    pixels[3, 4] = 240  # a speck
    padding = white_padding(pixels)
    assert padding[triangle].all()
    assert not padding[rows > 33 - columns * 0.2].any()


def test_white_frame_all_round():
    pixels = np.full((160, 200), 255, np.uint8)
    pixels[10:140, 30:190] = dark_picture(130, 160)
    assert np.asarray(normalise_border(Image.fromarray(pixels))).max() < 60


def test_saturated_tissue_that_fades_stays():
    rows = np.indices((160, 200))[0]
    pixels = np.clip(rows * 2.4, 0, 255).astype(np.uint8)  # white at the bottom, grey above
    assert (pixels[-1] == 255).all()
    assert not white_padding(pixels).any()


def test_bright_structure_at_the_edge_stays():
    pixels = dark_picture()
    rows, columns = np.indices(pixels.shape)
    pixels[np.hypot(rows - 80, columns) < 30] = 255  # half a disc: a round edge
    assert not white_padding(pixels).any()


def test_white_inside_and_black_borders_stay():
    pixels = dark_picture()
    pixels[40:80, 40:80] = 255
    pixels[:, :20] = 0
    image = Image.fromarray(pixels)
    assert normalise_border(image) is image


def test_light_picture_and_colour_stay():
    pixels = np.full((100, 100), 150, np.uint8)
    pixels[:10] = 255
    assert not white_padding(pixels).any()
    colour = Image.fromarray(np.dstack([np.full((50, 50), v, np.uint8) for v in (255, 255, 254)]))
    assert normalise_border(colour) is colour


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_image_stays(value):
    assert not white_padding(np.full((8, 8), value, np.uint8)).any()


def test_any_small_image_is_survived():
    generator = np.random.default_rng(0)
    for _ in range(300):
        height, width = generator.integers(2, 7, 2)
        pixels = np.where(generator.random((height, width)) < 0.5, 255, 9).astype(np.uint8)
        assert white_padding(pixels).shape == pixels.shape


def test_real_tomograms_lose_their_white_edge_and_radiographs_nothing(realdata):
    edges = []
    for file in read_label_table(realdata / "oct2017_val32" / "labels.csv").files:
        pixels = np.asarray(normalise_border(read_image(file)))
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        edges.append((border >= 245).mean())
    assert max(edges) < 0.05
    for file in read_label_table(realdata / "nih_cxr14_64px" / "labels.csv").files:
        image = read_image(file)
        assert normalise_border(image) is image


@pytest.mark.parametrize("share", [0.02, 0.4, 0.6, 0.95])
def test_runs_label_as_scipy_does_pixel_by_pixel(share):
    mask = np.random.default_rng(3).random((61, 47)) < share
    expected, count = ndimage.label(mask)
    runs = runs_of(mask)
    assert len(runs.areas) == count
    for region in range(count):
        found = runs.mask(region)
        (label,) = np.unique(expected[found])
        np.testing.assert_array_equal(found, expected == label)
        assert runs.areas[region] == found.sum()
    edge = np.concatenate([expected[0], expected[-1], expected[:, 0], expected[:, -1]])
    assert len(np.unique(runs.label[runs.touches_edge()])) == len(np.unique(edge[edge > 0]))


def test_pixels_inside_an_outline_are_those_inside_every_side():
    rng = np.random.default_rng(5)
    mask = rng.random((40, 55)) < 0.5
    for _ in range(20):
        sides = ConvexHull(rng.uniform(0, 50, (9, 2))).equations
        depth = np.argwhere(mask) @ sides[:, :2].T + sides[:, 2]
        assert _within(mask, sides) == (depth < -1.5).all(axis=1).sum()
    square = ConvexHull([[5, 5], [5, 30], [30, 5], [30, 30]]).equations  # sides along the axes
    assert _within(np.ones((40, 55), bool), square) == 22 * 22
