import gzip
import os
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from sdmad.data.headers import Header, read_header, volume_patient
from sdmad.data.images import content_hash, read_image
from sdmad.data.plane import ImageError

NAME = "Doe^Secret"


def picture(path, mode="L", size=(30, 20), **options):
    Image.new(mode, size).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("a.png", "L", Header("PNG", "L", (20, 30))),
        ("a.png", "I;16", Header("PNG", "I;16", (20, 30))),
        ("a.png", "RGBA", Header("PNG", "RGBA", (20, 30))),
        ("a.jpg", "RGB", Header("JPEG", "RGB", (20, 30))),
        ("a.tif", "F", Header("TIFF", "F", (20, 30))),
        ("a.bmp", "L", Header("BMP", "L", (20, 30))),
    ],
)
def test_pictures(tmp_path, name, mode, expected):
    assert read_header(picture(tmp_path / name, mode)) == expected


def test_the_name_does_not_matter(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.dcm")
    assert read_header(tmp_path / "a.dcm").kind == "PNG"


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_short(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError, match="cut short"):
        read_header(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file"),
        (b"", "empty file"),
        (b"<html>", "not an image that can be read"),
        (b"\x89HDF\r\n\x1a\n12", "a damaged HDF5 file, or one cut short"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
    ],
)
def test_bad_files(tmp_path, data, message):
    path = tmp_path / "bad.png"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        read_header(path)
    assert caught.value.path == path


def test_fastmri(tmp_path):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        file["reconstruction_rss"] = np.zeros((16, 40, 30), dtype=np.float32)
        file.attrs["patient_id"] = "x" * 300
    assert read_header(f"{path}#5") == Header("HDF5", "float32", (40, 30), 16)
    assert volume_patient(path) == "x" * 256
    assert volume_patient(tmp_path / "none.h5") == ""
    with h5py.File(path, "w") as file:
        file["kspace"] = np.zeros((2, 2))
    with pytest.raises(ImageError, match="HDF5 without reconstruction_rss"):
        read_header(path)
    assert volume_patient(path) == ""


def test_dicom():
    # CT_small: 128 x 128, 16 bits stored; the colour file: 100 x 100, 120 frames
    assert read_header(get_testdata_file("CT_small.dcm")) == Header(
        "DICOM", "MONOCHROME2 16 bits", (128, 128)
    )
    frames = read_header(get_testdata_file("examples_ybr_color.dcm"))
    assert (frames.kind, frames.slices) == ("DICOM", 30)


def test_nifti(tmp_path):
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((30, 20, 7), dtype=np.int16), np.eye(4)), path)
    assert read_header(path) == Header("NIfTI", "int16", (20, 30), 7)


def test_a_link_out_of_the_file_is_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros((1, 2, 3))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["reconstruction_rss"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    with pytest.raises(ImageError, match="is a link to another place, which is not"):
        read_header(tmp_path / "v.h5")


def answer(read, path):
    try:
        read(path)
    except ImageError as error:
        return str(error)
    return ""


def test_the_header_has_the_errors_of_the_image(tmp_path, capfd, here):
    """One reader: what one of both refuses before a pixel is decoded, the other does."""
    good = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    deflated = Path(get_testdata_file("image_dfl.dcm")).read_bytes()
    nifti = gzip.compress(bytes(344) + b"n+1\0" + bytes(100))
    files = {
        "cut": good[:600],
        "representation": good.replace(b"UI\x14\x00", b"\x55\xc9\x14\x00", 1),
        "bytes": good.replace(b"US\x02\x00", b"US\x03\x00"),
        "deflated": deflated[: len(deflated) // 2],
        "report": Path(get_testdata_file("reportsi.dcm")).read_bytes(),
        "hdf5": b"\x89HDF\r\n\x1a\n12",
        "gzip": gzip.compress(b"no volume"),
        "nifti": b"\x5c\x01\0\0" + nifti,
        "text": b"file,labels",
        "tiff": b"II*\0" + bytes(90),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        told = answer(read_header, tmp_path / name)
        assert told.startswith(f"{tmp_path / name}: "), name
        assert told == answer(read_image, tmp_path / name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("preamble", [True, False])
def test_dicom_without_a_preamble(tmp_path, preamble):
    good = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    (tmp_path / "a").write_bytes(good if preamble else good[132:])
    assert read_header(tmp_path / "a") == Header("DICOM", "MONOCHROME2 16 bits", (128, 128))
    assert read_image(tmp_path / "a").size == (128, 128)


def test_the_size_is_that_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.png", "a.jpg", "a.tif"):
        picture(tmp_path / name, exif=exif)
        assert read_header(tmp_path / name).shape == (30, 20)
        assert read_image(tmp_path / name).size == (20, 30)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read in (read_header, read_image, content_hash):
            with pytest.raises(ImageError, match="not a regular file"):
                read(path)


def test_what_a_library_raises_is_logged_without_its_message(tmp_path, monkeypatch, caplog, here):
    picture(tmp_path / "a.png")
    caplog.set_level("DEBUG", logger="sdmad")

    def fail(*_, **__):
        raise ZeroDivisionError(NAME)

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError, match=r"a\.png: damaged or cut short; copy or export it again$"):
        read_image(tmp_path / "a.png")
    assert "ZeroDivisionError" in caplog.text
    assert "in fail" in caplog.text
    assert "Secret" not in caplog.text
