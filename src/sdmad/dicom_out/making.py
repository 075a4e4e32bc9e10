"""What all results of a frame have in common, and how the clock and chance are kept out of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydicom import Dataset

from sdmad.dicom_out.codes import line, schemes
from sdmad.dicom_out.identity import ModelIdentity
from sdmad.dicom_out.source import Source
from sdmad.dicom_out.uids import derived

Kind = Literal["seg", "pm", "sc", "sr"]
"""Segmentation, parametric map, secondary capture, structured report."""

SOFTWARE = "sdmad"
DESCRIPTIONS: dict[Kind, str] = {
    "seg": "places",
    "pm": "maps",
    "sc": "picture",
    "sr": "findings",
}
"""What each kind of result is, in the order in which they are stored: the report comes last."""

FIRST_SERIES = 9101
RESEARCH = "For research; not a medical device, never for diagnosis."


@dataclass(frozen=True)
class Making:
    """Of one frame and one model.

    Attributes:
        source: the frame.
        model: what judged it.
    """

    source: Source
    model: ModelIdentity

    def uid(self, what: str) -> str:
        """The UID of a kind of result, or of something inside it."""
        frame = str(self.source.said.frame)
        return derived(self.source.uid, frame, self.model.fingerprint, what)

    def common(self, kind: Kind) -> dict[str, Any]:
        """What every result is constructed with."""
        return {
            "series_instance_uid": derived(self.source.series, self.model.fingerprint, kind),
            "series_number": FIRST_SERIES + list(DESCRIPTIONS).index(kind),
            "series_description": series_description(kind, self.model),
            "sop_instance_uid": self.uid(kind),
            "instance_number": self.source.number,
            "manufacturer": SOFTWARE,
            "manufacturer_model_name": line(f"{SOFTWARE} {self.model.name}"),
            "software_versions": self.model.version,
            "device_serial_number": self.model.sha256,
            "coding_schemes": schemes(),
        }

    def settle(self, result: Dataset) -> None:
        """Take out what the clock and chance have put in, and refer to the source as it is."""
        result.ContentDate, result.ContentTime = self.source.moment
        for keyword in (
            *("InstanceCreationDate", "InstanceCreationTime"),
            *("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
        ):
            result.pop(keyword, None)
        self._orient(result)
        for part in parts_of(result):
            part.pop("ContributionDateTime", None)
            if "DimensionOrganizationUID" in part:
                part.DimensionOrganizationUID = self.uid("dimensions")
            if part.get("ReferencedSOPInstanceUID") == self.source.uid:
                part.ReferencedSOPClassUID = self.source.header.SOPClassUID
        if self.source.frames:
            for group in result.get("PerFrameFunctionalGroupsSequence", ()):
                for image in group.DerivationImageSequence[0].SourceImageSequence:
                    image.ReferencedFrameNumber = self.source.frames

    def _orient(self, result: Dataset) -> None:
        """Which side is shown, and where up is: as in the source, blank where that does not say."""
        header = self.source.header
        if result.Modality == "OT":
            side = header.get("Laterality") or header.get("ImageLaterality") or ""
            result.Laterality = side if side in ("L", "R") else ""
        if result.Modality != "SR" and not self.source.is_placed:
            result.PatientOrientation = header.get("PatientOrientation") or ""


def series_description(kind: Kind, model: ModelIdentity) -> str:
    """What the series of a kind of result is called."""
    return line(f"{SOFTWARE} {DESCRIPTIONS[kind]}: {model.name} (not for diagnosis)")


def parts_of(data: Dataset) -> Iterator[Dataset]:
    """A data set and all those nested in it."""
    yield data
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                yield from parts_of(item)


def encoded(result: Dataset) -> bytes:
    """A result as a file."""
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
