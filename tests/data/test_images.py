import gc
import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from sdmad.data import pictures
from sdmad.data.headers import Header, read_header
from sdmad.data.images import (
    ImageError,
    content_hash,
    read_image,
    to_image,
    volume_slices,
)
from sdmad.errors import InputError

pytestmark = [
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.IntensityWarning"),
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning"),
]

GREY = np.array([[0, 10, 20], [30, 40, 255]], dtype=np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], 255 - GREY])


def save(path, image, **options):
    image.save(path, **options)
    return path


def pixels(path):
    return np.asarray(read_image(path))


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "pgm", "gif"])
def test_grey_is_read_exactly(tmp_path, ending):
    image = read_image(save(tmp_path / f"a.{ending}", Image.fromarray(GREY)))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), GREY)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm"])
def test_colour_is_read_exactly(tmp_path, ending):
    image = read_image(save(tmp_path / f"a.{ending}", Image.fromarray(COLOUR)))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), COLOUR)


def test_content_decides_not_the_name(tmp_path):
    save(tmp_path / "a.png", Image.fromarray(GREY))
    (tmp_path / "a.png").rename(tmp_path / "a.dat")
    np.testing.assert_array_equal(pixels(tmp_path / "a.dat"), GREY)


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_lossy_formats_are_close(tmp_path, ending):
    flat = np.full((16, 16), 90, dtype=np.uint8)
    path = save(tmp_path / f"a.{ending}", Image.fromarray(flat))
    assert np.abs(pixels(path).astype(int) - 90).max() <= 3


def test_equal_channels_become_grey(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.dstack([GREY] * 3)))
    assert read_image(path).mode == "L"


@pytest.mark.parametrize(
    ("values", "ending"),
    [
        (np.array([[1000, 2000], [3000, 5000]], np.uint16), "png"),
        (np.array([[1000, 2000], [3000, 5000]], np.uint16), "tif"),
        (np.array([[-1000, 0], [1000, 3000]], np.int32), "tif"),
        (np.array([[-1.0, 0], [1, 3]], np.float32), "tif"),
    ],
)
def test_deep_grey_is_scaled_from_its_own_range(tmp_path, values, ending):
    path = save(tmp_path / f"a.{ending}", Image.fromarray(values))
    # (v - min) / (max - min) * 255: a quarter is 63.75, half is 127.5 (to even), the top 255
    np.testing.assert_array_equal(pixels(path), [[0, 64], [128, 255]])


def test_big_endian_16_bit_tiff(tmp_path):
    strip = struct.pack(">4H", 1000, 2000, 3000, 5000)
    tags = [(256, 3, 2), (257, 3, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (277, 3, 1)]
    tags += [(273, 4, 8 + 2 + 8 * 12 + 4), (279, 4, 8)]
    data = b"MM\0*" + struct.pack(">IH", 8, len(tags))
    for tag, kind, value in sorted(tags):
        packed = struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
        data += struct.pack(">HHI", tag, kind, 1) + packed
    (tmp_path / "a.tif").write_bytes(data + bytes(4) + strip)
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), [[0, 64], [128, 255]])


def test_constant_deep_grey_is_black(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.full((3, 3), 777, np.uint16)))
    assert pixels(path).max() == 0


def test_values_that_are_not_finite(tmp_path):
    values = np.array([[0, np.nan, 1], [4, np.inf, -np.inf]], np.float32)
    path = save(tmp_path / "a.tif", Image.fromarray(values))
    np.testing.assert_array_equal(pixels(path), [[0, 0, 64], [255, 255, 0]])
    path = save(tmp_path / "b.tif", Image.fromarray(np.full((2, 2), np.nan, np.float32)))
    with pytest.raises(ImageError, match=r"b\.tif: holds no finite value"):
        read_image(path)


