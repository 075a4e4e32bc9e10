import logging
import struct
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
    get_decoder,
    pixel_array,
)
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from sdmad.data import dicom, intensity
from sdmad.data.images import ImageError, content_hash, read_image, volume_slices
from sdmad.data.intensity import IntensityWarning, PartWarning
from sdmad.data.limits import reading_limits

FILES = Path(pydicom.data.__file__).parent / "test_files"
NAME = "Doe^Secret"
RAMP = np.array([[0, 100], [200, 400]], np.uint16)  # 0, a quarter, a half, all of the range

pytestmark = [  # the library may speak in the oracles; the tests of silence record for themselves
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.IntensityWarning"),
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),
]


def dataset(pixels, syntax=ExplicitVRLittleEndian, **attributes):
    pixels = np.asarray(pixels)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.SOPClassUID, data.Modality = data.file_meta.MediaStorageSOPClassUID, "OT"
    data.PatientName, data.PatientID = NAME, NAME
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    kind = "<" if syntax.is_little_endian else ">"
    data.PixelData = pixels.astype(pixels.dtype.newbyteorder(kind)).tobytes()
    data["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    data.HighBit = attributes.get("HighBit", data.BitsStored - 1)
    return data


def save(path, data):
    data.save_as(path, enforce_file_format=True)
    return path


def shown(path, data, window="auto"):
    return np.asarray(read_image(save(path, data), window))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.dcm"


@pytest.fixture
def nothing_told(monkeypatch):
    """What was told before is forgotten."""
    monkeypatch.setattr(intensity, "_told", set())
    return intensity._told


# ---- pydicom's own files


UNREADABLE = {
    "JPEG-lossy.dcm": "JPEG Extended .* of a rare kind",
    "JPGExtended.dcm": "JPEG Extended .* of a rare kind",
    "JPEG2000-embedded-sequence-delimiter.dcm": "another size than its header",
    "MR_truncated.dcm": "cut short",
    "badVR.dcm": "NumberOfFrames is no number",
    "meta_missing_tsyntax.dcm": "header has no Rows",
    "nested_priv_SQ.dcm": "header has no Rows",
    "no_meta.dcm": "not an image",  # starts with a blank
}
NO_PICTURE = "DICOM without pixel data|not an image|holds no NIfTI"
BUNDLED = sorted(p for p in FILES.rglob("*") if p.is_file() and "TINY_ALPHA" not in p.parts)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    PICTURES = [p for p in BUNDLED if "PixelData" in pydicom.dcmread(p, force=True)]


@pytest.mark.parametrize("path", BUNDLED, ids=lambda p: p.name)
def test_every_bundled_file_reads_or_is_refused(path, capfd, here):
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True) if path in PICTURES else {}
    capfd.readouterr()  # of what pydicom says
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if path.name in UNREADABLE or path not in PICTURES:
            with pytest.raises(
                ImageError,
                match=UNREADABLE.get(path.name, NO_PICTURE),
            ) as error:
                read_image(path)
            assert str(path) in str(error.value)
        else:
            image = read_image(path)
            assert image.size == (header.Columns, header.Rows)
            assert volume_slices(path) == int(header.get("NumberOfFrames") or 1)
            assert (image.mode == "RGB") == (
                header.SamplesPerPixel == 3 or header.PhotometricInterpretation == "PALETTE COLOR"
            )
    assert capfd.readouterr() == ("", "")
    assert all(entry.category in (IntensityWarning, PartWarning) for entry in caught)


def test_most_bundled_pictures_read():
    assert len([p for p in PICTURES if p.name not in UNREADABLE]) >= 70


def by_pydicom(path, frame):
    """What pydicom's own functions make of a greyscale frame, as 8 bits."""
    data = pydicom.dcmread(path)
    stored = data.pixel_array
    stored = stored[frame] if stored.ndim == 3 else stored
    inside = stored != data.get("PixelPaddingValue")
    values = apply_modality_lut(stored, data).astype(np.float64)
    low, high = values[inside].min(), values[inside].max()
    if "WindowWidth" in data:
        slope, intercept = data.get("RescaleSlope", 1), data.get("RescaleIntercept", 0)
        below = data.PixelRepresentation * 2 ** (data.BitsStored - 1)
        low, high = (v * slope + intercept for v in (-below, 2**data.BitsStored - 1 - below))
        values = apply_voi_lut(values, data)
    elif data.BitsStored == 8 and "RescaleSlope" not in data:
        low, high = 0, 255
    if data.PhotometricInterpretation == "MONOCHROME1":
        low, high = high, low
    shown = (values - low) / (high - low) * 255 if low != high else np.zeros(values.shape)
    return np.where(inside, shown, 0)


GREY = [
    p
    for p in PICTURES
    if p.name not in UNREADABLE and pydicom.dcmread(p).PhotometricInterpretation.startswith("MONO")
]


