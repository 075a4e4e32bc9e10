import gzip
import struct

import pytest

from sdmad.data.formats import is_dicom, is_nifti, recognise

NIFTI = struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(8)
NIFTI2 = struct.pack(">i", 540) + b"n+2\0\r\n\x1a\n" + bytes(528)
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(20)
EXPLICIT = struct.pack("<HH2sH", 8, 5, b"CS", 10) + b"ISO_IR 100"
IMPLICIT = struct.pack("<HHI", 8, 0x16, 4) + b"1.2\0" + struct.pack("<HHI", 8, 0x18, 0)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (bytes(128) + b"DICM", "dicom"),
        (b"II*\0" + bytes(124) + b"DICM", "dicom"),  # a preamble may hold a TIFF header
        (EXPLICIT, "dicom"),
        (struct.pack(">HH2sH", 8, 5, b"CS", 10) + b"ISO_IR 100", "dicom"),
        (struct.pack("<HH2sH", 2, 0, b"UL", 4) + bytes(4), "dicom"),
        (IMPLICIT, "dicom"),
        (HDF5, "hdf5"),
        (bytes(512) + HDF5, "hdf5"),
        (NIFTI, "nifti"),
        (NIFTI2, "nifti"),
        (gzip.compress(NIFTI, mtime=0), "nifti"),
        (gzip.compress(NIFTI + bytes(10_000_000), mtime=0), "nifti"),
        (gzip.compress(b"text", mtime=0), "gzip"),
        (b"\x1f\x8b broken", "gzip"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"II*\0" + bytes(200), "tiff"),
        (b"MM\0+" + bytes(200), "tiff"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "heif"),
        (b"\0\0\0\x18ftypisom" + bytes(20), "picture"),
        (b"", "picture"),
        (b"\x08\0", "picture"),
        (struct.pack("<HHI", 8, 0x16, 9999) + bytes(20), "picture"),
        (struct.pack("<HHI", 8, 0x16, 4) + b"1.2\0" + b"\x99\x99\0\0", "picture"),
        (NIFTI[:344] + b"abc\0", "picture"),
    ],
)
def test_kinds(tmp_path, content, kind):
    (tmp_path / "a.png").write_bytes(content)
    assert recognise(tmp_path / "a.png") == kind


def test_nifti_headers():
    assert is_nifti(NIFTI)
    assert is_nifti(NIFTI[:344] + b"ni1\0")
    assert not is_nifti(NIFTI[:300])


def test_a_slice_is_dicom_where_its_file_is_and_what_is_not_there_is_not(tmp_path):
    (tmp_path / "cine").write_bytes(bytes(128) + b"DICM")
    assert is_dicom(tmp_path / "cine#3")
    assert not is_dicom(tmp_path / "gone#3")
