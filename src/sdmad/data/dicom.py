"""DICOM images: one frame in the scanner's units, with the window that the file asks for.

Only the attributes that the picture needs are read (the file's other elements, a patient's name
among them, are skipped), nothing of the file is repeated in an error, and what the DICOM library
would say is silenced.

- The modality LUT (rescale slope and intercept, or a table) is applied, PS3.3 C.11.1; with
  functional groups, the frame's own.
- The window ``auto`` is the file's first VOI LUT or window, PS3.3 C.11.2 (LINEAR, LINEAR_EXACT,
  SIGMOID). A file of 8 unsigned bits with neither window nor modality LUT is left as it is, like
  any other 8-bit image; else its own smallest and largest value are black and white.
- MONOCHROME1 is inverted after windowing. Pixel padding becomes black and does not count for the
  range. PALETTE COLOR, RGB and YBR become 8-bit RGB. Presentation states, overlays and burnt-in
  annotations are not read.
- Of several frames one is decoded. Its size is judged by Rows and Columns before that, and a
  compressed frame's own header must agree with them.
- Whether value representations are written out is seen in the data, not taken from the transfer
  syntax: files that name another than they were written in are read.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from sdmad.data.dicom_luts import Asked, Units, modality, palette, voi
from sdmad.data.plane import (
    Header,
    ImageError,
    Plane,
    Window,
    check_size,
    choose_slice,
    damaged,
    one_of,
)
from sdmad.data.windows import eight_bits
from sdmad.processes import nearly_spent

MAX_INFLATED = 1 << 29
"""Bytes that a deflated data set may have (512 MiB)."""

DECODERS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow", "gdcm")
"""pydicom's decoders, the one to be trusted with a damaged frame first: on such, GDCM can end the
process and pylibjpeg-rle panics. GDCM decodes only what no other can (lossless JPEG); it is one
reason why files are read in processes of their own (`sdmad.data.decoders`)."""

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"

_PALETTES = [
    f"{kind}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
]
_ATTRIBUTES = [
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *_PALETTES,
]
_REQUIRED = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"),
)
_PIXEL_DATA, _FLOATS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_PIXEL_VRS = (b"OB", b"OW", b"UN")  # read as a length, each would be odd, which none is
_ITEM = b"\xfe\xff\x00\xe0"
_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils", "openjpeg.utils")


@dataclass(frozen=True)
class Dicom:
    """An opened file with its header.

    Attributes:
        path: of the file.
        stream: the file, or a deflated data set inflated.
        attributes: those that the picture needs.
        syntax: the transfer syntax of ``stream``.
        representation: the pixel data's own, such as OW; "" where it is not written out.
        start: where the value of the pixel data starts in ``stream``.
        length: the pixel data's own length; of no meaning when encapsulated.
    """

    path: Path
    stream: BinaryIO
    attributes: Dataset
    syntax: UID
    representation: str
    start: int
    length: int

    def number(self, keyword: str, default: int | None = None) -> int:
        """An attribute as an integer; refuses what is no number, and what lacks and is needed."""
        value = self.attributes.get(keyword)
        if value is None or value == "":
            if default is None:
                raise self.lacks(keyword)
            return default
        try:
            return int(value)
        except (ValueError, TypeError):
            raise damaged(self.path, f"DICOM whose {keyword} is no number") from None

    def lacks(self, keyword: str) -> ImageError:
        """The error for an attribute that is needed and not there."""
        return ImageError(
            f"{self.path}: DICOM whose header has no {keyword}; export it again", self.path
        )

    @cached_property
    def frames(self) -> int:
        """How many frames there are, as the header says."""
        return max(1, self.number("NumberOfFrames", 1))

    @property
    def header(self) -> Header:
        """Photometric interpretation, bits, size and frames."""
        self._check()
        mode = f"{_kind(self)} {self.number('BitsStored')} bits"
        shape = self.number("Rows"), self.number("Columns")
        return Header("DICOM", mode, shape, self.frames)

    def part(self, index: int | None) -> str:
        """Whether only the middle frame is read."""
        return one_of(self.frames, "frames", index, f"number {self.frames // 2}, from 0,")

    def plane(self, index: int | None, max_pixels: int, window: Window) -> Plane:
        """Read one frame, the middle one, ``frames // 2``, where none is named."""
        self._check()
        check_size(self.path, self.number("Columns"), self.number("Rows"), max_pixels)
        frame = choose_slice(self.path, index, self.frames)
        kind = _kind(self)
        _check_length(self)
        values = _decode(self, frame)
        if kind in COLOUR:
            return Plane(_colour(values, self))
        stored = _unpack(values, self)
        if kind == PALETTE:
            return Plane(palette(stored, self.attributes, self.signed))
        return _grey(stored, self, frame, window, kind == "MONOCHROME1")

    def _check(self) -> None:
        for keyword in _REQUIRED:
            self.number(keyword)

    @property
    def signed(self) -> bool:
        """Whether stored values have a sign."""
        return self.number("PixelRepresentation") == 1

    @property
    def storable(self) -> range:
        """The values that the stored bits can hold."""
        count = 1 << self.number("BitsStored")
        return range(-count // 2, count // 2) if self.signed else range(count)


def _grey(
    stored: NDArray[np.integer], file: Dicom, frame: int, window: Window, inverted: bool
) -> Plane:
    units = modality(file.attributes, frame, file.storable)
    if not units.known and isinstance(window, tuple):
        raise ImageError(
            f"{file.path}: rescale slope or intercept is no number, so the units that the window "
            f"{window[0]:g},{window[1]:g} is in are not known; take full or percentiles",
            file.path,
        )
    own = window in ("auto", "lut")
    asked = Asked(None)
    if own and units.known:
        asked = voi(file.attributes, frame, units.lowest, window == "lut")
    shade = asked.shade
    as_it_is = units.known and units.convert is None and file.storable == range(256)
    if shade is None and own and as_it_is:
        shade = eight_bits
    padding, fault = _padding(stored, file)
    return Plane(stored, shade, padding, inverted, units.convert, _notes(units, asked, fault))


def _notes(units: Units, asked: Asked, padding_fault: bool) -> tuple[tuple[str, str], ...]:
    notes = []
    if not units.known:
        said = "rescale slope or intercept is no number; its own range is shown, not its window"
        notes.append(("units", said))
    if asked.passed_over:
        said = "a window or a lookup table in its header cannot be used and is passed over"
        notes.append(("window", said))
    if asked.dark is not None:
        stated, used = asked.dark
        said = (
            f"its lookup table says {stated} bits and uses {used}: the picture is dark "
            "(the window lut shows the table's own range)"
        )
        notes.append(("lut", said))
    if padding_fault:
        notes.append(("padding", "its pixel padding value is no number and is passed over"))
    return tuple(notes)


@contextmanager
def opened(path: Path) -> Iterator[Dicom]:
    """Open a file and read its header."""
    with _quiet(), path.open("rb") as stream:
        yield _parse(path, stream)


@contextmanager
def header_of(path: Path, keywords: Sequence[str]) -> Iterator[Dataset]:
    """Some attributes of a file that need not be a picture, read while the library is silenced."""
    with _quiet(), path.open("rb") as stream:
        whole = _inflated(path, stream)
        yield dcmread(whole, stop_before_pixels=True, force=True, specific_tags=[*keywords])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library, whose warnings and log lines quote values of the file."""

    def nothing(record: logging.LogRecord) -> bool:
        return record is None

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(nothing)


def _parse(path: Path, stream: BinaryIO) -> Dicom:
    stream = _inflated(path, stream)
    header = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_ATTRIBUTES)
    syntax = _syntax(path, header)
    order = "<" if syntax.is_little_endian else ">"
    head = stream.read(12)
    if len(head) < 8:
        raise ImageError(
            f"{path}: DICOM without pixel data (a report, a plan or a directory?); "
            "export the image itself",
            path,
        )
    group, element = struct.unpack(f"{order}HH", head[:4])
    tag = group << 16 | element
    if tag in _FLOATS:
        raise ImageError(f"{path}: DICOM with float pixel data, which is not read", path)
    if tag != _PIXEL_DATA:
        raise damaged(path, "DICOM whose elements are out of order or damaged")
    written = head[4:6].decode("latin-1") if head[4:6] in _PIXEL_VRS else ""
    (length,) = struct.unpack(f"{order}I", head[8:12] if written else head[4:8])
    start = stream.tell() - (0 if written else 4)
    return Dicom(path, stream, header, syntax, written, start, length)


def _syntax(path: Path, header: Dataset) -> UID:
    """The transfer syntax that the header names, or what was guessed where it names none."""
    named = header.file_meta.get("TransferSyntaxUID")
    if named == DeflatedExplicitVRLittleEndian:  # its inner data set, inflated
        return ExplicitVRLittleEndian
    if named:
        syntax = UID(named)
        if syntax.is_private or not syntax.is_transfer_syntax:
            raise ImageError(f"{path}: DICOM with an unknown transfer syntax", path)
        return syntax
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _inflated(path: Path, stream: BinaryIO) -> BinaryIO:
    """The stream itself, or a deflated data set (PS3.5 A.5) inflated within bounds."""
    prefixed = stream.read(132)[128:] == b"DICM"
    meta = read_file_meta_info(path) if prefixed else Dataset()
    stream.seek(0)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return stream
    stream.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))  # PS3.10 7.1
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inner = inflater.decompress(stream.read(), MAX_INFLATED + 1)
    if len(inner) > MAX_INFLATED:
        raise ImageError(
            f"{path}: inflates to more than {MAX_INFLATED:,} bytes, refused; "
            "save it with another transfer syntax",
            path,
        )
    if not inflater.eof:
        raise damaged(path, "a deflated DICOM file that is cut short")
    return io.BytesIO(inner)


def _kind(file: Dicom) -> str:
    """The photometric interpretation, checked against the samples a pixel."""
    kind = str(file.attributes.get("PhotometricInterpretation") or "").strip().upper()
    if not kind:
        raise file.lacks("PhotometricInterpretation")
    samples = file.number("SamplesPerPixel")
    known = (*GREY, PALETTE, *COLOUR)
    if kind not in known:
        raise ImageError(
            f"{file.path}: unknown photometric interpretation (known: {', '.join(known)}); "
            "save it as RGB or MONOCHROME2",
            file.path,
        )
    if samples != (3 if kind in COLOUR else 1):
        raise ImageError(
            f"{file.path}: {kind} with {samples} samples a pixel; the header is damaged", file.path
        )
    return kind


def _check_length(file: Dicom) -> None:
    """Native pixel data must have the length that the header says, and be there in full.

    Up to a sixteenth more is taken for padding, which some writers leave.
    """
    if file.syntax.is_encapsulated:
        file.stream.seek(file.start)
        if file.stream.read(4) != _ITEM:
            raise damaged(file.path, "DICOM whose pixel data is not compressed as its header says")
        rest = file.stream.seek(0, io.SEEK_END) - file.start
        if file.frames > rest // len(_ITEM + bytes(4)):  # each has an item of its own
            raise damaged(file.path, f"DICOM that cannot hold the {file.frames:,} frames it says")
        return
    pixels = file.number("Rows") * file.number("Columns") * file.frames
    samples = file.number("SamplesPerPixel")
    bits = pixels * samples * file.number("BitsAllocated")
    if file.attributes.get("PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits // 3 * 2
    expected = math.ceil(bits / 8)
    if not expected <= file.length <= expected + max(1, expected // 16):
        raise ImageError(
            f"{file.path}: the pixel data has another length ({file.length:,} bytes) than rows, "
            f"columns, frames and bits say ({expected:,}); export it again",
            file.path,
        )
    file.stream.seek(0, io.SEEK_END)
    if file.stream.tell() < file.start + expected:
        raise damaged(file.path, "DICOM whose pixel data is cut short")


def _decode(file: Dicom, frame: int) -> NDArray[np.integer]:
    """Pixel values of one frame, colour as RGB."""
    words = file.syntax == RLELossless or not file.syntax.is_encapsulated
    decoder = _decoder(file)
    if not words:
        _check_codestream(file, frame)
    try:
        file.stream.seek(file.start)
        options = as_pixel_options(file.attributes, number_of_frames=file.frames)
        values: NDArray[np.integer] = get_decoder(file.syntax).as_array(
            file.stream,
            index=frame,
            decoding_plugin=decoder,
            pixel_keyword="PixelData",
            pixel_vr=file.representation,
            correct_unused_bits=not words,
            **options,
        )[0]
    except RuntimeError:
        if nearly_spent():
            raise
        raise ImageError(
            f"{file.path}: compressed as {file.syntax.name}, which the decoders at hand cannot "
            "decode: damaged, or of a rare kind (JPEG of 12 bits); "
            'pip install "sdmad[dicom]" brings more decoders; else save it uncompressed',
            file.path,
        ) from None
    return values


def _decoder(file: Dicom) -> str:
    """Which of pydicom's decoders is used; none ("") for native pixel data."""
    try:
        decoder = get_decoder(file.syntax)
    except NotImplementedError:
        raise ImageError(
            f"{file.path}: the transfer syntax {file.syntax.name} is not read; "
            "save it uncompressed",
            file.path,
        ) from None
    if not file.syntax.is_encapsulated:
        return ""
    for name in DECODERS:
        if name in decoder.available_plugins:
            return name
    raise ImageError(
        f"{file.path}: no decoder for the transfer syntax {file.syntax.name}; "
        'install it with: pip install "sdmad[dicom]"',
        file.path,
    )


def _check_codestream(file: Dicom, frame: int) -> None:
    """Refuse a compressed frame that would unfold to another size than the header's."""
    file.stream.seek(file.start)
    offsets = None
    if "ExtendedOffsetTable" in file.attributes:
        offsets = (file.attributes.ExtendedOffsetTable, file.attributes.ExtendedOffsetTableLengths)
    data = get_frame(file.stream, frame, extended_offsets=offsets, number_of_frames=file.frames)
    size = codestream_size(data)
    expected = (file.number("Columns"), file.number("Rows"), file.number("SamplesPerPixel"))
    if size != expected:
        raise damaged(file.path, "DICOM whose compressed picture has another size than its header")


def codestream_size(data: bytes) -> tuple[int, int, int] | None:
    """Columns, rows and components of a JPEG, JPEG-LS or JPEG 2000 stream, from its header.

    None if there is no such header. ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2, 15444-1 A.5.1.
    """
    place = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if place >= 0 and len(data) >= place + 42:
        right, bottom, left, top = struct.unpack(">4I", data[place + 8 : place + 24])
        (components,) = struct.unpack(">H", data[place + 40 : place + 42])
        return right - left, bottom - top, components
    place = 2
    while data[:2] == b"\xff\xd8" and place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns, components = struct.unpack(">HHB", data[place + 5 : place + 10])
            return columns, rows, components
        else:
            place += 2 + int(struct.unpack(">H", data[place + 2 : place + 4])[0])
    return None


def _unpack(values: NDArray[np.integer], file: Dicom) -> NDArray[np.integer]:
    """Take the bits up to HighBit out of native words and extend their sign, PS3.5 8.1.1."""
    allocated, stored = file.number("BitsAllocated"), file.number("BitsStored")
    high = file.number("HighBit", stored - 1)
    if not 1 <= stored <= high + 1 <= allocated:
        raise ImageError(f"{file.path}: BitsStored and HighBit do not fit BitsAllocated", file.path)
    if file.syntax.is_encapsulated and file.syntax != RLELossless:
        return values
    if stored == allocated or allocated > 32:
        return values
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    words = np.left_shift(native.view(f"u{allocated // 8}"), allocated - high - 1)
    kind = "i" if file.signed else "u"
    return np.right_shift(words.view(f"{kind}{allocated // 8}"), allocated - stored)


def _padding(stored: NDArray[np.integer], file: Dicom) -> tuple[NDArray[np.bool_] | None, bool]:
    """Pixels with the padding value, or between it and the range limit; PS3.3 C.7.5.1.1.2.

    Also whether the value is there and no number.
    """
    try:
        value = file.attributes.get("PixelPaddingValue")
        if value is None or value == "":
            return None, False
        limit = file.attributes.get("PixelPaddingRangeLimit") or value
        ends = sorted(_as_stored(int(end), file) for end in (value, limit))
    except (ValueError, TypeError):
        return None, True
    mask: NDArray[np.bool_] = (stored >= ends[0]) & (stored <= ends[1])
    return (mask if mask.any() else None), False


def _as_stored(value: int, file: Dicom) -> int:
    """A padding value with the sign of the pixels, whatever the element's own type says."""
    bits = file.number("BitsAllocated")
    value %= 1 << bits
    return value - (1 << bits) if file.signed and value >= 1 << bits - 1 else value


def _colour(values: NDArray[np.integer], file: Dicom) -> NDArray[np.uint8]:
    """The upper 8 bits of each channel."""
    stored = file.number("BitsStored")
    if stored <= 8:
        return values.astype(np.uint8)
    return (values >> (stored - 8)).astype(np.uint8)
