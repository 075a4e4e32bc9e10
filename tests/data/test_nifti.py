import gzip
import struct
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import nilearn
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from sdmad.data import nifti
from sdmad.data.images import ImageError, content_hash, read_image, volume_slices

NIBABEL = Path(nib.__file__).parent / "tests" / "data"
NILEARN = Path(nilearn.__file__).parent / "datasets" / "data"

pytestmark = [
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.IntensityWarning"),
    pytest.mark.filterwarnings("ignore::sdmad.data.intensity.PartWarning"),
]

RAS = np.random.default_rng(0).integers(-500, 1500, (5, 6, 7)).astype(np.int16)


def radiological(plane):
    """Canonical x, y to rows from the front, columns from the patient's right."""
    return plane[::-1, ::-1].T


def eight_bit(values):
    finite = values[np.isfinite(values)]
    low, span = finite.min(), max(np.ptp(finite), 1e-30)
    scaled = np.nan_to_num(values, nan=low, posinf=finite.max(), neginf=low)
    return np.rint((scaled - low) / span * 255)


def save(path, data, affine=None, **header):
    image = nib.Nifti1Image(data, np.eye(4) if affine is None else affine, dtype=data.dtype)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def oriented(codes):
    """The same patient stored in another order of axes."""
    transform = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    data = nib.orientations.apply_orientation(RAS, transform)
    return data, inv_ornt_aff(transform, RAS.shape)


# ---- the libraries' own files

REAL = [
    *(NIBABEL / name for name in ("anatomical.nii", "functional.nii", "standard.nii.gz")),
    *(NIBABEL / name for name in ("example4d.nii.gz", "example_nifti2.nii.gz")),
    *(NIBABEL / name for name in ("resampled_anat_moved.nii", "reoriented_anat_moved.nii")),
    *sorted(NILEARN.glob("*.nii.gz")),
]


