"""Results as files: what ``sdmad predict --dicom-out`` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sdmad.data.formats import is_dicom
from sdmad.data.plane import ImageError
from sdmad.dicom_out.identity import Judge, ModelIdentity
from sdmad.dicom_out.making import Kind
from sdmad.dicom_out.results import Results, results_for
from sdmad.errors import InputError
from sdmad.output import output_directory, write_bytes, write_csv
from sdmad.progress import track
from sdmad.reporting.map_files import safe_name
from sdmad.reporting.predictions import Prediction

INDEX = "results.csv"
HEADER = ("file", "source", "frame", "kind", "written", "uid")


def check_any_dicom(files: Iterable[Path]) -> None:
    """Refuse images none of which is a DICOM file, before any work is done.

    Raises:
        InputError: if there is none.
    """
    if not any(map(is_dicom, files)):
        raise InputError(
            "--dicom-out: none of the images is a DICOM file, and results in DICOM take patient, "
            "study and place from one; leave the option out, or give DICOM files"
        )


def write_results(
    judge: Judge,
    rows: Sequence[Prediction],
    model: ModelIdentity,
    folder: Path,
    force: bool,
    refused: Callable[[ImageError], None],
) -> list[Path]:
    """Write the results of judged images into a folder, with ``results.csv`` that lists them.

    An image has a folder, numbered in the images' order and named after its file, with
    ``seg.dcm``, ``pm.dcm``, ``sc.dcm`` and ``sr.dcm``.

    Args:
        judge: what judged them.
        rows: images and what was found.
        model: which model that is.
        folder: written under a temporary name and renamed.
        force: replace what the folder holds.
        refused: called for each DICOM file that lacks what results need.

    Returns:
        The images that are no DICOM files, and so have no results.

    Raises:
        InputError: if the folder holds something.
        SDMADError: if something cannot be written.
    """
    others: list[Path] = []
    with output_directory(folder, force) as work:
        index: list[Sequence[object]] = []
        for number in track(range(len(rows)), "writing DICOM"):
            row = rows[number]
            if not is_dicom(row.file):
                others.append(row.file)
                continue
            try:
                results = results_for(judge, row, model)
            except ImageError as error:
                refused(error)
                continue
            place = work / f"{number + 1:06d}-{safe_name(row.file.name)}"
            for kind, path, uid in write_parts(results, place):
                written = path.relative_to(work).as_posix()
                source = results.source
                index.append((row.file, source.uid, source.said.frame, kind, written, uid))
        write_csv(work / INDEX, HEADER, index)
    return others


def write_parts(results: Results, place: Path) -> list[tuple[Kind, Path, str]]:
    """Write the results of one image into a folder of its own: kind, file and UID of each."""
    place.mkdir(parents=True, exist_ok=True)
    told = []
    for part in results.parts:
        path = place / f"{part.kind}.dcm"
        write_bytes(path, part.content)
        told.append((part.kind, path, part.uid))
    return told
