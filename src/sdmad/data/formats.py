"""What kind of image file it is, by its content."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Literal

from sdmad.data.address import file_of

Format = Literal["dicom", "nifti", "hdf5", "tiff", "heif", "gzip", "picture"]
"""``picture`` is left to Pillow; ``gzip`` is a compressed file of another kind."""

HEAD = 4096
"""Bytes that are looked at."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF = b"heic heix heim heis hevc hevx mif1 msf1".split()
_GZIP = b"\x1f\x8b"
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR "
    b"US UT UV".split()
)


def recognise(path: Path) -> Format:
    """Tell the kind of a file from its first bytes, not from its name.

    - DICOM: ``DICM`` at byte 128 (PS3.10 7.1), or a data set without that preamble;
    - HDF5: its signature at byte 0, 512, 1024 or 2048;
    - NIfTI-1 and -2: header size and magic, also inside gzip;
    - TIFF and BigTIFF: byte order and version;
    - HEIC: its file type and brand.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head[128:132] == b"DICM":
        return "dicom"
    if any(head.startswith(_HDF5, place) for place in (0, 512, 1024, 2048)):
        return "hdf5"
    if head.startswith(_GZIP):
        return "nifti" if is_nifti(_inflated(head)) else "gzip"
    if is_nifti(head):
        return "nifti"
    if head.startswith(_TIFF):
        return "tiff"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return "heif"
    if _is_bare_dicom(head):
        return "dicom"
    return "picture"


def is_dicom(image: Path) -> bool:
    """Whether an image, a path or a slice of one, is DICOM; no, of one that cannot be opened."""
    try:
        return recognise(file_of(image)) == "dicom"
    except OSError:
        return False


def is_nifti(head: bytes) -> bool:
    """Whether the bytes start with a NIfTI-1 or NIfTI-2 header, of one file or of a pair."""
    size = head[:4]
    if size in (struct.pack("<i", 348), struct.pack(">i", 348)):
        return head[344:348] in (b"n+1\0", b"ni1\0")
    if size in (struct.pack("<i", 540), struct.pack(">i", 540)):
        return head[4:8] in (b"n+2\0", b"ni2\0")
    return False


def _inflated(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(head, HEAD)
    except zlib.error:
        return b""


def _is_bare_dicom(head: bytes) -> bool:
    """Whether two data elements of group 2 or 8 follow each other, in any of three encodings."""
    if len(head) < 8:
        return False
    for order in "<>":
        group, _ = struct.unpack(f"{order}HH", head[:4])
        if group not in (2, 8):
            continue
        if head[4:6] in _VRS:
            return True
        (length,) = struct.unpack("<I", head[4:8])
        following = head[8 + length : 10 + length]
        if order == "<" and len(following) == 2:
            return struct.unpack("<H", following)[0] in (2, 8, 0x10, 0x18, 0x20)
    return False
