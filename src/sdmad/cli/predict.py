"""``sdmad predict``: score images, one row an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.cli.common import (
    Decision,
    Device,
    ErrorRate,
    FileOut,
    Force,
    Json,
    Maps,
    ModelBackbone,
    Normals,
    StatedPrevalence,
    TowerPrecision,
    Unreadable,
    notes,
    put,
    readable_warnings,
)

if TYPE_CHECKING:
    from sdmad.detector.sign_detector import SignDetector
    from sdmad.export.runtime import ExportedModel
    from sdmad.reporting.predictions import Prediction


def command(
    model: Annotated[Path, typer.Argument(help="A directory of sdmad fit or sdmad export.")],
    paths: Annotated[list[Path], typer.Argument(help="Images and folders of images.")],
    out: FileOut = None,
    maps: Maps = None,
    as_json: Json = False,
    prevalence: StatedPrevalence = None,
    error_rate: ErrorRate = None,
    decision: Decision = None,
    normals: Normals = None,
    backbone: ModelBackbone = None,
    device: Device = "auto",
    precision: TowerPrecision = "float32",
    force: Force = False,
) -> None:
    """Score images: scores, decisions, the top sign of each finding, and maps.

    Rows are CSV, or with --json an object a line. Maps are 16-bit PNG (black -2, white 2), NIfTI
    for a slice of a NIfTI file; maps.csv lists them.

    Example: `sdmad predict model images/ --json --out scores.jsonl`
    """
    from sdmad.data.listing import list_images
    from sdmad.detector.calibration import parse_prevalence
    from sdmad.export.files import is_export
    from sdmad.export.runtime import ExportedModel
    from sdmad.output import check_output_file, write_text
    from sdmad.reporting.predictions import (
        Predictions,
        rows_as_csv,
        rows_as_json_lines,
        unfamiliar_note,
    )

    if out is not None:
        check_output_file(out, force)
    if maps is not None:
        _check_folder(maps, force, [model, *paths, normals, backbone])
    stated = None if prevalence is None else parse_prevalence(prevalence)
    with readable_warnings():
        if is_export(model):
            _check_fixed(decision, normals, backbone, device, precision)
            _refuse_maps(maps)
            detector: SignDetector | ExportedModel = ExportedModel.load(model)
        else:
            from sdmad.cli.steps.loading import load_with_decision

            detector = load_with_decision(
                model, decision, normals, backbone, device, precision, stated
            )
            if maps is not None:
                _check_backbone(detector)
        likely = None if stated is None else detector.at_prevalence(stated)
        answer = None if error_rate is None else detector.answering(error_rate)
        files = list_images(paths)
        unreadable = Unreadable()
        scored = detector.score_images(files, unreadable, "scoring")
    probabilities = None if likely is None else likely(scored)
    answers = None if answer is None else answer(scored)
    skipped = set(unreadable.positions)
    rows = Predictions(detector, files, scored, skipped, probabilities, answers)
    notes(unfamiliar_note(rows))
    text = (rows_as_json_lines if as_json else rows_as_csv)(detector.categories, rows)
    if out is None:
        put(text, end="")
    else:
        write_text(out, text)
    if maps is not None:
        _write_maps(detector, rows, maps, force)
    unreadable.exit_if_any(len(files))


def _check_folder(maps: Path, force: bool, read: Iterable[Path | str | None]) -> None:
    """Refuse a folder for maps that holds something, before any work is done."""
    from sdmad.data.address import file_of
    from sdmad.output import check_output

    check_output(maps, force, [None if path is None else file_of(path) for path in read])


def _check_backbone(detector: SignDetector) -> None:
    """Refuse a backbone that gives no maps, before any work is done."""
    from sdmad.detector.maps import check_gives_maps

    check_gives_maps(detector.backbone_)


def _refuse_maps(maps: Path | None) -> None:
    from sdmad.errors import InputError

    if maps is not None:
        raise InputError(
            "--maps: an exported model gives no maps; give the directory that sdmad fit wrote"
        )


def _write_maps(
    detector: SignDetector | ExportedModel, rows: Sequence[Prediction], maps: Path, force: bool
) -> None:
    from sdmad.detector.sign_detector import SignDetector
    from sdmad.reporting.map_files import write_maps

    assert isinstance(detector, SignDetector)  # an export was refused
    write_maps(detector, rows, maps, force)


def _check_fixed(
    decision: str | None, normals: Path | None, backbone: str | None, device: str, precision: str
) -> None:
    """Refuse options that an export has settled."""
    from sdmad.errors import InputError

    settled = {
        "--decision": decision is not None,
        "--normals": normals is not None,
        "--backbone": backbone is not None,
        "--device": device not in ("auto", "cpu"),
        "--precision": precision != "float32",
    }
    for option, asked in settled.items():
        if asked:
            raise InputError(
                f"{option} was settled when the model was exported; export it again, or give the "
                "directory that sdmad fit wrote"
            )
