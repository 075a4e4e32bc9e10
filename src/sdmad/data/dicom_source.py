"""What results in DICOM take from the image that they are about: whose it is, and where it lies.

Like a picture, a header is read in a decoder process (`sdmad.data.decoders`); of the file's
elements only those named here come out, each short and of a value that DICOM allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement

from sdmad.data.dicom import header_of
from sdmad.data.plane import choose_slice

IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
"""What must be there with a value."""

BLANK_ALLOWED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)
"""What must be there, with or without a value."""

OPTIONAL = (
    *("IssuerOfPatientID", "TypeOfPatientID", "PatientAge", "PatientSize", "PatientWeight"),
    *(
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "LongitudinalTemporalInformationModified",
    ),
    *("LongitudinalTemporalInformationModified", "StudyDescription"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    *("Modality", "Manufacturer", "ManufacturerModelName", "SeriesDescription", "InstanceNumber"),
    *("ContentDate", "ContentTime", "AcquisitionDate", "AcquisitionTime"),
    *("SeriesDate", "SeriesTime", "BurnedInAnnotation"),
    *("PatientOrientation", "Laterality", "ImageLaterality"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator"),
)
"""What is taken along where it is there and usable."""

GEOMETRY = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
}
"""Where a frame lies, and the functional group that says so where not the whole file does."""

LONGEST = 1024
"""Characters of a value that is taken along."""

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_SEXES = ("", "M", "F", "O")
_UNIT = 1e-3


@dataclass(frozen=True)
class DicomSource:
    """One frame of a DICOM image, without its pixels.

    Attributes:
        attributes: those of this module that are there and usable, in DICOM's JSON (PS3.18 F).
        unusable: keywords of those whose value is too long or none that DICOM allows.
        frame: the frame, from 0.
        frames: how many there are.
        shape: rows and columns.
    """

    attributes: dict[str, Any]
    unusable: list[str]
    frame: int
    frames: int
    shape: tuple[int, int]


def read(path: Path, index: int | None) -> DicomSource:
    """Read what results take from a file.

    Args:
        path: the file.
        index: of the frame, from 0; None for the middle one.

    Raises:
        ImageError: if there is no such frame.
    """
    wanted = (*IDENTIFIERS, *BLANK_ALLOWED, *OPTIONAL)
    more = (*GEOMETRY, *_GROUPS, "Rows", "Columns", "NumberOfFrames", "SpecificCharacterSet")
    with header_of(path, (*wanted, *more)) as header:
        frames = max(1, int(header.get("NumberOfFrames") or 1))
        frame = choose_slice(path, index, frames)
        found, unusable = Dataset(), []
        for element in (header[keyword] for keyword in wanted if keyword in header):
            if _is_usable(element):
                found.add(element)
            else:
                unusable.append(element.keyword)
        found.update(_geometry(header, frame))
        shape = int(header.Rows), int(header.Columns)
        return DicomSource(found.to_json_dict(), unusable, frame, frames, shape)


def _is_usable(element: DataElement) -> bool:
    if element.is_empty:
        return True
    values = list(element.value) if element.VM > 1 else [element.value]
    try:
        if sum(len(str(value)) for value in values) > LONGEST:
            return False
        representation = dictionary_VR(element.tag)
        DataElement(element.tag, representation, element.value, validation_mode=config.RAISE)
        single = Dataset()
        single.add(element)
        single.to_json_dict()
    except (ValueError, TypeError, OverflowError, AttributeError):
        return False
    return element.keyword != "PatientSex" or element.value in _SEXES


def _geometry(header: Dataset, frame: int) -> Dataset:
    """Where a frame lies in the patient; nothing where that is not said in full."""
    found = Dataset()
    groups = list(_frame_groups(header, frame))
    for keyword, group in GEOMETRY.items():
        places = [header, *(one[group][0] for one in groups if one.get(group))]
        for place in places:
            if keyword in place and (numbers := _numbers(place[keyword].value)):
                setattr(found, keyword, numbers if len(numbers) > 1 else numbers[0])
    return found if _is_complete(found) else Dataset()


def _frame_groups(header: Dataset, frame: int) -> Iterator[Dataset]:
    shared, own = (header.get(name) or [] for name in _GROUPS)
    yield from shared[:1]
    yield from own[frame : frame + 1]


def _numbers(value: Any) -> list[float]:
    try:
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        found = [float(part) for part in several]
    except (TypeError, ValueError):
        return []
    # A decimal string has 16 characters.
    return [float(f"{v:.10g}") for v in found] if all(map(math.isfinite, found)) else []


def _is_complete(found: Dataset) -> bool:
    position, axes = (found.get(keyword) or [] for keyword in list(GEOMETRY)[:2])
    spacing = found.get("PixelSpacing") or []
    if (len(position), len(axes), len(spacing)) != (3, 6, 2) or min(spacing) <= 0:
        return False
    row, column = [float(v) for v in axes[:3]], [float(v) for v in axes[3:]]
    lengths = math.hypot(*row), math.hypot(*column)
    across = sum(a * b for a, b in zip(row, column, strict=True))
    return max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(across)) < _UNIT
