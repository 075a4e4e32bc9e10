"""The structured report: a Measurement Report, TID 1500, unverified.

| group | template | says |
| --- | --- | --- |
| of the image | 1501 | how abnormal it is, whether it is unlike the support images |
| of each category | 1501 | score, threshold, decision, probability, answer, the sign that decided |
| of each finding with a map | 1410 | the outline of where it is seen, its score, its sign |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes as standard

from sdmad.detector.findings import CategoryFinding
from sdmad.dicom_out import codes
from sdmad.dicom_out.making import RESEARCH, SOFTWARE, Making
from sdmad.dicom_out.places import Maps, Place
from sdmad.dicom_out.uids import derived
from sdmad.reporting.predictions import Prediction

DIGITS = 6
"""Decimals of the numbers in a report."""

_ANSWERS = {"yes": "Present", "no": "Absent"}


def report_of(making: Making, row: Prediction, maps: Maps | None) -> Dataset:
    """The report on an image.

    Args:
        making: the frame and the model.
        row: what the model says of it.
        maps: where it sees that; None of a model without maps.
    """
    from highdicom.sr import ComprehensiveSR, MeasurementReport, ObservationContext

    image = making.source.stand_in
    groups = [_image_group(making, row)]
    for k, entry in enumerate(row.explanation.categories):
        groups.append(_category_group(making, row, entry, k))
    groups += [_place_group(making, place) for place in (maps.places if maps else ())]
    content = MeasurementReport(
        ObservationContext(observer_device_context=_observer(making)),
        procedure_reported=standard.SCT.ImagingProcedure,
        imaging_measurements=groups,
    )
    return ComprehensiveSR(
        evidence=[image],
        content=content,
        is_complete=True,
        is_final=False,
        is_verified=False,
        **making.common("sr"),
    )


def parameters_of(making: Making) -> list[str]:
    """What decided, as lines: the model's hash, then each setting."""
    settings = (f"{name}: {value}" for name, value in making.model.settings.items())
    return [f"model SHA-256: {making.model.sha256}", *settings]


def _observer(making: Making) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext

    model = making.model
    return ObserverContext(
        standard.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            uid=derived("device", model.sha256, model.version),
            name=SOFTWARE,
            manufacturer_name=SOFTWARE,
            model_name=f"{SOFTWARE} {model.version} {model.name}",
            serial_number=model.sha256,
        ),
    )


def _algorithm(making: Making) -> Any:
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name=f"{SOFTWARE} {making.model.name}",
        version=making.model.version,
        parameters=parameters_of(making),
        family=standard.DCM.ArtificialIntelligence,
        manufacturer=SOFTWARE,
    )


def _tracking(making: Making, what: str, name: str) -> Any:
    from highdicom.sr import TrackingIdentifier

    return TrackingIdentifier(making.uid(f"tracking {what}"), f"{SOFTWARE}: {name}")


def _measures(*pairs: tuple[Any, float | None]) -> list[Any]:
    from highdicom.sr import Measurement

    return [
        Measurement(name, round(value, DIGITS), standard.UCUM.NoUnits)
        for name, value in pairs
        if value is not None and np.isfinite(value)
    ]


def _said(name: tuple[str, str], value: Any) -> Any:
    from highdicom.sr import QualitativeEvaluation

    return QualitativeEvaluation(codes.own(name), value)


def _presence(there: bool) -> Any:
    return standard.DCM.Present if there else standard.DCM.Absent


def _with_text(group: Any, *texts: tuple[Any, str]) -> Any:
    """A group with sentences in it, for which the library has no parameter."""
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    for name, text in texts:
        item = TextContentItem(name, text, RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(item)
    return group


def _image_group(making: Making, row: Prediction) -> Any:
    from highdicom.sr import MeasurementsAndQualitativeEvaluations

    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(making, "image", "image"),
        finding_type=codes.own(codes.IMAGE),
        algorithm_id=_algorithm(making),
        measurements=_measures((codes.own(codes.ABNORMALITY), row.explanation.abnormality)),
        qualitative_evaluations=[_said(codes.UNFAMILIAR, _presence(row.explanation.unfamiliar))],
        source_images=[_source_image(making)],
    )
    return _with_text(group, (standard.DCM.Comment, RESEARCH))


def _category_group(making: Making, row: Prediction, entry: CategoryFinding, k: int) -> Any:
    from highdicom.sr import MeasurementsAndQualitativeEvaluations

    decisions = [_said(codes.DECISION, _presence(entry.found))]
    if row.answers:
        told = _ANSWERS.get(row.answers[k])
        answer = getattr(standard.DCM, told) if told else standard.SCT.Indeterminate
        decisions.append(_said(codes.ANSWER, answer))
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(making, f"category {entry.category}", entry.category),
        finding_type=codes.category(entry.category),
        algorithm_id=_algorithm(making),
        measurements=_measures(
            (codes.own(codes.SCORE), entry.score),
            (codes.own(codes.THRESHOLD), entry.threshold),
            (standard.DCM.Probability, row.probabilities[k] if row.probabilities else None),
            (codes.own(codes.SIMILARITY), entry.deciding_sign.similarity),
        ),
        qualitative_evaluations=decisions,
        source_images=[_source_image(making)],
    )
    return _with_text(group, (codes.own(codes.SIGN), entry.deciding_sign.sentence))


def _place_group(making: Making, place: Place) -> Any:
    from highdicom.sr import (
        ImageRegion,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        SourceImageForRegion,
    )

    entry, image = place.finding, making.source.stand_in
    source = SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID, making.source.frames)
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(
            making, f"place {entry.category}", f"{entry.category}, where it is seen"
        ),
        referenced_region=ImageRegion("POLYLINE", place.outline, source),
        finding_type=codes.category(entry.category),
        algorithm_id=_algorithm(making),
        measurements=_measures((codes.own(codes.SCORE), entry.score)),
        qualitative_evaluations=[_said(codes.DECISION, _presence(entry.found))],
    )
    return _with_text(group, (codes.own(codes.SIGN), entry.deciding_sign.sentence))


def _source_image(making: Making) -> Any:
    from highdicom.sr import SourceImageForMeasurementGroup

    image = making.source.stand_in
    return SourceImageForMeasurementGroup(
        image.SOPClassUID, image.SOPInstanceUID, making.source.frames
    )