@pytest.mark.parametrize("path", REAL, ids=lambda p: p.name)
def test_real_files_agree_with_nibabel(path):
    image = nib.as_closest_canonical(nib.load(path))
    data = np.asarray(image.dataobj[..., 0] if image.ndim == 4 else image.dataobj)
    count = data.shape[2]
    assert volume_slices(path) == count
    for index in sorted({0, count // 2, count - 1}):
        shown = np.asarray(read_image(f"{path}#{index}"))
        expected = eight_bit(radiological(data[:, :, index]).astype(np.float64))
        np.testing.assert_allclose(shown, expected, atol=1)
    np.testing.assert_array_equal(
        np.asarray(read_image(path)), np.asarray(read_image(f"{path}#{count // 2}"))
    )


def test_there_are_real_files():
    assert len(REAL) >= 10


def test_a_brain_is_upright():
    """In nilearn's MNI template the front of the middle slice is narrower than the back."""
    path = next(p for p in REAL if "t1_tal" in p.name)
    inside = np.asarray(read_image(path)) > 40
    rows = np.flatnonzero(inside.any(axis=1))
    quarter = len(rows) // 4
    width = inside.sum(axis=1)
    assert inside.shape[0] > inside.shape[1]  # a head is longer than wide
    assert width[rows[:quarter]].sum() < width[rows[-quarter:]].sum()


# ---- made by hand


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_marks_of_right_and_front(tmp_path, ending):
    data = np.zeros((4, 5, 3), np.uint8)
    data[3, 0, 1] = 200  # right and back
    data[0, 4, 1] = 100  # left and front
    shown = np.asarray(read_image(save(tmp_path / f"a.{ending}", data)))
    assert shown.shape == (5, 4)
    assert shown[4, 0] == 200 or shown[4, 0] == 255  # right is on the left, the back below
    assert shown[4, 0] > shown[0, 3] > 0 == shown[0, 0]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA", "ASL", "IPL", "SLP"])
@pytest.mark.parametrize("index", [0, 2, 6])
def test_any_orientation_shows_the_same(tmp_path, codes, index):
    data, affine = oriented(codes)
    path = save(tmp_path / "a.nii.gz", data, affine)
    assert "".join(nib.aff2axcodes(nib.load(path).affine)) == codes
    assert volume_slices(path) == 7
    shown = np.asarray(read_image(f"{path}#{index}"))
    np.testing.assert_array_equal(shown, eight_bit(radiological(RAS[:, :, index])))


def test_oblique_volumes_take_the_nearest_axes(tmp_path):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    path = save(tmp_path / "a.nii", RAS, turn @ np.diag([2.0, 3, 4, 1]))
    np.testing.assert_array_equal(
        np.asarray(read_image(path)), eight_bit(radiological(RAS[..., 3]))
    )


def test_slope_and_intercept_give_the_units_of_a_window(tmp_path):
    path = tmp_path / "a.nii"
    image = nib.Nifti1Image(RAS, np.eye(4), dtype=np.int16)
    image.header.set_slope_inter(0.5, -20)
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<2f", 0.5, -20)  # as the file format has them
    path.write_bytes(raw)
    units = nib.load(path).get_fdata()[:, :, 3]
    shown = np.asarray(read_image(path, (40, 400)))
    expected = np.clip((radiological(units) - 39.5) / 399 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(shown, expected, atol=0.5 + 1e-9)
    assert 20 < shown.mean() < 235


def test_values_that_are_not_finite(tmp_path):
    data = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    data[0, 0, 1], data[1, 1, 1], data[2, 2, 1] = np.nan, np.inf, -np.inf
    shown = np.asarray(read_image(save(tmp_path / "a.nii", data)))
    np.testing.assert_array_equal(shown, eight_bit(radiological(data[:, :, 1])))
    path = save(tmp_path / "b.nii", np.full((4, 5, 3), np.nan, np.float32))
    with pytest.raises(ImageError, match=r"b\.nii: holds no finite value"):
        read_image(path)


def test_two_dimensions(tmp_path):
    path = save(tmp_path / "a.nii", RAS[:, :, 0])
    assert volume_slices(path) == 1
    np.testing.assert_array_equal(
        np.asarray(read_image(path)), eight_bit(radiological(RAS[..., 0]))
    )
    with pytest.raises(ImageError, match="holds one picture; there is no slice 1"):
        read_image(f"{path}#1")


def test_a_single_slice_is_shown_the_way_it_lies(tmp_path):
    coronal = RAS[:, 2:3, :]
    path = save(tmp_path / "a.nii", coronal)
    assert volume_slices(path) == 1
    expected = eight_bit(coronal[::-1, 0, ::-1].T)  # right on the left, head at the top
    np.testing.assert_array_equal(np.asarray(read_image(path)), expected)


def test_first_of_several_volumes(tmp_path):
    data = np.stack([RAS, RAS[::-1]], axis=-1)
    path = save(tmp_path / "a.nii.gz", data)
    assert volume_slices(path) == 7
    np.testing.assert_array_equal(
        np.asarray(read_image(path)), eight_bit(radiological(RAS[..., 3]))
    )


def test_big_endian_and_nifti2(tmp_path):
    expected = eight_bit(radiological(RAS[..., 3]))
    image = nib.Nifti1Image(RAS, np.eye(4), nib.Nifti1Header(endianness=">"), dtype=np.int16)
    nib.save(image, tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == struct.pack(">i", 348)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.nii")), expected)
    nib.save(nib.Nifti2Image(RAS, np.eye(4), dtype=np.int16), tmp_path / "b.nii")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "b.nii")), expected)


def test_colour(tmp_path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    data = np.zeros((4, 5, 3), kind)
    data["R"], data["G"] = 200, RAS[:4, :5, :3] % 256
    shown = np.asarray(read_image(save(tmp_path / "a.nii", data)))
    assert shown.shape == (5, 4, 3)
    np.testing.assert_array_equal(shown[..., 1], radiological(data["G"][:, :, 1]))
    assert (shown[..., 0] == 200).all()


def test_content_decides_not_the_name(tmp_path):
    path = save(tmp_path / "a.nii.gz", RAS)
    path.rename(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").size == (5, 6)


def test_hashes_of_slices(tmp_path):
    path = save(tmp_path / "a.nii", RAS)
    assert content_hash(f"{path}#3") == content_hash(path)
    assert len({content_hash(f"{path}#{index}") for index in range(7)}) == 7


# ---- what must be refused


def header(shape, kind=4, bits=16, offset=352.0):
    """A NIfTI-1 header for any shape; kind 4 is int16."""
    raw = bytearray(352)
    raw[:4] = struct.pack("<i", 348)
    dims = [len(shape), *shape, *[1] * (7 - len(shape))]
    raw[40:56] = struct.pack("<8h", *dims)
    raw[70:74] = struct.pack("<2h", kind, bits)
    raw[76:108] = struct.pack("<8f", *[1.0] * 8)
    raw[108:112] = struct.pack("<f", offset)
    raw[344:348] = b"n+1\0"
    return bytes(raw)


def test_the_header_above_is_right(tmp_path):
    (tmp_path / "a.nii").write_bytes(header((4, 5, 3)) + bytes(120))
    assert read_image(tmp_path / "a.nii").size == (4, 5)


def test_bombs_are_refused_by_their_headers(tmp_path):
    deflate = zlib.compressobj(9, wbits=31)
    packed = deflate.compress(header((30000, 30000, 30000)) + bytes(1 << 20)) + deflate.flush()
    (tmp_path / "a.nii.gz").write_bytes(packed)
    with pytest.raises(ImageError, match=r"30000 x 30000 is more than|a volume of .* refused"):
        read_image(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(header((2000, 2000, 2000))))
    with pytest.raises(ImageError, match=r"b\.nii\.gz: a volume of 16,000,000,000 bytes, more"):
        read_image(tmp_path / "b.nii.gz")
    for offset in (1e30, float("inf"), -5.0, float("nan")):
        (tmp_path / "c.nii").write_bytes(header((4, 5, 3), offset=offset))
        with pytest.raises(ImageError, match=r"c\.nii: (NIfTI whose values begin|a damaged)"):
            read_image(tmp_path / "c.nii")


def test_only_what_is_needed_is_unpacked(tmp_path):
    """A stream that breaks after the slice is read up to it, and refused beyond."""
    noisy = np.random.default_rng(0).integers(0, 255, 352 + 64 * 64 * 40 * 2).astype(np.uint8)
    packed = gzip.compress(header((64, 64, 40)) + noisy.tobytes())
    (tmp_path / "a.nii.gz").write_bytes(packed[: len(packed) // 2])
    assert read_image(f"{tmp_path / 'a.nii.gz'}#2").size == (64, 64)
    with pytest.raises(ImageError, match=r"a\.nii\.gz: a damaged NIfTI file, or one cut short"):
        read_image(f"{tmp_path / 'a.nii.gz'}#39")


def test_slice_size_is_limited(tmp_path):
    path = save(tmp_path / "a.nii", RAS)
    assert read_image(path, max_pixels=30).size == (5, 6)
    with pytest.raises(ImageError, match="5 x 6 is more than 29 pixels, refused before"):
        read_image(path, max_pixels=29)


@pytest.mark.parametrize("keep", [360, 400, 700])
def test_cut_short(tmp_path, keep):
    path = save(tmp_path / "a.nii", RAS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ImageError, match=r"a\.nii: a damaged NIfTI file, or one cut short; copy"):
        read_image(f"{path}#6")


@pytest.mark.parametrize("shape", [(), (9,), (4, 0, 3), (4, 5, -3)])
def test_shapes_without_a_picture(tmp_path, shape):
    (tmp_path / "a.nii").write_bytes(header(shape) + bytes(200))
    with pytest.raises(ImageError, match=r"a\.nii: "):
        read_image(tmp_path / "a.nii")


def test_other_kinds_of_file(tmp_path):
    path = save(tmp_path / "a.nii", RAS.astype(np.complex64))
    with pytest.raises(ImageError, match="NIfTI of complex values; save their magnitude"):
        read_image(path)
    raw = bytearray(header((4, 5, 3)) + bytes(120))
    raw[344:348] = b"ni1\0"
    (tmp_path / "b.hdr").write_bytes(raw)
    with pytest.raises(ImageError, match=r"header of a NIfTI pair .* one \.nii file"):
        read_image(tmp_path / "b.hdr")
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(b"a text" * 100))
    with pytest.raises(ImageError, match="a compressed file that holds no NIfTI; unpack"):
        read_image(tmp_path / "c.nii.gz")


def test_an_orientation_that_cannot_be_made_out(tmp_path):
    raw = bytearray(header((4, 5, 3)) + bytes(120))
    raw[254:256] = struct.pack("<h", 1)  # sform_code, with an sform of zeros
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(ImageError, match="orientation cannot be made out"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("broken", [0.0, np.nan, np.inf])
def test_an_sform_of_no_use_gives_way_to_a_qform(tmp_path, broken):
    data, affine = oriented("PIR")
    image = nib.Nifti1Image(data, None, dtype=np.int16)
    image.set_qform(affine, 1)
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[254:256] = struct.pack("<h", 2)  # sform_code
    raw[280:328] = struct.pack("<12f", *[broken] * 12)  # srow_x, srow_y, srow_z
    (tmp_path / "a.nii").write_bytes(raw)
    shown = np.asarray(read_image(f"{tmp_path / 'a.nii'}#2"))
    np.testing.assert_array_equal(shown, eight_bit(radiological(RAS[:, :, 2])))


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_every_type_that_is_read(tmp_path, kind, order):
    data = (RAS % 100).astype(kind)
    image = nib.Nifti1Image(data, np.eye(4), nib.Nifti1Header(endianness=order), dtype=kind)
    nib.save(image, tmp_path / "a.nii")
    shown = np.asarray(read_image(tmp_path / "a.nii"))
    np.testing.assert_array_equal(shown, eight_bit(radiological(data[..., 3])))


@pytest.mark.parametrize("code", [0, 1, 3, 255, 1536, 1792 + 1, 9999, -2])
def test_other_types_are_refused(tmp_path, code, capfd, here):
    (tmp_path / "a.nii").write_bytes(header((4, 5, 3), kind=code) + bytes(1000))
    with pytest.raises(ImageError, match=rf"a\.nii: NIfTI whose values are of type {code}, which"):
        read_image(tmp_path / "a.nii")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("keep", [348, 429, 539])
def test_a_nifti2_header_cut_short(tmp_path, keep):
    nib.save(nib.Nifti2Image(RAS, np.eye(4), dtype=np.int16), tmp_path / "a.nii")
    raw = (tmp_path / "a.nii").read_bytes()[:keep]
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(ImageError, match=r"a\.nii: a NIfTI file whose header is cut short; copy"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("codes", ["PSR", "SRP", "RAS"])
def test_a_slice_across_the_storage_takes_no_more_memory(tmp_path, codes, monkeypatch, here):
    monkeypatch.setattr(nifti, "PIECE", 1 << 14)
    transform = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    right, front, head = np.ogrid[:300, :400, :100]
    patient = (right + front + head).astype(np.uint8)  # 12 MB
    data = nib.orientations.apply_orientation(patient, transform)
    affine = inv_ornt_aff(transform, patient.shape)
    path = save(tmp_path / "a.nii.gz", data, affine)
    tracemalloc.start()
    shown = np.asarray(read_image(f"{path}#70"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(shown, eight_bit(radiological(patient[:, :, 70])))
    assert peak < 5 << 20


def test_slice_out_of_range(tmp_path):
    path = save(tmp_path / "a.nii", RAS)
    with pytest.raises(ImageError, match="holds 7 slices, 0 to 6; there is no slice 7"):
        read_image(f"{path}#7")


def test_missing_nibabel_names_the_extra(tmp_path, monkeypatch, here):
    path = save(tmp_path / "a.nii", RAS)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ImageError, match=r'needs nibabel; .*pip install "sdmad\[nifti\]"'):
        read_image(path)


def test_random_damage_is_refused_or_read(tmp_path, capfd, here):
    generator = np.random.default_rng(0)
    whole = np.frombuffer(save(tmp_path / "a.nii", RAS).read_bytes(), np.uint8)
    path, messages = tmp_path / "b.nii", []
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for _ in range(150):
            broken = whole.copy()
            broken[generator.integers(0, 352, 4)] = generator.integers(0, 256, 4)
            path.write_bytes(broken.tobytes())
            try:
                read_image(path)
            except ImageError as error:
                messages.append(str(error))
    assert len(messages) > 20
    assert capfd.readouterr() == ("", "")


def test_nothing_of_the_header_is_repeated(tmp_path):
    raw = bytearray(header((4, 0, 3)) + bytes(120))
    raw[148:160] = b"Doe^Secret99"  # descrip
    raw[14:20] = b"Secret"  # db_name
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "a.nii")
    assert "Secret" not in str(error.value)