def test_transparency_is_laid_on_black(tmp_path):
    alpha = np.array([[0, 255, 255], [255, 255, 51]], np.uint8)  # 51 of 255 is a fifth
    path = save(tmp_path / "la.png", Image.merge("LA", [*map(Image.fromarray, (GREY, alpha))]))
    image = read_image(path)
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), [[0, 10, 20], [30, 40, 51]])
    path = save(tmp_path / "rgba.png", Image.fromarray(np.dstack([COLOUR, alpha])))
    expected = np.rint(COLOUR * (alpha[..., None] / 255))
    np.testing.assert_allclose(pixels(path), expected, atol=1)


def test_palettes(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8)).convert("P")
    image.putpalette([200, 0, 0, 0, 200, 0, 7, 7, 7])
    plain = pixels(save(tmp_path / "p.png", image))
    np.testing.assert_array_equal(plain, [[[200, 0, 0], [0, 200, 0]], [[0, 200, 0], [7, 7, 7]]])
    holed = pixels(save(tmp_path / "t.png", image, transparency=0))
    np.testing.assert_array_equal(holed[0], [[0, 0, 0], [0, 200, 0]])


def test_bilevel_and_cmyk(tmp_path):
    bits = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(
        pixels(save(tmp_path / "b.png", Image.fromarray(bits))), [[255, 0], [0, 255]]
    )
    ink = Image.new("CMYK", (4, 4), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    np.testing.assert_array_equal(pixels(save(tmp_path / "c.tif", ink))[0, 0], [255, 0, 0])


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    path = save(tmp_path / "a.png", Image.fromarray(GREY), exif=exif)
    np.testing.assert_array_equal(pixels(path), np.rot90(GREY, -1))


def test_broken_exif_does_not_lose_the_image(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(GREY), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(pixels(path), GREY)


def test_heic(tmp_path, here):
    heif = pytest.importorskip("pillow_heif")
    flat = np.full((32, 48, 3), (200, 90, 30), np.uint8)
    heif.from_bytes("RGB", (48, 32), flat.tobytes()).save(tmp_path / "a.png", quality=90)
    image = read_image(tmp_path / "a.png")
    assert image.size == (48, 32)
    assert np.abs(np.asarray(image).astype(int) - flat).max() <= 4
    assert read_header(tmp_path / "a.png") == Header("HEIF", "RGB", (32, 48))


def test_heic_without_its_extra_names_it(tmp_path, monkeypatch, here):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(ImageError, match=r'needs pillow-heif; .*pip install "sdmad\[heic\]"'):
        read_image(tmp_path / "a.heic")


def test_frames_of_a_gif_are_counted_within_a_bound(tmp_path, monkeypatch, here):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY), Image.fromarray(GREY[::-1])]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:], loop=0)
    with Image.open(path) as image:
        assert volume_slices(path) == image.n_frames == 3
    np.testing.assert_array_equal(pixels(f"{path}#1"), 255 - GREY)
    monkeypatch.setattr(pictures, "MAX_FRAMES", 2)
    assert volume_slices(path) == 2
    path.write_bytes(path.read_bytes()[:-30])
    assert volume_slices(path) == 2


