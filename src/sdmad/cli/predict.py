"""``sdmad predict``: score images, one row an image."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sdmad.cli.common import (
    Decision,
    Device,
    Normals,
    Precision,
    Unreadable,
    readable_warnings,
)


class Format(StrEnum):
    """How the rows are written."""

    csv = "csv"
    jsonl = "jsonl"


def command(
    model: Annotated[Path, typer.Argument(help="A directory that sdmad fit wrote.")],
    paths: Annotated[list[Path], typer.Argument(help="Images and folders of images.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; else standard output.")
    ] = None,
    layout: Annotated[Format, typer.Option("--format", help="CSV or JSON lines.")] = Format.csv,
    decision: Decision = None,
    normals: Normals = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the base weights are here.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "float32",
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Score images: scores, decisions and the top sign of each finding.

    Example: `sdmad predict model images/ --format jsonl --out scores.jsonl`
    """
    from sdmad.data.images import list_images
    from sdmad.output import check_output_file, write_text
    from sdmad.predictions import prediction_rows, rows_as_csv, rows_as_json_lines
    from sdmad.workflow import load_with_decision

    if out is not None:
        check_output_file(out, force)
    with readable_warnings():
        detector = load_with_decision(model, decision, normals, backbone, device, precision)
        files = list_images(paths)
        unreadable = Unreadable()
        scored = detector.score(files, unreadable, "scoring")
    rows = prediction_rows(detector, files, scored, set(unreadable.positions))
    text = (rows_as_csv if layout is Format.csv else rows_as_json_lines)(detector.categories, rows)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
    unreadable.exit_if_any(len(files))
