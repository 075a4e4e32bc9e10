"""TIFF files are written here by hand; the right values are worked out from the specification."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from sdmad.data import tiff
from sdmad.data.headers import Header, read_header
from sdmad.data.images import ImageError, read_image, volume_slices
from sdmad.data.intensity import PartWarning

pytestmark = [
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.IntensityWarning"),
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning"),
]
KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
FORMS = {"u": 1, "i": 2, "f": 3}


def ramp(kind, shape=(20, 30)):
    """From the smallest to the largest value of a type, so that a lost sign or byte shows."""
    kind = np.dtype(kind)
    count = shape[0] * shape[1]
    if kind.kind == "f":
        return np.linspace(-500, 900, count).astype(kind).reshape(shape)
    ends = np.iinfo(kind)
    low, high = int(ends.min), int(ends.max)
    steps = [low + (high - low) * i // (count - 1) for i in range(count)]
    return np.array(steps, dtype=kind).reshape(shape)


def as_shown(values, inverted):
    exact = values.astype(np.float64)
    bright = (exact - exact.min()) / np.ptp(exact)
    return np.rint((1 - bright if inverted else bright) * 255)


def parts_of(values, rows, tile):
    if tile is None:
        return [values[top : top + rows] for top in range(0, len(values), rows)]
    padded = np.pad(values, [(0, -side % tile) for side in values.shape])
    return [
        padded[top : top + tile, left : left + tile]
        for top in range(0, padded.shape[0], tile)
        for left in range(0, padded.shape[1], tile)
    ]


def packed(part, scheme, predictor):
    if predictor == 2:
        words = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("=")))
        words = words.view(f"u{part.dtype.itemsize}").copy()
        words[:, 1:] -= words[:, :-1].copy()
        part = words.astype(words.dtype.newbyteorder(part.dtype.byteorder))
    data = part.tobytes()
    if predictor == 3:
        planes = part.astype(part.dtype.newbyteorder(">")).tobytes()
        size = part.dtype.itemsize
        cut = np.frombuffer(planes, np.uint8).reshape(len(part), -1, size).swapaxes(1, 2)
        cut = cut.reshape(len(part), -1).copy()
        cut[:, 1:] -= cut[:, :-1].copy()
        data = cut.tobytes()
    return zlib.compress(data) if scheme == 8 else data


def write(path, values, order="<", white=False, scheme=1, predictor=1, rows=7, tile=None, **more):
    """One greyscale page, or several where ``more`` has ``pages``."""
    values = values.astype(values.dtype.newbyteorder(order))
    parts = [packed(part, scheme, predictor) for part in parts_of(values, rows, tile)]
    height, width = values.shape
    tags = {256: [width], 257: [height], 258: [8 * values.dtype.itemsize], 259: [scheme]}
    tags |= {262: [0 if white else 1], 277: [1], 317: [predictor]}
    tags |= {339: [FORMS[values.dtype.kind]]}
    tags |= {322: [tile], 323: [tile]} if tile else {278: [rows]}
    at, sizes = (324, 325) if tile else (273, 279)
    offset = 8
    tags[at], body = [], b""
    for part in parts:
        tags[at].append(offset + len(body))
        body += part
    tags[sizes] = [len(part) for part in parts]
    for tag in more.get("without", ()):
        del tags[tag]
    tags |= more.get("tags", {})
    lists = offset + len(body)
    entries = b""
    for tag in sorted(tags):
        numbers = tags[tag]
        if len(numbers) > 1:
            body += struct.pack(f"{order}{len(numbers)}I", *numbers)
            value = lists
            lists += 4 * len(numbers)
        else:
            (value,) = numbers
        entries += struct.pack(f"{order}HHII", tag, 4, len(numbers), value)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    path.write_bytes(mark + struct.pack(f"{order}I", lists) + body + directory)
    return path


def pixels(path, window="auto"):
    return np.asarray(read_image(path, window))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("scheme", [1, 8])
def test_every_type_order_and_polarity(tmp_path, kind, order, white, scheme):
    path = write(tmp_path / "a.tif", ramp(kind), order, white, scheme)
    shown = pixels(path)
    expected = 255 - ramp(kind) if kind == "u1" and white else as_shown(ramp(kind), white)
    if kind == "u1" and not white:
        expected = ramp(kind)  # 8 bits are left as they are
    np.testing.assert_array_equal(shown, expected)
    assert {shown[0, 0], shown[-1, -1]} == {0, 255}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tile", [None, 16])
def test_predictors_and_tiles(tmp_path, kind, order, tile):
    values = ramp(kind, (37, 41))[::-1, ::-1]
    for predictor in (1, 2, 3) if kind in ("f4", "f8") else (1,) if kind == "f2" else (1, 2):
        path = write(tmp_path / "a.tif", values, order, False, 8, predictor, tile=tile)
        expected = values if kind == "u1" else as_shown(values, False)
        np.testing.assert_array_equal(pixels(path), expected)


@pytest.mark.parametrize("scheme", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_lzma"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_what_pillow_writes(tmp_path, scheme, predictor):
    """The other side of the specification: files that libtiff compressed."""
    for kind in ("u2", "i4", "f4"):
        values = ramp(kind)
        more = {317: predictor} if scheme != "packbits" and kind != "f4" else {}
        Image.fromarray(values).save(tmp_path / "a.tif", compression=scheme, tiffinfo=more)
        np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), as_shown(values, False))


def test_bands_of_strips_do_not_show(tmp_path, monkeypatch, here):
    values = ramp("u2", (50, 40))
    for options in ({"rows": 3}, {"tile": 16}, {"rows": 99}):
        path = write(tmp_path / "a.tif", values, **options)
        monkeypatch.setattr(tiff, "BAND", 1)
        one = pixels(path)
        monkeypatch.undo()
        np.testing.assert_array_equal(one, pixels(path))
        np.testing.assert_array_equal(one, as_shown(values, False))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["u1", "u2", "i4"])
def test_orientation(tmp_path, orientation, kind):
    """As Pillow turns pictures of 8 bits: what it does with the number is the oracle."""
    values = np.array([[0, 51, 102], [153, 204, 255]]).astype(kind)
    path = write(tmp_path / "a.tif", values, tags={274: [orientation]})
    grey = Image.fromarray(values.astype(np.uint8))
    grey.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(grey))
    np.testing.assert_array_equal(pixels(path), expected)
    assert read_header(path).shape == expected.shape


def test_a_window_acts_on_the_stored_values_before_white_and_black_change_places(tmp_path):
    values = np.array([[0, 100], [150, 200]], np.uint16)
    path = write(tmp_path / "a.tif", values, white=True)
    np.testing.assert_array_equal(pixels(path, (100.5, 201.0)), [[255, 128], [64, 0]])


def test_big_tiff(tmp_path):
    entries = {256: 2, 257: 2, 258: 16, 259: 1, 262: 0, 273: 16, 277: 1, 278: 2, 279: 8, 339: 2}
    body = struct.pack("<4h", -5, 0, 5, 15)
    directory = struct.pack("<Q", len(entries))
    for tag, value in entries.items():
        directory += struct.pack("<HHQQ", tag, 4, 1, value)
    head = b"II+\0" + struct.pack("<HHQ", 8, 0, 24)
    (tmp_path / "a.tif").write_bytes(head + body + directory + bytes(8))
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), [[255, 191], [128, 0]])


def test_polarity_that_is_not_said(tmp_path):
    for kind in ("u1", "u2"):
        path = write(tmp_path / "a.tif", ramp(kind), without=[262])
        with pytest.raises(
            ImageError, match=r"a\.tif: TIFF that does not say whether its smallest"
        ):
            read_image(path)


def test_packing_that_is_not_read(tmp_path):
    path = write(tmp_path / "a.tif", ramp("i2"), tags={266: [2]})
    with pytest.raises(ImageError, match=r"a\.tif: TIFF of int16 .* fill order 2\); save it with"):
        read_image(path)
    path = write(tmp_path / "a.tif", ramp("f4"), tags={259: [34887]})
    with pytest.raises(ImageError, match=r"\(compression 34887, fill order 1\)"):
        read_image(path)
    path = write(tmp_path / "a.tif", ramp("u2"), tags={284: [2], 277: [3]})
    with pytest.raises(ImageError, match="deep colour in separate planes; save it as PNG"):
        read_image(path)


@pytest.mark.parametrize(
    "tags",
    [
        *({273: [1 << 31]}, {279: [5]}, {278: [0]}, {317: [9], 259: [8]}, {256: [1 << 20]}),
        *({273: [8]}, {322: [16], 323: [16]}),
    ],
)
def test_damage(tmp_path, tags):
    path = write(tmp_path / "a.tif", ramp("i2"), tags=tags)
    with pytest.raises(ImageError, match=r"a\.tif: a damaged TIFF file, or one cut short; copy"):
        read_image(path)


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({258: [12], 262: [0]}, r"\(12 bits, sample format 1, photometric interpretation 0,"),
        ({339: [5], 258: [64]}, r"\(64 bits, sample format 5, photometric interpretation 1,"),
        ({262: [32803]}, r"photometric interpretation 32803, compression 1\); save it as PNG"),
    ],
)
def test_a_kind_that_is_not_read_is_named(tmp_path, tags, told):
    path = write(tmp_path / "a.tif", ramp("u2"), tags=tags)
    for read in (read_image, read_header):
        with pytest.raises(ImageError, match=r"a\.tif: TIFF of a kind that is not read .*" + told):
            read(path)


def test_a_single_plain_strip_is_read_in_bands(tmp_path, monkeypatch, here):
    """However large it is: Pillow would take its bytes for pixels, and for too many."""
    values = ramp("f4", (50, 30))
    path = write(tmp_path / "a.tif", values, rows=50)
    monkeypatch.setattr(tiff, "BAND", 7 * 30 * 4)
    monkeypatch.setattr(tiff, "MAX_PIXELS", 7 * 30 * 4)
    np.testing.assert_array_equal(pixels(path), as_shown(values, False))
    path = write(tmp_path / "a.tif", values, rows=50, tags={279: [50 * 30 * 4 - 1]})
    with pytest.raises(ImageError, match=r"a\.tif: a damaged TIFF file"):
        read_image(path)
    path = write(tmp_path / "a.tif", values, rows=50, scheme=8)
    with pytest.raises(ImageError, match=r"a\.tif: stored in strips .* of more than 840 bytes"):
        read_image(path)


def test_size_is_judged_before_unpacking(tmp_path):
    path = write(tmp_path / "a.tif", ramp("i2"), tags={256: [60000], 257: [60000]})
    with pytest.raises(ImageError, match=r"60000 x 60000 is more than .* refused before decoding"):
        read_image(path)


def test_the_header_is_told_by_the_same_reader(tmp_path):
    path = write(tmp_path / "a.tif", ramp("i1"), ">", True)  # Pillow cannot open it
    assert read_header(path) == Header("TIFF", "int8", (20, 30))


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
@pytest.mark.parametrize("scheme", ["raw", "tiff_lzw"])
def test_pages(tmp_path, mode, scheme):
    kind = np.uint16 if mode == "I;16" else np.uint8
    shape = (3, 20, 30, 3) if mode == "RGB" else (3, 20, 30)
    values = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    values[:, 0, :2] = np.array([0, 255]).reshape((1, 2, 1) if mode == "RGB" else (1, 2))
    pages = [Image.fromarray(page) for page in values]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression=scheme)
    assert volume_slices(path) == read_header(path).slices == 3
    for index in range(3):
        np.testing.assert_array_equal(pixels(f"{path}#{index}"), values[index])
    with pytest.warns(PartWarning, match=r"a\.tif: of its 3 pages the first is read; name anot"):
        np.testing.assert_array_equal(pixels(path), values[0])
    with pytest.raises(ImageError, match=r"holds 3 slices, 0 to 2; there is no slice 3"):
        read_image(f"{path}#3")


def test_pages_are_counted_within_a_bound(tmp_path, monkeypatch):
    """Directories that follow each other, and one that follows itself."""
    body = b"".join(
        struct.pack("<HHHIII", 1, 256, 4, 1, 8, 8 + 18 * (place + 1)) for place in range(50)
    )
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + body + bytes(30))
    monkeypatch.setattr(tiff, "MAX_PAGES", 20)
    with tiff.opened(path) as file:
        assert len(file.at) == 20
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + body[:14] + struct.pack("<I", 8))
    with tiff.opened(path) as file:
        assert file.at == (8,)