def test_first_frame_of_several(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    path = save(tmp_path / "a.tif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(path), GREY)


def test_pages_by_index(tmp_path):
    frames = [Image.fromarray(grey) for grey in (GREY, 255 - GREY, GREY[:, ::-1])]
    path = save(tmp_path / "a.tif", frames[0], save_all=True, append_images=frames[1:])
    assert volume_slices(path) == 3
    np.testing.assert_array_equal(pixels(f"{path}#1"), 255 - GREY)
    np.testing.assert_array_equal(pixels(f"{path}#2"), GREY[:, ::-1])
    with pytest.raises(ImageError, match=r"a\.tif: holds 3 slices, 0 to 2; there is no slice 3"):
        read_image(f"{path}#3")
    assert content_hash(path) == content_hash(f"{path}#0") != content_hash(f"{path}#1")


def test_addresses_of_plain_images(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(GREY))
    assert volume_slices(path) == volume_slices(f"{path}#0") == 1
    np.testing.assert_array_equal(pixels(f"{path}#0"), GREY)
    with pytest.raises(ImageError, match="holds one picture; there is no slice 1"):
        read_image(f"{path}#1")
    odd = save(tmp_path / "b.png", Image.fromarray(GREY))
    odd.rename(tmp_path / "b#7")
    np.testing.assert_array_equal(pixels(tmp_path / "b#7"), GREY)
    with pytest.raises(ImageError, match=r"none\.nii: no such file"):
        read_image(tmp_path / "none.nii#3")


DEEP = np.array([[1000, 2000], [3000, 5000]], np.uint16)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("auto", [[0, 64], [128, 255]]),
        ("full", [[0, 64], [128, 255]]),
        # 0.5 and 99.5 per cent of 4 values: 1000 + 0.015 x 1000 and 5000 - 0.015 x 2000
        ("percentiles", [[0, np.rint(985 / 3955 * 255)], [np.rint(1985 / 3955 * 255), 255]]),
        ((2000, 2001), [[0, np.rint((0.5 / 2000 + 0.5) * 255)], [255, 255]]),
    ],
)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_windows_of_deep_greyscale(tmp_path, window, expected, ending):
    path = save(tmp_path / f"a.{ending}", Image.fromarray(DEEP))
    np.testing.assert_array_equal(np.asarray(read_image(path, window)), expected)
    for source in (path, Image.fromarray(DEEP), DEEP, DEEP.astype(np.float64), DEEP[..., None]):
        np.testing.assert_array_equal(np.asarray(to_image(source, window)), expected)


def test_windows_of_eight_bits_act_on_the_grey_values(tmp_path):
    grey = np.array([[10, 60], [110, 210]], np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(grey))
    for source in (path, Image.fromarray(grey), grey):
        np.testing.assert_array_equal(np.asarray(to_image(source)), grey)
        shown = np.asarray(to_image(source, "full"))
        np.testing.assert_array_equal(shown, [[0, 64], [128, 255]])
        shown = np.asarray(to_image(source, (60.5, 101)))
        np.testing.assert_array_equal(shown, [[0, 128], [255, 255]])
    colour = save(tmp_path / "b.png", Image.fromarray(COLOUR))
    for source in (colour, COLOUR, COLOUR.astype(np.int64)):
        np.testing.assert_array_equal(np.asarray(to_image(source, (60.5, 101))), COLOUR)


def test_floats_within_0_and_1_have_their_own_units(tmp_path):
    values = np.array([[0.0, 0.2], [0.4, 0.4]])
    np.testing.assert_array_equal(np.asarray(to_image(values, "full")), [[0, 128], [255, 255]])


def test_unknown_window(tmp_path):
    for source in (tmp_path / "none.png", GREY, Image.fromarray(GREY)):
        with pytest.raises(InputError, match="window: expected auto"):
            to_image(source, "lung")


