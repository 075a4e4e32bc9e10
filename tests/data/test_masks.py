import itertools

import numpy as np
import pytest
from PIL import Image

from sdmad.data.sets.base import read_mask
from sdmad.errors import InputError

REGION = np.zeros((40, 40), dtype=bool)
REGION[4:24, 5:20] = True  # 300 of 1600 pixels: .1875
LABELS = np.zeros((40, 40), np.uint8)
LABELS[4:24, 5:20] = np.repeat([1, 2, 4], 5)


def read(tmp_path, image, name="a.png", **options):
    image.save(tmp_path / name, **options)
    return read_mask(tmp_path / name, (40, 40))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.gif"])
@pytest.mark.parametrize("white", [1, 7, 255])
def test_black_and_another_value(tmp_path, name, white):
    image = Image.fromarray(REGION.astype(np.uint8) * np.uint8(white))
    np.testing.assert_array_equal(read(tmp_path, image, name), REGION)


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "f4"])
@pytest.mark.parametrize("times", [1, 63])
def test_labels_of_several_regions_all_count(tmp_path, kind, times):
    image = Image.fromarray((LABELS * times).astype(kind))
    np.testing.assert_array_equal(read(tmp_path, image, "a.tif"), REGION)


def test_colours_count_whatever_their_brightness(tmp_path):
    colours = np.zeros((40, 40, 3), np.uint8)
    for channel, value in itertools.product(range(3), (1, 255)):
        colours[4:24, 5:20] = 0
        colours[4:24, 5:20, channel] = value
        np.testing.assert_array_equal(read(tmp_path, Image.fromarray(colours)), REGION)


def test_a_palette_counts_by_its_index(tmp_path):
    image = Image.fromarray(LABELS).convert("P")
    image.putdata(LABELS.ravel().tolist())
    image.putpalette([0, 0, 0, 0, 0, 9, 30, 0, 0, 0, 0, 0, 255, 255, 255])
    assert image.mode == "P"
    np.testing.assert_array_equal(read(tmp_path, image), REGION)


def test_a_palette_turned_round_is_refused(tmp_path):
    image = Image.fromarray(REGION.astype(np.uint8)).convert("P")
    image.putdata(REGION.ravel().astype(int).tolist())
    image.putpalette([255, 255, 255, 0, 0, 0])
    with pytest.raises(InputError, match=r"a\.png: .* index 0 is not black and whose index 1 is"):
        read(tmp_path, image)


def test_transparency(tmp_path):
    alpha = Image.fromarray(REGION.astype(np.uint8) * np.uint8(255))
    white = Image.new("RGB", (40, 40), (255, 255, 255))
    white.putalpha(alpha)
    np.testing.assert_array_equal(read(tmp_path, white), REGION)
    labels = Image.merge("LA", [Image.fromarray(LABELS), Image.new("L", (40, 40), 255)])
    np.testing.assert_array_equal(read(tmp_path, labels), REGION)
    black = Image.new("RGB", (40, 40))
    black.putalpha(alpha)
    with pytest.raises(InputError, match=r"a\.png: a mask that is black where it is not transp"):
        read(tmp_path, black)


def test_what_jpeg_leaves_of_black_and_white(tmp_path):
    image = Image.fromarray(REGION.astype(np.uint8) * np.uint8(255))
    image.save(tmp_path / "a.jpg", quality=60)
    with Image.open(tmp_path / "a.jpg") as lossy:
        noisy = np.asarray(lossy)
    assert len(np.unique(noisy)) > 16
    np.testing.assert_array_equal(read_mask(tmp_path / "a.jpg", (40, 40)), REGION)
    np.testing.assert_array_equal(read(tmp_path, Image.fromarray(noisy)), REGION)


def test_many_labels_are_no_noise(tmp_path):
    many = LABELS.copy()
    many[4:24, 5:20] = np.arange(300).reshape(20, 15) % 200 + 1
    np.testing.assert_array_equal(read(tmp_path, Image.fromarray(many)), REGION)


def test_masks_without_a_background(tmp_path):
    assert read(tmp_path, Image.new("L", (40, 40), 255)).all()
    assert not read(tmp_path, Image.new("L", (40, 40), 0)).any()
    with pytest.raises(InputError, match=r"a\.png: a mask of 2 values without a 0, so that it is"):
        read(tmp_path, Image.fromarray(REGION.astype(np.uint8) + np.uint8(1)))


def test_no_picture(tmp_path):
    nib = pytest.importorskip("nibabel")
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 1), np.uint8), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"a\.nii: a mask must be a plain picture; save it as PNG"):
        read_mask(tmp_path / "a.nii", (40, 40))


def test_a_mask_is_turned_upright_as_its_image_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    tall = np.zeros((10, 40), np.uint8)
    tall[0, :7] = 255
    Image.fromarray(tall).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", (40, 10)), np.rot90(tall, -1) > 0)