@pytest.mark.parametrize("path", GREY, ids=lambda p: p.name)
def test_grey_agrees_with_pydicom(path):
    count = volume_slices(path)
    np.testing.assert_allclose(
        np.asarray(read_image(path)), by_pydicom(path, count // 2), atol=0.5 + 1e-6
    )


def test_the_comparison_covers_windows_and_both_polarities():
    headers = [pydicom.dcmread(p) for p in GREY]
    assert sum("WindowWidth" in h for h in headers) >= 20
    assert sum("RescaleSlope" in h for h in headers) >= 10
    assert sum("PixelPaddingValue" in h for h in headers) >= 5
    assert sum(h.PixelRepresentation for h in headers) >= 5
    assert sum(h.PhotometricInterpretation == "MONOCHROME1" for h in headers) >= 3


@pytest.mark.parametrize("name", ["SC_rgb_rle", "SC_rgb_small_odd", "examples_ybr_color"])
def test_colour_agrees_with_pydicom(name):
    path = FILES / f"{name}.dcm"
    count = volume_slices(path)
    expected = pixel_array(path, index=count // 2)
    np.testing.assert_array_equal(np.asarray(read_image(path)), expected)


def test_bundled_palette_agrees_with_pydicom():
    data = pydicom.dcmread(FILES / "examples_palette.dcm")
    expected = apply_color_lut(data.pixel_array, data)
    if expected.dtype == np.uint16:
        expected = expected >> 8
    np.testing.assert_array_equal(
        np.asarray(read_image(FILES / "examples_palette.dcm")), expected[..., :3]
    )


def test_deflated_file_agrees_with_pydicom():
    data = pydicom.dcmread(FILES / "image_dfl.dcm")
    values = data.pixel_array
    assert data.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    np.testing.assert_array_equal(np.asarray(read_image(FILES / "image_dfl.dcm")), values)


# ---- made by hand


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_own_range_without_a_window(file, syntax):
    np.testing.assert_array_equal(shown(file, dataset(RAMP, syntax)), [[0, 64], [128, 255]])


def mislabelled(path, wrong):
    """Rewrite the transfer syntax of a file, nothing else."""
    with path.open("rb") as stream:
        meta = pydicom.filereader.read_file_meta_info(path)
    stream = path.read_bytes()
    old = meta.TransferSyntaxUID
    start = 132 + 12 + meta.FileMetaInformationGroupLength
    meta.TransferSyntaxUID = wrong
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    pydicom.filewriter.write_file_meta_info(buffer, meta)
    assert old != wrong
    path.write_bytes(bytes(128) + b"DICM" + buffer.getvalue() + stream[start:])
    return path


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_encoding_is_taken_from_the_data_not_from_its_name(file, written, named, kind):
    ramp = (RAMP // 2).astype(kind)
    data = dataset(ramp, written, WindowCenter=100.5, WindowWidth=201)
    mislabelled(save(file, data), named)
    np.testing.assert_array_equal(np.asarray(read_image(file)), [[0, 64], [128, 255]])


WINDOW = {"WindowCenter": 50, "WindowWidth": 100}


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_frames_in_a_data_set_of_implicit_representation(file, syntax):
    noise = np.random.default_rng(1).integers(0, 99, (20, 24)).astype(np.uint16)
    data, packed = (dataset(noise, **WINDOW) for _ in range(2))
    packed.compress(syntax, generate_instance_uid=False)
    expected = shown(file, data)
    raw = save(file, dataset(noise, ImplicitVRLittleEndian, **WINDOW)).read_bytes()
    tag = struct.pack("<HH", 0x7FE0, 0x10)
    head = raw[: raw.rindex(tag)] + tag + struct.pack("<I", 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    file.write_bytes(head + packed.PixelData + end)
    mislabelled(file, syntax)
    np.testing.assert_array_equal(np.asarray(read_image(file)), expected)


def test_jpeg_in_a_data_set_of_implicit_representation_agrees_with_pydicom():
    path = FILES / "SC_rgb_jpeg.dcm"
    np.testing.assert_array_equal(np.asarray(read_image(path)), pydicom.dcmread(path).pixel_array)


def test_eight_bits_as_words_of_a_big_endian_file(file):
    grey = np.array([[10, 20, 30, 40], [50, 60, 70, 80]], np.uint8)
    data = dataset(grey, ExplicitVRBigEndian)
    data.PixelData = grey.reshape(-1, 2)[:, ::-1].tobytes()  # the bytes of each word are swapped
    data["PixelData"].VR = "OW"
    data.save_as(file, implicit_vr=False, little_endian=False, enforce_file_format=True)
    np.testing.assert_array_equal(np.asarray(read_image(file)), grey)


@pytest.mark.parametrize(
    "keyword",
    [
        *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored"),
        *("PixelRepresentation", "PhotometricInterpretation"),
    ],
)
@pytest.mark.parametrize("grey", [True, False])
def test_a_missing_attribute_is_named(file, keyword, grey):
    data = dataset(RAMP)
    if not grey:
        colour = np.zeros((2, 2, 3), np.uint8)
        data = dataset(colour, SamplesPerPixel=3, PhotometricInterpretation="RGB")
        data.PlanarConfiguration = 0
    delattr(data, keyword)
    with pytest.raises(ImageError, match=rf"a\.dcm: DICOM whose header has no {keyword}; export"):
        shown(file, data)


def test_an_empty_text_attribute_is_missing(file):
    with pytest.raises(ImageError, match="whose header has no PhotometricInterpretation"):
        shown(file, dataset(RAMP, PhotometricInterpretation=""))


def test_a_number_of_frames_that_is_none_is_named(file):
    save(file, dataset(RAMP, NumberOfFrames="7777"))
    file.write_bytes(file.read_bytes().replace(b"7777", b"many"))
    with pytest.raises(ImageError, match=r"a\.dcm: DICOM whose NumberOfFrames is no number"):
        read_image(file)


def test_big_endian(tmp_path):
    path = tmp_path / "a.dcm"
    data = dataset(RAMP, ExplicitVRBigEndian)
    data.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    np.testing.assert_array_equal(np.asarray(read_image(path)), [[0, 64], [128, 255]])


def test_without_preamble(file):
    data = dataset(RAMP)
    del data.file_meta
    for implicit, little in ((True, True), (False, True), (False, False)):
        if not little:
            data.PixelData = RAMP.astype(">u2").tobytes()
        data.save_as(file, implicit_vr=implicit, little_endian=little)
        assert file.read_bytes()[128:132] != b"DICM"
        np.testing.assert_array_equal(np.asarray(read_image(file)), [[0, 64], [128, 255]])


def test_eight_bits_without_a_window_are_left_alone(file):
    grey = np.array([[10, 20], [30, 40]], np.uint8)
    np.testing.assert_array_equal(shown(file, dataset(grey)), grey)
    inverted = dataset(grey, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(shown(file, inverted), 255 - grey)
    np.testing.assert_array_equal(shown(file, dataset(grey), "full"), [[0, 85], [170, 255]])


def test_monochrome1_is_inverted_after_the_window(file):
    data = dataset(RAMP, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(shown(file, data), [[255, 191], [128, 0]])
    data.WindowCenter, data.WindowWidth = 100.5, 101  # 50 is black, 150 white, before inversion
    np.testing.assert_array_equal(shown(file, data), [[255, 128], [0, 0]])


def test_signed_twelve_bits_and_high_bit(file):
    values = np.array([[-2048, -1024], [0, 2047]])
    words = (values & 0xFFF).astype(np.uint16) | 0xA000  # an overlay in the unused bits
    data = dataset(words, BitsStored=12, PixelRepresentation=1)
    expected = np.rint((values + 2048) / 4095 * 255)
    np.testing.assert_array_equal(shown(file, data), expected)
    data = dataset((words << 4 | 0x7).astype(np.uint16), BitsStored=12, PixelRepresentation=1)
    data.HighBit = 15
    np.testing.assert_array_equal(shown(file, data), expected)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("little", [True, False])
def test_bits_are_taken_out_of_words_of_any_size(file, kind, signed, little):
    """Every value of 6 bits, which lie below two others and above the rest, which are noise."""
    syntax = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    bits = 8 * np.dtype(kind).itemsize
    values = np.arange(64).reshape(8, 8)
    noise = np.random.default_rng(0).integers(0, 1 << bits, (8, 8), dtype=kind)
    place = bits - 8  # of the lowest of the 6
    keep = kind(((1 << bits) - 1) ^ (63 << place))
    words = noise & keep | (values << place).astype(kind)
    data = dataset(words, syntax, BitsStored=6, HighBit=place + 5, PixelRepresentation=signed)
    data.save_as(file, implicit_vr=False, little_endian=little, enforce_file_format=True)
    taken = np.where(values >= 32, values - 64, values) if signed else values
    expected = np.rint((taken - taken.min()) / 63 * 255)
    np.testing.assert_array_equal(np.asarray(read_image(file)), expected)


@pytest.mark.parametrize(("stored", "high"), [(0, 15), (12, 10), (12, 16)])
def test_bits_that_do_not_fit(file, stored, high):
    data = dataset(RAMP)
    data.BitsStored, data.HighBit = stored, high
    with pytest.raises(ImageError, match=r"a\.dcm: "):
        shown(file, data)


def test_rescale_gives_the_units_of_an_explicit_window(file):
    stored = np.array([[0, 1063], [1064, 2000]], np.uint16)
    data = dataset(stored, RescaleSlope=1, RescaleIntercept=-1024)
    # HU -1024, 39, 40 and 976 in the window 40, 400: (x - 39.5) / 399 + 0.5
    expected = [[0, np.rint((-0.5 / 399 + 0.5) * 255)], [np.rint((0.5 / 399 + 0.5) * 255), 255]]
    np.testing.assert_array_equal(shown(file, data, (40, 400)), expected)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (None, [[0, 0], [1 / 3, 1]]),  # (x - 99.5) / 3 + 0.5 at 97, 98, 99, 101
        ("LINEAR", [[0, 0], [1 / 3, 1]]),
        ("LINEAR_EXACT", [[0, 0], [1 / 4, 3 / 4]]),  # (x - 100) / 4 + 0.5
        (
            "SIGMOID",
            [[1 / (1 + np.exp(3)), 1 / (1 + np.exp(2))], [1 / (1 + np.e), np.e / (1 + np.e)]],
        ),
        ("nonsense", [[0, 0], [1 / 3, 1]]),
    ],
)
def test_window_functions(file, function, expected):
    data = dataset(np.array([[97, 98], [99, 101]], np.uint16), WindowCenter=100, WindowWidth=4)
    if function:
        data.VOILUTFunction = function
    np.testing.assert_array_equal(shown(file, data), np.rint(np.array(expected) * 255))


def test_first_of_several_windows_and_useless_ones(file):
    data = dataset(RAMP, WindowCenter=[200.5, 0], WindowWidth=[401, 1])
    np.testing.assert_array_equal(shown(file, data), [[0, 64], [128, 255]])
    half = dataset(np.uint16([[0, 100], [150, 200]]), WindowCenter=0, WindowWidth=0)
    np.testing.assert_array_equal(shown(file, half), [[0, 128], [191, 255]])
    half.WindowCenter = half.WindowWidth = None
    np.testing.assert_array_equal(shown(file, half), [[0, 128], [191, 255]])


def write_text(path, data, keyword, text):
    """Save a file with a text in an attribute that pydicom would not write."""
    element = data[keyword]
    save(path, data)
    raw = path.read_bytes()
    start = raw.index(struct.pack("<HH", element.tag.group, element.tag.elem))
    length = struct.unpack("<H", raw[start + 6 : start + 8])[0]
    text = text.encode().ljust(len(text) + len(text) % 2)
    new = raw[start : start + 6] + struct.pack("<H", len(text)) + text
    path.write_bytes(raw[:start] + new + raw[start + 8 + length :])
    return path


@pytest.mark.parametrize("text", ["2048,0", "AUTO", "1_0", "nan", "1e999", "-5", "0", "2 5"])
def test_a_window_that_is_no_number_is_passed_over(file, text, nothing_told):
    for keyword in ("WindowWidth", "WindowCenter")[: 1 if text in ("-5", "0") else 2]:
        nothing_told.clear()
        data = dataset(RAMP, WindowCenter=99, WindowWidth=99)
        write_text(file, data, keyword, text)
        with pytest.warns(IntensityWarning, match=r"a\.dcm: a window .* is passed over"):
            image = np.asarray(read_image(file))
        np.testing.assert_array_equal(image, [[0, 64], [128, 255]])


@pytest.mark.parametrize("text", ["2048,0", "AUTO"])
def test_it_is_not_looked_at_where_the_user_chose_a_window(file, text, nothing_told, recwarn):
    write_text(file, dataset(RAMP, WindowCenter=99, WindowWidth=99), "WindowWidth", text)
    expected = [[0, 64], [128, 255]]
    for window in ("full", (200.5, 401.0)):
        np.testing.assert_array_equal(np.asarray(read_image(file, window)), expected)
    assert read_image(file, "percentiles").size == (2, 2)
    assert [w for w in recwarn if "window" in str(w.message)] == []


def test_the_first_window_that_can_be_used_counts(file):
    data = dataset(RAMP, WindowCenter=[7, 8, 200.5, 9], WindowWidth=[1, 2, 401, 2])
    write_text(file, data, "WindowWidth", "AUTO\\0\\401\\2")
    np.testing.assert_array_equal(np.asarray(read_image(file)), [[0, 64], [128, 255]])


@pytest.mark.parametrize("lacking", ["WindowCenter", "WindowWidth"])
def test_half_a_window_is_passed_over(file, lacking, nothing_told):
    data = dataset(RAMP, WindowCenter=99, WindowWidth=99)
    delattr(data, lacking)
    with pytest.warns(IntensityWarning, match=r"a\.dcm: a window .* is passed over"):
        image = shown(file, data)
    np.testing.assert_array_equal(image, [[0, 64], [128, 255]])


@pytest.mark.parametrize("slope", ["1e307", "-9e306"])
def test_a_rescale_beyond_all_numbers(file, slope, nothing_told, recwarn):
    """It is told as one that is no number, and nothing else is."""
    data = dataset(RAMP, RescaleSlope=2, RescaleIntercept=7, WindowCenter=3, WindowWidth=3)
    write_text(file, data, "RescaleSlope", slope)
    np.testing.assert_array_equal(np.asarray(read_image(file)), [[0, 64], [128, 255]])
    assert ["rescale slope or intercept" in str(w.message) for w in recwarn] == [True]


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_is_no_number(file, keyword, nothing_told):
    """Its units are not known: its own range can be shown, a window in units cannot."""
    data = dataset(RAMP, RescaleSlope=2, RescaleIntercept=7, WindowCenter=3, WindowWidth=3)
    write_text(file, data, keyword, "1,0")
    with pytest.warns(IntensityWarning, match=r"a\.dcm: rescale slope or intercept is no number"):
        image = np.asarray(read_image(file))
    np.testing.assert_array_equal(image, [[0, 64], [128, 255]])
    with pytest.raises(ImageError, match=r"a\.dcm: rescale .* 40,400 is in are not known; take"):
        read_image(file, (40, 400))


def test_a_padding_value_that_is_no_number(file, nothing_told):
    data = dataset(RAMP)
    data.add_new("PixelPaddingValue", "LO", "none")
    save(file, data)
    with pytest.warns(IntensityWarning, match=r"a\.dcm: its pixel padding value is no number"):
        image = np.asarray(read_image(file))
    np.testing.assert_array_equal(image, [[0, 64], [128, 255]])


def lut(entries, first, bits, kind="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", kind, entries if kind == "US" else np.uint16(entries).tobytes())
    return Sequence([item])


@pytest.mark.parametrize("kind", ["US", "OW"])
def test_voi_lut(file, kind):
    data = dataset(np.array([[0, 10], [11, 99]], np.uint16), WindowCenter=1, WindowWidth=1)
    data.VOILUTSequence = lut([1023, 0, 341], 9, 10, kind)  # goes before the window
    # below 9 the first entry; 10 and 11 the second and third; beyond the last
    np.testing.assert_array_equal(shown(file, data), [[255, 0], [85, 85]])
    oracle = apply_voi_lut(data.pixel_array, pydicom.dcmread(file)) / 1023 * 255
    np.testing.assert_array_equal(shown(file, data), oracle)


CT = np.arange(4096, dtype=np.uint16).reshape(64, 64)
TABLE = np.linspace(0, 255, 400).round().astype(int).tolist()


def by_formula(values, table, first, bits):
    """PS3.3 C.11.2.1.1: below the first value the first entry, beyond the last the last."""
    places = np.clip(values.astype(int) - first, 0, len(table) - 1)
    return np.rint(np.array(table)[places] / (2**bits - 1) * 255)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("kind", ["US", "SS"])
def test_a_voi_lut_of_rescaled_values_begins_below_zero(file, syntax, kind):
    data = dataset(CT, syntax, BitsStored=12, RescaleSlope=1, RescaleIntercept=-1024)
    data.VOILUTSequence = lut(TABLE, 0, 8)
    first = -160 if kind == "SS" else 65536 - 160
    data.VOILUTSequence[0].add_new("LUTDescriptor", kind, [400, first, 8])
    expected = by_formula(CT.astype(int) - 1024, TABLE, -160, 8)
    np.testing.assert_array_equal(shown(file, data), expected)
    assert (expected.min(), expected.max()) == (0, 255)


def test_a_voi_lut_of_signed_pixels_that_are_rescaled_upwards(file):
    signed = (CT.astype(int) - 2048).astype(np.int16)
    data = dataset(signed, BitsStored=12, RescaleSlope=1, RescaleIntercept=40000)
    data.VOILUTSequence = lut(TABLE, 39000, 8)
    expected = by_formula(signed.astype(int) + 40000, TABLE, 39000, 8)
    np.testing.assert_array_equal(shown(file, data), expected)
    assert (expected.min(), expected.max()) == (0, 255)


def test_a_voi_lut_after_a_modality_lut_begins_above_32767(file):
    signed = (CT.astype(int) - 2048).astype(np.int16)
    data = dataset(signed, BitsStored=12)
    modality = (np.arange(4096) * 16).tolist()
    data.ModalityLUTSequence = lut(modality, -2048, 16)
    data.VOILUTSequence = lut(TABLE, 33000, 8)
    expected = by_formula((signed.astype(int) + 2048) * 16, TABLE, 33000, 8)
    np.testing.assert_array_equal(shown(file, data), expected)
    assert (expected.min(), expected.max()) == (0, 255)


def test_a_table_that_uses_fewer_bits_than_it_says_is_told_of(file, nothing_told):
    values = np.array([[0, 1], [2, 3]], np.uint16)
    data = dataset(values)
    data.VOILUTSequence = lut([100, 1100, 2100, 4100], 0, 16)
    with pytest.warns(IntensityWarning, match=r"a\.dcm: .* says 16 bits and uses 13: .* dark"):
        image = shown(file, data)
    np.testing.assert_array_equal(image, np.rint(np.array([[100, 1100], [2100, 4100]]) / 257))
    # its own range: (100, 4100) to (0, 255)
    np.testing.assert_array_equal(shown(file, data, "lut"), [[0, 64], [128, 255]])
    data.VOILUTSequence = lut([100, 1100, 2100, 65535], 0, 16)
    nothing_told.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown(file, data)


def test_the_window_lut_is_auto_where_there_is_no_table(file):
    data = dataset(RAMP, WindowCenter=100.5, WindowWidth=101)
    np.testing.assert_array_equal(shown(file, data, "lut"), shown(file, data))
    grey = np.array([[10, 20], [30, 40]], np.uint8)
    np.testing.assert_array_equal(shown(file, dataset(grey), "lut"), grey)


def test_a_broken_table_is_passed_over(file, nothing_told):
    data = dataset(RAMP, WindowCenter=200.5, WindowWidth=401)
    data.VOILUTSequence = lut([1, 2, 3], 0, 16)
    data.VOILUTSequence[0].LUTDescriptor = [9, 0, 16]
    with pytest.warns(IntensityWarning, match=r"a lookup table in its header cannot be used"):
        image = shown(file, data)
    np.testing.assert_array_equal(image, [[0, 64], [128, 255]])


def test_modality_lut_with_a_negative_start(file):
    data = dataset(np.array([[-5, -2], [-1, 7]], np.int16))
    data.ModalityLUTSequence = lut([100, 300, 200], -2, 16)
    np.testing.assert_array_equal(shown(file, data), [[0, 0], [255, 128]])
    short = dataset(RAMP)
    short.ModalityLUTSequence = lut([1, 2, 3], 0, 16)
    short.ModalityLUTSequence[0].LUTDescriptor = [9, 0, 16]
    with pytest.raises(ImageError, match=r"a\.dcm: a damaged DICOM"):
        shown(file, short)


def test_padding_is_black_and_does_not_count(file):
    values = np.array([[-2000, 0], [100, 200]], np.int16)
    data = dataset(values)
    data.add_new("PixelPaddingValue", "US", 65536 - 2000)  # with the wrong sign, as is common
    np.testing.assert_array_equal(shown(file, data), [[0, 0], [128, 255]])
    data.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(shown(file, data), [[0, 255], [128, 0]])
    data.add_new("PixelPaddingRangeLimit", "SS", 50)
    np.testing.assert_array_equal(shown(file, data), [[0, 0], [255, 0]])
    data.add_new("PixelPaddingRangeLimit", "SS", 3000)
    np.testing.assert_array_equal(shown(file, data), np.zeros((2, 2)))


FRAMES = np.arange(5 * 4, dtype=np.uint16).reshape(5, 2, 2) * 1000


def frames_dataset():
    data = dataset(FRAMES[0], NumberOfFrames=5)
    data.PixelData = FRAMES.tobytes()
    return data


def test_frames(file):
    save(file, frames_dataset())
    assert volume_slices(file) == 5
    window = (5000, 20000)
    images = [np.asarray(read_image(f"{file}#{index}", window)) for index in range(5)]
    for image, values in zip(images, FRAMES, strict=True):
        np.testing.assert_array_equal(
            image, np.rint(np.clip((values - 4999.5) / 19999 + 0.5, 0, 1) * 255)
        )
    np.testing.assert_array_equal(np.asarray(read_image(file, window)), images[2])
    with pytest.raises(ImageError, match=r"a\.dcm: holds 5 slices, 0 to 4; there is no slice 5"):
        read_image(f"{file}#5")
    assert content_hash(f"{file}#2") == content_hash(file)
    assert len({content_hash(f"{file}#{index}") for index in range(5)}) == 5
    with pytest.raises(ImageError, match="no slice 9"):
        content_hash(f"{file}#9")


def test_functional_groups_of_a_frame(file):
    data = frames_dataset()

    def group(**attributes):
        item, outer = Dataset(), Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        name = "FrameVOILUT" if "WindowWidth" in attributes else "PixelValueTransformation"
        setattr(outer, f"{name}Sequence", Sequence([item]))
        return outer

    data.SharedFunctionalGroupsSequence = Sequence([group(RescaleSlope=2, RescaleIntercept=-8000)])
    data.PerFrameFunctionalGroupsSequence = Sequence(
        [group(WindowCenter=1000 * i + 0.5, WindowWidth=8001) for i in range(5)]
    )
    save(file, data)
    # frame 1: 2 x 4000 - 8000 = 0, 2000, 4000, 6000; black at -3000, white at 5000
    np.testing.assert_array_equal(np.asarray(read_image(f"{file}#1")), [[96, 159], [223, 255]])


def test_palette_with_16_bit_and_segmented_entries(file):
    data = dataset(np.array([[0, 1], [2, 9]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    tables = {"Red": [0, 0x7FFF, 0xFFFF], "Green": [256, 512, 768], "Blue": [0, 0, 0xFF00]}
    for colour, entries in tables.items():
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [3, 0, 16])
        setattr(data, f"{colour}PaletteColorLookupTableData", np.uint16(entries).tobytes())
    expected = [[[0, 1, 0], [127, 2, 0]], [[255, 3, 255]] * 2]
    np.testing.assert_array_equal(shown(file, data), expected)
    for colour, entries in tables.items():
        delattr(data, f"{colour}PaletteColorLookupTableData")
        words = np.uint16([0, 1, entries[0], 0, 2, *entries[1:]])
        setattr(data, f"Segmented{colour}PaletteColorLookupTableData", words.tobytes())
    np.testing.assert_array_equal(shown(file, data), expected)
    del data.SegmentedBluePaletteColorLookupTableData
    with pytest.raises(ImageError, match="damaged"):
        shown(file, data)


def test_segments_agree_with_pydicom():
    from pydicom.pixels.processing import _expand_segmented_lut as oracle

    from sdmad.data.dicom_luts import expand_segments

    words = [0, 3, 5, 9, 300, 1, 7, 12, 2, 2, 0, 0, 0, 1, 8]
    np.testing.assert_array_equal(expand_segments(words, False, True), oracle(tuple(words), "<15H"))
    bytewise = [0, 2, 3, 9, 1, 5, 100, 2, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(
        expand_segments(bytewise, True, True)[:7], oracle(tuple(bytewise), "<13B")[:7]
    )


@pytest.mark.parametrize(
    "words",
    [[2, 1, 0, 0], [0, 1, 5, 2, 9, 3, 0], [1, 4, 9], [7, 1, 1], [0, 9, 1], [0, 1, 5, 2, 1, 99, 99]],
)
def test_segments_that_would_never_end_or_make_no_sense(words):
    from sdmad.data.dicom_luts import expand_segments

    with pytest.raises(ValueError, match="palette segment"):
        expand_segments(words, False, True)


def test_segments_stay_within_65536_entries():
    from sdmad.data.dicom_luts import expand_segments

    words = [0, 1, 5] + [1, 65535, 9, 1, 65535, 5] * 50
    assert len(expand_segments(words, False, True)) <= 1 << 16


def test_one_bit_masks(file):
    bits = np.random.default_rng(0).integers(0, 2, (2, 4, 5)).astype(np.uint8)
    data = dataset(bits[0], BitsAllocated=1, BitsStored=1, NumberOfFrames=2)
    data.PixelData = np.packbits(bits, bitorder="little").tobytes() + b"\0"
    save(file, data)
    for index in range(2):
        np.testing.assert_array_equal(np.asarray(read_image(f"{file}#{index}")), bits[index] * 255)


def test_colour_keeps_the_upper_bits(file):
    colour = np.array([[[0, 256, 65535], [1, 2, 3]], [[512, 0, 0], [9, 9, 9]]], np.uint16)
    data = dataset(colour, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    data.PlanarConfiguration = 0
    np.testing.assert_array_equal(shown(file, data), colour >> 8)
    np.testing.assert_array_equal(shown(file, data, (40, 400)), colour >> 8)  # never windowed


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_compressed_frames_agree_with_native(tmp_path, syntax, kind):
    pixels = np.random.default_rng(0).integers(0, 200, (3, 64, 80)).astype(kind)
    if kind is np.int16:
        pixels -= 100
    data = dataset(pixels[0], NumberOfFrames=3, WindowCenter=60, WindowWidth=300)
    data.PixelData = pixels.tobytes()
    plain = save(tmp_path / "plain.dcm", data)
    data.compress(syntax, generate_instance_uid=False)
    packed = save(tmp_path / "packed.dcm", data)
    for index in range(3):
        one, other = (np.asarray(read_image(f"{p}#{index}")) for p in (plain, packed))
        np.testing.assert_array_equal(one, other)
        assert one.std() > 10


# ---- what must be refused


def test_no_pixel_data(file):
    data = dataset(RAMP)
    del data.PixelData
    with pytest.raises(ImageError, match=r"a\.dcm: DICOM without pixel data \(a report"):
        shown(file, data)


def test_float_pixel_data(file):
    data = dataset(RAMP)
    del data.PixelData
    data.FloatPixelData = np.zeros((2, 2), np.float32).tobytes()
    data.BitsAllocated = 32
    with pytest.raises(ImageError, match="float pixel data"):
        shown(file, data)


@pytest.mark.parametrize("photometric", ["HSV", "CMYK", "YBR_PARTIAL_422"])
def test_unknown_photometric_interpretation(file, photometric):
    with pytest.raises(ImageError, match=r"unknown photometric .* save it as RGB"):
        shown(file, dataset(RAMP, PhotometricInterpretation=photometric))


def test_samples_that_contradict_the_photometric_interpretation(file):
    with pytest.raises(ImageError, match="RGB with 1 samples a pixel"):
        shown(file, dataset(RAMP, PhotometricInterpretation="RGB"))


@pytest.mark.parametrize(
    "change", [{"Rows": 3}, {"Rows": 1}, {"Columns": 4}, {"NumberOfFrames": 2}]
)
def test_wrong_lengths(file, change):
    pixels = np.zeros((4, 2), np.uint16) if "Rows" in change else RAMP
    data = dataset(pixels)
    for keyword, value in change.items():
        setattr(data, keyword, value)
    if data.Rows == 1:
        data.Rows = 2  # half of the picture
    with pytest.raises(ImageError, match=r"a\.dcm: the pixel data has another length \(\d+ bytes"):
        shown(file, data)


@pytest.mark.parametrize("lost", [1, 5, 40, 200])
def test_cut_short(file, lost):
    save(file, dataset(np.zeros((20, 20), np.uint16)))
    file.write_bytes(file.read_bytes()[:-lost])
    with pytest.raises(ImageError, match=r"a\.dcm: .*cut short; copy or export it again"):
        read_image(file)


@pytest.mark.parametrize("length", [132, 140, 200, 330, 420])
def test_header_cut_short(file, length):
    save(file, dataset(RAMP))
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ImageError, match=r"a\.dcm: "):
        read_image(file)


def test_random_damage_is_refused_or_read(file):
    generator = np.random.default_rng(0)
    save(file, dataset(RAMP, WindowCenter=100, WindowWidth=200, NumberOfFrames=1))
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    messages = []
    for _ in range(150):
        broken = whole.copy()
        places = generator.integers(132, len(whole), 3)
        broken[places] = generator.integers(0, 256, 3)
        file.write_bytes(broken.tobytes())
        try:
            read_image(file)
        except ImageError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert not any("Secret" in message for message in messages)


def test_size_is_judged_before_decoding(file):
    data = dataset(RAMP)  # decoded, it would be found shorter than its header says
    data.Rows = data.Columns = 60000
    save(file, data)
    with pytest.raises(ImageError, match=r"60000 x 60000 is more than .* refused before decoding"):
        read_image(file)
    data.Rows, data.Columns = 1, 4
    save(file, data)
    with pytest.raises(ImageError, match="4 x 1 pixels is too small"):
        read_image(file)


def test_deflated_bomb(file, monkeypatch, here):
    data = dataset(np.zeros((500, 500), np.uint16), DeflatedExplicitVRLittleEndian)
    save(file, data)
    assert file.stat().st_size < 5000
    assert read_image(file).size == (500, 500)
    monkeypatch.setattr(dicom, "MAX_INFLATED", 100_000)
    with pytest.raises(ImageError, match="inflates to more than 100,000 bytes, refused"):
        read_image(file)
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ImageError, match="deflated DICOM file that is cut short"):
        read_image(file)


def test_compressed_frame_larger_than_its_header(file):
    noise = np.random.default_rng(0).integers(0, 99, (64, 64)).astype(np.uint8)
    for syntax in (JPEG2000Lossless, JPEGLSLossless):
        data = dataset(noise)
        data.compress(syntax, generate_instance_uid=False)
        data.Rows = data.Columns = 32
        with pytest.raises(ImageError, match="compressed picture has another size"):
            shown(file, data)


def test_codestream_sizes():
    siz = struct.pack(">4sHH8IH", b"\xff\x4f\xff\x51", 41, 0, 320, 240, 20, 40, 9, 9, 0, 0, 3)
    assert dicom.codestream_size(siz + bytes(9)) == (300, 200, 3)
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc1" + struct.pack(">HBHHB", 11, 8, 200, 300, 1)
    assert dicom.codestream_size(jpeg) == (300, 200, 1)
    for nothing in (b"", b"\xff\xd8", b"\xff\xd8\xff\xda\x00\x02", b"abc" * 20, jpeg[:-4]):
        assert dicom.codestream_size(nothing) is None


def test_missing_decoder_names_the_extra(monkeypatch, here):
    path = FILES / "MR_small_jpeg_ls_lossless.dcm"
    decoder = get_decoder(JPEGLSLossless)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(
        ImageError, match=r'no decoder .* JPEG-LS Lossless.*; .*pip install "sdmad\[dicom\]"'
    ):
        read_image(path)


def test_transfer_syntaxes_that_are_not_read(file):
    data = dataset(RAMP, MPEG2MPML)
    data.PixelData = encapsulate([bytes(8)])
    with pytest.raises(ImageError, match=r"transfer syntax MPEG2 .* is not read"):
        shown(file, data)
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.3.4")
    data.save_as(file, implicit_vr=False, little_endian=True)
    with pytest.raises(ImageError, match="unknown transfer syntax"):
        read_image(file)


def test_native_data_under_a_compressed_syntax(file):
    data = dataset(RAMP)
    save(file, data)
    raw = file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    file.write_bytes(raw)
    with pytest.raises(ImageError, match="not compressed as its header says"):
        read_image(file)


def lossless_jpeg(folder):
    """A file that only GDCM decodes, and the same with damage that ends GDCM's process."""
    good = FILES / "SC_rgb_jpeg_gdcm.dcm"
    raw = bytearray(good.read_bytes())
    length = raw.index(b"\xff\xc3\x00\x11\x08") + 3
    raw[length] = 2
    broken = folder / "broken.dcm"
    broken.write_bytes(raw)
    return good, broken


def test_a_frame_that_ends_gdcm_costs_one_image(tmp_path):
    good, broken = lossless_jpeg(tmp_path)
    before = np.asarray(read_image(good))
    with pytest.raises(ImageError, match=r"broken\.dcm: (its decoder crashed|.* cannot decode)"):
        read_image(broken)
    np.testing.assert_array_equal(np.asarray(read_image(good)), before)


# ---- privacy


def leaky_files(folder):
    """Files whose damage makes pydicom quote values, each with the name planted in many places."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        broken = dataset(RAMP, PatientBirthDate="19991399", PatientAge="Secret")
        broken._dict.pop("Rows", None)
        broken.add_new("NumberOfFrames", "IS", 1)
        yield save(folder / "rows.dcm", broken)
        for keyword in ("WindowCenter", "NumberOfFrames", "PhotometricInterpretation"):
            data = dataset(RAMP, WindowWidth=5, WindowCenter=12345678, NumberOfFrames="00000001")
            path = save(folder / f"{keyword}.dcm", data)
            old = struct.pack("<HH", data[keyword].tag.group, data[keyword].tag.elem)
            raw = path.read_bytes()
            start = raw.index(old) + 8
            length = struct.unpack("<H", raw[start - 2 : start])[0]
            path.write_bytes(
                raw[:start] + b"Secret99"[:length].ljust(length) + raw[start + length :]
            )
            yield path
    packed = dataset(RAMP, RLELossless)
    packed.PixelData = encapsulate([b"Doe^Secret" * 10])
    packed["PixelData"].is_undefined_length = True
    yield save(folder / "rle.dcm", packed)


@pytest.mark.parametrize("trusted", [True, False])
def test_no_name_leaks(tmp_path, capfd, caplog, trusted):
    caplog.set_level(logging.DEBUG)
    paths = list(leaky_files(tmp_path))
    assert len(paths) == 5
    caplog.clear()  # of what pydicom says while writing
    for path in paths:
        assert b"Doe^Secret" in path.read_bytes()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with reading_limits(trusted=trusted):
                    read_image(path)
                told = ""
            except ImageError as error:
                told = "".join(traceback.format_exception(error))
                assert "a damaged DICOM" in told or path.stem != "rows"
        texts = [told, caplog.text, *(str(entry.message) for entry in caught), *capfd.readouterr()]
        assert not any("Secret" in text for text in texts), path


def test_the_library_does_quote_values_when_it_may(tmp_path):
    """The test above would be idle if pydicom did not speak."""
    path = next(p for p in leaky_files(tmp_path) if p.stem == "NumberOfFrames")
    with pytest.raises(ValueError, match="Secret99"):
        pixel_array(path)


def test_other_loggers_and_filters_stay_as_they_were(file, caplog, here):
    save(file, dataset(RAMP))
    before = list(logging.getLogger("pydicom").filters)
    filters = list(warnings.filters)
    read_image(file)
    assert logging.getLogger("pydicom").filters == before
    assert warnings.filters == filters


def test_deflate_is_read_as_the_standard_says(file):
    """A raw stream without zlib's header, PS3.5 A.5."""
    save(file, dataset(RAMP, DeflatedExplicitVRLittleEndian))
    raw = file.read_bytes()
    end = 144 + struct.unpack("<I", raw[140:144])[0]
    assert struct.pack("<HH", 0x28, 0x10) in zlib.decompress(raw[end:], -15)
    np.testing.assert_array_equal(np.asarray(read_image(file)), [[0, 64], [128, 255]])
