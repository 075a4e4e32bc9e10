import os

import numpy as np
import pytest
from PIL import Image

from sdmad.data.listing import is_image, list_images
from sdmad.errors import InputError

DICOM = bytes(128) + b"DICM"


def names(found, folder):
    return [path.relative_to(folder).as_posix() for path in found]


@pytest.mark.filterwarnings("ignore:.*passed over")
def test_list_images(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a/x.tif", "b/notes.txt", ".h/1.png", "b/.1.png", "z.dat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = list_images([tmp_path / "z.dat", tmp_path, tmp_path / "b" / "1.jpg"])
    assert names(found, tmp_path) == ["z.dat", "a/x.tif", "b/1.jpg", "b/2.PNG"]


@pytest.mark.filterwarnings("ignore:.*passed over")
def test_volumes_and_dicom_of_any_name_are_known(tmp_path):
    for name in ("a.dcm", "b.DICOM", "c.nii", "d.nii.gz", "e.h5", "f.hdf5", "g.gz", "h.txt"):
        (tmp_path / name).touch()
    for name in ("IM0001", "1.2.840.113619.2", "DICOMDIR", "PAT.MR.0001.IMA", "scan.dic"):
        (tmp_path / name).write_bytes(DICOM)
    for name in ("README", "1.2.3", "empty"):
        (tmp_path / name).write_bytes(b"not DICOM" * 30 if name != "empty" else b"")
    expected = ["1.2.840.113619.2", "IM0001", "PAT.MR.0001.IMA", "a.dcm", "b.DICOM", "c.nii"]
    found = list_images([tmp_path])
    assert names(found, tmp_path) == [*expected, "d.nii.gz", "e.h5", "f.hdf5", "scan.dic"]
    addresses = [tmp_path / "c.nii#7", tmp_path / "c.nii#8"]
    assert list_images(addresses) == addresses
    with pytest.raises(InputError, match=r"z\.nii#7: no such file"):
        list_images([tmp_path / "z.nii#7"])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000"])
def test_pictures_are_known_by_their_first_bytes(tmp_path, kind):
    Image.fromarray(np.full((4, 4), 7, dtype=np.uint8)).save(tmp_path / "jfif", kind)
    assert is_image(tmp_path / "jfif")


@pytest.mark.parametrize(
    "content", [b"BM in the notes", b"P1 is the patient", b"\x89HDF\r\n\x1a\n", b"\x1f\x8bx", b""]
)
def test_what_only_begins_like_an_image_is_none(tmp_path, content):
    (tmp_path / "a.dat").write_bytes(content)
    assert not is_image(tmp_path / "a.dat")


def test_what_is_passed_over_is_counted_and_named(tmp_path):
    for name in ("a.png", "b.txt", "c.TXT", "d.csv", "LICENSE", ".hidden"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.warns(UserWarning, match="passed over") as caught:
        assert names(list_images([tmp_path]), tmp_path) == ["a.png"]
    (said,) = (str(warning.message) for warning in caught)
    kinds = "2 .txt, 2 without a suffix, 1 .csv"
    assert said.endswith(f"5 passed over, files that are no images by name or content: {kinds}")
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"no image in this folder; it holds files .* 2 \.txt"):
        list_images([tmp_path])


def test_many_kinds_are_summed_up(tmp_path):
    for name in ("a.png", *(f"x.k{number}" for number in range(9))):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"9 passed over.*, 4 of other kinds$"):
        list_images([tmp_path])


def test_what_cannot_be_listed_is_refused(tmp_path):
    for name in ("none", "x" * 300, "a/" * 3000, "a\0b"):
        with pytest.raises(InputError, match="no such file or folder"):
            list_images([tmp_path / name])
    with pytest.raises(InputError, match=r"no image in this folder$"):
        list_images([tmp_path])
