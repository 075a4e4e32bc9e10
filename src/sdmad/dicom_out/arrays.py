"""Maps as images of their own: the binary segmentation and the parametric map."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.sr.codedict import codes as standard

from sdmad.detector.maps import HIGHEST, LOWEST
from sdmad.dicom_out import codes
from sdmad.dicom_out.making import SOFTWARE, Making
from sdmad.dicom_out.places import Maps, Place
from sdmad.reporting.map_plot import OUTLINED

LABEL_LENGTH = 16
"""Characters of a map's label."""


def segmentation_of(making: Making, places: tuple[Place, ...]) -> Dataset:
    """Where each finding is seen: a binary segment a finding, on the source's grid.

    Args:
        making: the frame and the model.
        places: of the findings, at least one.
    """
    from highdicom.seg import Segmentation

    masks = np.stack([place.mask for place in places], axis=-1)[None]
    return Segmentation(
        source_images=[making.source.stand_in],
        pixel_array=masks.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(making, place, number) for number, place in enumerate(places, 1)
        ],
        content_label=SOFTWARE.upper(),
        content_description=f"Top {100 - OUTLINED} % of each finding's map; not for diagnosis",
        omit_empty_frames=False,
        **making.common("seg"),
    )


def _segment(making: Making, place: Place, number: int) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription

    name = place.finding.category
    described = SegmentDescription(
        segment_number=number,
        segment_label=codes.line(name),
        segmented_property_category=standard.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.category(name),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=codes.line(f"{SOFTWARE} {making.model.name}"),
            family=standard.DCM.ArtificialIntelligence,
            version=making.model.version,
            source=SOFTWARE,
        ),
        tracking_uid=making.uid(f"tracking place {name}"),
        tracking_id=codes.line(f"{SOFTWARE}: {name}, where it is seen"),
    )
    sign = place.finding.deciding_sign.sentence
    described.SegmentDescription = f"Map at {place.level:.6f} or above; sign: {sign}"[:1024]
    return described


def parametric_map_of(making: Making, maps: Maps) -> Dataset:
    """The maps themselves as 32-bit floats: the anomaly map, then each finding's.

    The standard asks for a place in the patient. Where the source has none, the map lies at the
    origin of a frame of reference of its own.

    Args:
        making: the frame and the model.
        maps: of the image.
    """
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap

    named = [("anomaly", "best category above the normal anchor", maps.anomaly)]
    for place in maps.places:
        name = place.finding.category
        named.append((name, f"{name}: cosine of its signs with the patches", place.values))
    values = np.stack([values for _, _, values in named], axis=-1)[None].astype(np.float32)
    low, high = float(values.min()), float(values.max())
    # Cosines lie within less than 1, which only an exact window may span (PS3.3 C.11.2.1.2).
    window = VOILUTTransformation((low + high) / 2, max(high - low, 1e-6), None, "LINEAR_EXACT")
    made = ParametricMap(
        source_images=[making.source.placed_stand_in],
        pixel_array=values,
        real_world_value_mappings=[[_mapping(name, text)] for name, text, _ in named],
        voi_lut_transformations=[window],
        contains_recognizable_visual_features=False,
        content_label=SOFTWARE.upper(),
        content_description="Where an image looks abnormal; not for diagnosis",
        **making.common("pm"),
    )
    _label_frames(made, [name for name, _, _ in named])
    return made


def _label_frames(made: Dataset, names: list[str]) -> None:
    """Tell the frames apart by a label, for which the library has no parameter."""
    dimension = Dataset()
    dimension.DimensionOrganizationUID = made.DimensionOrganizationSequence[
        0
    ].DimensionOrganizationUID
    dimension.DimensionIndexPointer = tag_for_keyword("FrameLabel")
    dimension.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
    dimension.DimensionDescriptionLabel = "Map"
    made.DimensionIndexSequence = [dimension]
    groups = made.PerFrameFunctionalGroupsSequence
    for number, (group, name) in enumerate(zip(groups, names, strict=True), 1):
        content = group.FrameContentSequence[0]
        content.DimensionIndexValues, content.FrameLabel = number, codes.line(name)


def _mapping(name: str, text: str) -> Any:
    from highdicom.pm import RealWorldValueMapping

    return RealWorldValueMapping(
        lut_label=codes.line(name, LABEL_LENGTH),
        lut_explanation=codes.line(text),
        unit=standard.UCUM.NoUnits,
        value_range=(LOWEST, HIGHEST),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.own(codes.MAP),
    )
