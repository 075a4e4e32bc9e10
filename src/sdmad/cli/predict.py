"""``sdmad predict``: score images, one row an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.choices import Engine
from sdmad.cli.common import (
    Address,
    Decision,
    Device,
    DicomOut,
    ErrorRate,
    FileOut,
    Force,
    Json,
    Maps,
    ModelBackbone,
    Normals,
    NumGpus,
    StatedPrevalence,
    TowerPrecision,
    Unreadable,
    Workers,
    complain,
    notes,
    put,
    readable_warnings,
)
from sdmad.errors import InputError

if TYPE_CHECKING:
    from sdmad.cli.steps.judging import Judging
    from sdmad.cli.steps.loading import ModelRequest
    from sdmad.detector.sign_detector import SignDetector
    from sdmad.export.runtime import ExportedModel
    from sdmad.reporting.predictions import Prediction


def command(
    model: Annotated[Path, typer.Argument(help="A directory of sdmad fit or sdmad export.")],
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Images and folders; with --engine ray addresses such as s3://... too."
        ),
    ],
    out: FileOut = None,
    maps: Maps = None,
    dicom_out: DicomOut = None,
    as_json: Json = False,
    prevalence: StatedPrevalence = None,
    error_rate: ErrorRate = None,
    decision: Decision = None,
    normals: Normals = None,
    backbone: ModelBackbone = None,
    device: Device = "auto",
    precision: TowerPrecision = "float32",
    engine: Annotated[
        Engine, typer.Option("--engine", help="plain: here; ray: an archive, here or on a cluster.")
    ] = "plain",
    address: Address = None,
    num_gpus: NumGpus = 0.0,
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Score images: scores, decisions, the top sign of each finding, and maps.

    Rows are CSV, or with --json an object a line. Maps are 16-bit PNG (black -2, white 2), NIfTI
    for a slice of a NIfTI file; maps.csv lists them. With --dicom-out, findings of DICOM files are
    written as DICOM too; results.csv lists them. With --engine ray rows are Parquet and maps tar
    files below the folder --out, and the same command takes up what an earlier run left.

    Example: `sdmad predict model images/ --json --out scores.jsonl`
    """
    from sdmad.archive.places import is_address, place_of
    from sdmad.cli.steps.loading import ModelRequest
    from sdmad.detector.calibration import parse_prevalence

    stated = None if prevalence is None else parse_prevalence(prevalence)
    request = ModelRequest(
        model, decision, normals, backbone, device, precision, stated, error_rate
    )
    cluster = (address, num_gpus, workers)
    if engine == "ray":
        from sdmad.cli.steps.archives import predict_archive

        plain = {"--dicom-out": dicom_out, "--json": as_json or None}
        for option in (name for name, given in plain.items() if given is not None):
            raise InputError(f"{option} goes with --engine plain; an archive's rows are Parquet")
        predict_archive(request, paths, out, maps, cluster, force)
        return
    if any(cluster):
        raise InputError("--address, --num-gpus and --workers go with --engine ray")
    for elsewhere in filter(is_address, paths):
        raise InputError(f"{place_of(elsewhere)}: addresses are read by --engine ray alone")
    _predict(request, paths, out, maps, dicom_out, as_json, force)


def _predict(
    request: ModelRequest,
    paths: Sequence[Path],
    out: Path | None,
    maps: Path | None,
    dicom_out: Path | None,
    as_json: bool,
    force: bool,
) -> None:
    """Score images in this process."""
    from sdmad.cli.steps.judging import load_judging
    from sdmad.data.listing import list_images
    from sdmad.export.files import NO_MAPS, is_export
    from sdmad.output import check_output_file, write_text
    from sdmad.reporting.predictions import rows_as_csv, rows_as_json_lines, unfamiliar_note

    if out is not None:
        check_output_file(out, force)
    for folder in (maps, dicom_out):
        if folder is not None:
            read = [request.model, *paths, request.normals, request.backbone]
            _check_folder(folder, force, read)
    with readable_warnings():
        if maps is not None and is_export(request.model):
            raise InputError(f"--maps: {NO_MAPS}")
        judging = load_judging(request)
        detector = judging.detector
        if maps is not None:
            _check_backbone(detector)
        files = list_images(paths)
        if dicom_out is not None:
            _check_dicom(files)
        unreadable = Unreadable()
        scored = detector.score_images(files, unreadable, "scoring")
    rows = judging.rows(files, scored, set(unreadable.positions))
    notes(unfamiliar_note(rows))
    text = (rows_as_json_lines if as_json else rows_as_csv)(detector.categories, rows)
    if out is None:
        put(text, end="")
    else:
        write_text(out, text)
    if maps is not None:
        _write_maps(detector, rows, maps, force)
    refused = 0 if dicom_out is None else _write_dicom(judging, rows, dicom_out, force)
    unreadable.exit_if_any(len(files), refused)


def _check_folder(maps: Path, force: bool, read: Iterable[Path | str | None]) -> None:
    """Refuse a folder for maps that holds something, before any work is done."""
    from sdmad.data.address import file_of
    from sdmad.output import check_output

    check_output(maps, force, [None if path is None else file_of(path) for path in read])


def _check_backbone(detector: SignDetector | ExportedModel) -> None:
    """Refuse a backbone that gives no maps, before any work is done."""
    from sdmad.detector.maps import check_gives_maps
    from sdmad.detector.sign_detector import SignDetector

    assert isinstance(detector, SignDetector)  # an export was refused
    check_gives_maps(detector.backbone_)


def _write_maps(
    detector: SignDetector | ExportedModel, rows: Sequence[Prediction], maps: Path, force: bool
) -> None:
    from sdmad.detector.sign_detector import SignDetector
    from sdmad.reporting.map_files import write_maps

    assert isinstance(detector, SignDetector)  # an export was refused
    write_maps(detector, rows, maps, force)


def _check_dicom(files: Sequence[Path]) -> None:
    """Refuse what no results in DICOM can be made of, before any work is done."""
    from sdmad.dicom_out.files import check_any_dicom
    from sdmad.dicom_out.results import check_can_make

    check_can_make()
    check_any_dicom(files)


def _write_dicom(judging: Judging, rows: Sequence[Prediction], folder: Path, force: bool) -> int:
    """Write results, and tell which images have none: how many lack what results need."""
    from sdmad.dicom_out.files import write_results

    refused: list[str] = []
    others = write_results(
        judging.detector,
        rows,
        judging.identity(),
        folder,
        force,
        lambda error: refused.append(str(error)),
    )
    if others:
        told = f"{len(others)} of {len(rows)} images are no DICOM files and have no DICOM results"
        notes([f"{told} (the first is {others[0].name})"])
    for line in refused:
        complain(line)
    return len(refused)
