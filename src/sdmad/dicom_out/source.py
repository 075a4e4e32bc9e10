"""What a source image must say of itself, and what stands in for it while results are made."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydicom import Dataset

from sdmad.data import decoders
from sdmad.data.address import parse_address
from sdmad.data.dicom_source import BLANK_ALLOWED, GEOMETRY, IDENTIFIERS, DicomSource
from sdmad.data.formats import is_dicom
from sdmad.data.plane import ImageError
from sdmad.dicom_out.uids import derived

CT, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
UTF_8 = "ISO_IR 192"
NO_DATE = ("19000101", "000000")
"""The moment of results whose source has no date at all."""

_MOMENTS = ("Content", "Acquisition", "Series", "Study")


@dataclass(frozen=True)
class Source:
    """The frame that results are about.

    Attributes:
        file: the image, as it was named.
        said: what its header says.
        header: the same as a data set.
    """

    file: Path
    said: DicomSource
    header: Dataset

    @classmethod
    def read(cls, file: Path) -> Source:
        """Read a header, in a decoder process, and check that it has what every result needs.

        Args:
            file: a path, or one frame as ``cine.dcm#12``; the middle one where none is named.

        Raises:
            ImageError: if it is no DICOM file, cannot be read or has no such frame; or naming each
                attribute that is missing or has a value that DICOM forbids.
        """
        if not is_dicom(file):
            raise ImageError(f"{file}: no DICOM results: it is no DICOM file", file)
        path, index = parse_address(file)
        told = decoders.ask_for("dicom_source", path, index=index)
        rows, columns = told["shape"]
        return cls.of(file, DicomSource(**{**told, "shape": (rows, columns)}))

    @classmethod
    def of(cls, file: Path, said: DicomSource) -> Source:
        """Check what was read; as `read`."""
        header = Dataset.from_json(said.attributes)
        unusable = [k for k in said.unusable if k in (*IDENTIFIERS, *BLANK_ALLOWED)]
        blank = [k for k in IDENTIFIERS if k not in unusable and not header.get(k)]
        absent = [k for k in BLANK_ALLOWED if k not in unusable and k not in header]
        told = [
            (blank, "the source has no {}"),
            (absent, "the source lacks {}, which must be there but may be empty"),
            (unusable, "the value of {} is none that DICOM allows"),
        ]
        reasons = [text.format(", ".join(names)) for names, text in told if names]
        if reasons:
            raise ImageError(f"{file}: no DICOM results: {'; '.join(reasons)}", file)
        return cls(file, said, header)

    @property
    def uid(self) -> str:
        """Its SOP Instance UID."""
        return str(self.header.SOPInstanceUID)

    @property
    def series(self) -> str:
        """Its Series Instance UID."""
        return str(self.header.SeriesInstanceUID)

    @property
    def frames(self) -> list[int] | None:
        """The frame's number, from 1, of a source that has several; else None."""
        return [self.said.frame + 1] if self.said.frames > 1 else None

    @property
    def number(self) -> int:
        """The instance number that results take over."""
        number = int(self.header.get("InstanceNumber") or 1)
        return number if 1 <= number < 1 << 31 else 1

    @cached_property
    def moment(self) -> tuple[str, str]:
        """Date and time of the source's content, or else the next best that it has."""
        for what in _MOMENTS:
            if date := self.header.get(f"{what}Date"):
                return str(date), str(self.header.get(f"{what}Time") or NO_DATE[1])
        return NO_DATE

    @cached_property
    def stand_in(self) -> Dataset:
        """The source as a single-frame image, whatever kind it is.

        The library takes positions from functional groups that not every kind of multi-frame image
        has, and would have a map for each frame. So it is shown the one frame, where it lies in
        the patient, as a CT image where that is known; `settle` puts the source's own class and
        the frame's number into what refers to it.
        """
        image = self._bare()
        if self.is_placed:
            image.SOPClassUID = CT
            image.SliceThickness = image.get("SliceThickness")
            return image
        for keyword in GEOMETRY:
            if keyword != "PixelSpacing":
                image.pop(keyword, None)
        return image

    @cached_property
    def placed_stand_in(self) -> Dataset:
        """The stand-in; where the source has no place, at the origin of a space of its own."""
        if self.is_placed:
            return self.stand_in
        image = self._bare()
        image.SOPClassUID = CT
        image.FrameOfReferenceUID = derived(self.uid, str(self.said.frame), "frame of reference")
        image.PositionReferenceIndicator = ""
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing = image.get("PixelSpacing") or [1, 1]
        image.SliceThickness = None
        return image

    @property
    def is_placed(self) -> bool:
        """Whether it is known where the frame lies in the patient."""
        return "ImagePositionPatient" in self.header and "FrameOfReferenceUID" in self.header

    def _bare(self) -> Dataset:
        image = copy.deepcopy(self.header)  # data sets share elements where they are updated
        image.SpecificCharacterSet, image.SOPClassUID = UTF_8, SECONDARY_CAPTURE
        image.Rows, image.Columns = self.said.shape
        return image
