"""``sdmad suggest``: which unlabelled images to label next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.cli.common import (
    Device,
    FileOut,
    Force,
    Model,
    ModelBackbone,
    Scores,
    TowerPrecision,
    Unreadable,
    put,
    readable_warnings,
    say,
)
from sdmad.errors import InputError

if TYPE_CHECKING:
    from sdmad.detector.suggesting import Suggestion


def command(
    model: Model,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Unlabelled images and folders of them.")
    ] = None,
    budget: Annotated[
        int, typer.Option("--budget", min=1, help="How many images to suggest.")
    ] = 20,
    out: FileOut = None,
    backbone: ModelBackbone = None,
    device: Device = "auto",
    precision: TowerPrecision = "float32",
    scores: Scores = None,
    force: Force = False,
) -> None:
    """Rank unlabelled images that are most worth a label: doubtful ones, spread over the rest.

    Rows are CSV with an empty column labels, for a person to fill in and sdmad fit to read.

    Example: `sdmad suggest model unlabelled/ --budget 20 --out label-me.csv`
    """
    from sdmad.output import check_output_file

    if (scores is None) == (not paths):
        raise InputError("give images to look at, or --scores, and not both")
    if out is not None:
        check_output_file(out, force)
    if scores is not None:
        from sdmad.cli.steps.archives import suggest_in_archive

        _write(suggest_in_archive(model, scores, budget), out)
        return
    from sdmad.cli.steps.loading import load_with_decision
    from sdmad.data.listing import list_images
    from sdmad.detector.suggesting import suggest

    with readable_warnings():
        detector = load_with_decision(model, None, None, backbone, device, precision)
        files = list_images(paths or ())
        unreadable = Unreadable()
        found = suggest(detector, files, budget, unreadable)
    _write(found, out)
    unreadable.exit_if_any(len(files))


def _write(found: Sequence[Suggestion], out: Path | None) -> None:
    """Write what to label, files relative to the table that names them."""
    from sdmad.output import csv_text, write_text

    folder = Path.cwd() if out is None else out.resolve().parent
    header = ["file", "labels", "rank", "doubt", "doubtful", "unfamiliar"]
    rows = (
        [
            str(one.file) if "://" in str(one.file) else os.path.relpath(one.file, folder),
            "",
            rank,
            round(one.doubt, 4),
            one.category,
            int(one.unfamiliar),
        ]
        for rank, one in enumerate(found, 1)
    )
    text = csv_text(header, rows)
    if out is None:
        put(text, end="")
    else:
        write_text(out, text)
        say(f"fill in the column labels of {out}: names separated by |, normal where nothing is")
