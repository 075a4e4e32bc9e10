"""All results in DICOM of one image that was judged."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom import Dataset, dcmread

from sdmad.data.plane import ImageError
from sdmad.data.reading import log_unknown
from sdmad.dicom_out.arrays import parametric_map_of, segmentation_of
from sdmad.dicom_out.identity import Judge, ModelIdentity, preprocessing_of
from sdmad.dicom_out.making import Kind, Making, encoded
from sdmad.dicom_out.picture import capture_of
from sdmad.dicom_out.places import maps_of
from sdmad.dicom_out.report import report_of
from sdmad.dicom_out.source import Source
from sdmad.errors import SDMADError
from sdmad.export.runtime import require
from sdmad.reporting.predictions import Prediction

_LOGGERS = ("highdicom", "pydicom")


@dataclass(frozen=True)
class Result:
    """One DICOM object.

    Attributes:
        kind: which one.
        uid: its SOP Instance UID.
        content: the file.
    """

    kind: Kind
    uid: str
    content: bytes

    def dataset(self) -> Dataset:
        """The object, read from the file."""
        return dcmread(io.BytesIO(self.content))


@dataclass(frozen=True)
class Results:
    """The results of one image.

    Attributes:
        source: the frame that they are about.
        parts: in the order in which they are to be stored; the report, which is always there,
            is the last.
    """

    source: Source
    parts: tuple[Result, ...]


def check_can_make() -> None:
    """Refuse, before any work is done, where the library is not installed.

    Raises:
        InputError: says how to install it.
    """
    require("dicom-out", "highdicom")


def results_for(judge: Judge, row: Prediction, model: ModelIdentity) -> Results:
    """Make the DICOM objects of an image that was judged; nothing is written.

    The same image, model and settings give the same UIDs and, on one machine, the same bytes. One
    image at a time: the library is silenced for the whole process meanwhile.

    Args:
        judge: what judged it; an export, or a backbone without maps, gives a report without
            places and a picture without an overlay.
        row: the image and what was said of it.
        model: which model that is (`ModelIdentity.of`).

    Returns:
        A segmentation where a finding has a place, a parametric map where there are maps, a
        secondary capture and a structured report.

    Raises:
        ImageError: if the image is no DICOM file, can no longer be read, or lacks what results
            need; says what.
        InputError: if the library is not installed.
    """
    check_can_make()
    source = Source.read(row.file)
    making = Making(source, model)
    made: list[tuple[Kind, Dataset]] = []
    with _library(source):
        maps = maps_of(judge, row)
        if maps is not None and maps.places:
            made.append(("seg", segmentation_of(making, maps.places)))
        if maps is not None:
            made.append(("pm", parametric_map_of(making, maps)))
        made.append(("sc", capture_of(making, row, maps, preprocessing_of(judge).window)))
        made.append(("sr", report_of(making, row, maps)))
        for _, result in made:
            making.settle(result)
        parts = tuple(Result(k, str(d.SOPInstanceUID), encoded(d)) for k, d in made)
    return Results(source, parts)


@contextmanager
def _library(source: Source) -> Iterator[None]:
    """The one boundary around the library: it is silent, and whatever it raises is one line.

    What it says itself may quote values of the source.
    """
    loggers = [(one, one.level) for one in map(logging.getLogger, _LOGGERS)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger, _ in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
    except (SDMADError, ImportError):
        raise
    except Exception as error:
        log_unknown(f"{source.file}: ", error)
        raise ImageError(
            f"{source.file}: no DICOM results: they cannot be made of the attributes that this "
            f"source has ({type(error).__name__}); export the image again",
            source.file,
        ) from None
    finally:
        for logger, level in loggers:
            logger.setLevel(level)