def test_missing_folder_and_empty(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png: no such file") as caught:
        read_image(tmp_path / "none.png")
    assert caught.value.path == tmp_path / "none.png"
    with pytest.raises(ImageError, match="a folder, not an image"):
        read_image(tmp_path)
    (tmp_path / "e.png").touch()
    with pytest.raises(ImageError, match=r"e\.png: empty file"):
        read_image(tmp_path / "e.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image("a\0b.png")
    with pytest.raises(
        ImageError, match=r"'xxx.*\.\.\.: cannot be read \(File name too long\)"
    ) as caught:
        read_image("x" * 1_000_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "a\udcff.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image("a\ud800.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp"])
def test_truncated(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    path = save(tmp_path / f"a.{ending}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(ImageError, match=rf"a\.{ending}: (damaged|a damaged TIFF|not an image)"):
        read_image(path)


@pytest.mark.parametrize(
    "data", [b"file,labels\na.png,Mass\n", b"%PDF-1.4\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG"]
)
def test_not_an_image(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.png: not an image .* convert it to PNG"):
        read_image(tmp_path / "a.png")


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("side", [14_000, 30_000, 2_000_000])
def test_decompression_bomb_is_refused_from_its_header(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match=r"a\.png: .*refused before decoding; reduce"):
        read_image(tmp_path / "a.png")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_pixel_limit_can_be_set(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(GREY))
    assert read_image(path, max_pixels=6).size == (3, 2)
    with pytest.raises(ImageError, match="3 x 2 is more than 5 pixels"):
        read_image(path, max_pixels=5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_too_small(tmp_path, shape):
    path = save(tmp_path / "a.png", Image.fromarray(np.zeros(shape, np.uint8)))
    with pytest.raises(ImageError, match=r"a\.png: \d x \d pixels is too small"):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (COLOUR, COLOUR),
        (np.array([[False, True], [True, True]]), [[0, 255], [255, 255]]),
        (np.array([[0.0, 0.2], [0.4, 0.4]]), [[0, 51], [102, 102]]),
        (np.array([[0.0, 100], [200, 400]]), [[0, 64], [128, 255]]),
        (np.array([[1000, 2000], [3000, 5000]], np.uint16), [[0, 64], [128, 255]]),
        (np.array([[-1e308, 0], [0, 1e308]]), [[0, 128], [128, 255]]),
        (np.full((2, 2), 7, np.int64), np.zeros((2, 2))),
    ],
)
def test_arrays(array, expected):
    np.testing.assert_array_equal(np.asarray(to_image(array)), expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"must have shape \(H, W\), \(H, W, 1\) or \(H, W, 3\), got \(5,\)"),
        (np.zeros((3, 8, 8)), r"got \(3, 8, 8\)"),
        (np.zeros((8, 8, 4)), r"got \(8, 8, 4\)"),
        (np.zeros((8, 8), complex), "must hold numbers, got complex128"),
        (np.array([["a"]]), "must hold numbers"),
        (np.zeros((0, 4)), r"must not be empty, got shape \(0, 4\)"),
        (np.zeros((1, 1)), "1 x 1 pixels is too small"),
        (np.full((2, 2), np.nan), "no finite value"),
        ([[1, 2], [3, 4]], "a path, a Pillow image or a NumPy array, got list"),
    ],
)
def test_arrays_refused(array, message):
    with pytest.raises(ImageError, match=message):
        to_image(array)


def test_pillow_images_follow_the_rules_of_files(tmp_path):
    deep = Image.fromarray(np.array([[1000, 2000], [3000, 5000]], np.uint16))
    np.testing.assert_array_equal(np.asarray(to_image(deep)), [[0, 64], [128, 255]])
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    path = save(tmp_path / "a.jpg", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:-1000])
    with Image.open(path) as cut, pytest.raises(ImageError, match=r"a\.jpg: ") as caught:
        to_image(cut)
    assert caught.value.path == path


def test_content_hash(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    standard = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert content_hash(path) == content_hash(str(path)) == standard
    with pytest.raises(ImageError, match="no such file"):
        content_hash(tmp_path / "none")
    with pytest.raises(ImageError, match="got int"):
        content_hash(3)
    hashes = {
        content_hash(GREY),
        content_hash(GREY.reshape(3, 2)),
        content_hash(GREY.astype(np.int16)),
        content_hash(Image.fromarray(GREY)),
        content_hash(Image.fromarray(GREY.reshape(3, 2))),
    }
    assert len(hashes) == 5
    assert content_hash(GREY) == content_hash(np.asfortranarray(GREY))


def test_reading_leaves_no_warning(tmp_path, recwarn):
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG", exif=b"Exif\0\0broken")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    gc.collect()  # what other tests left behind must not be found in this one
    recwarn.clear()
    read_image(tmp_path / "a.png")
    assert [str(warning.message) for warning in recwarn] == []
