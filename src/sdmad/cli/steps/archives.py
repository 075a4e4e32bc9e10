"""Archives from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sdmad.cli.common import SOME_UNREADABLE, complain, notes, put, readable_warnings
from sdmad.errors import InputError

if TYPE_CHECKING:
    from sdmad.archive.predicting import Scored
    from sdmad.cli.steps.loading import ModelRequest

Cluster = tuple[str | None, float, int | None]
"""Its address, GPUs of each tower, and towers, as they were asked for."""


def predict_archive(
    request: ModelRequest, paths: Sequence[Path], out: Path | None, cluster: Cluster, force: bool
) -> None:
    """Score an archive by Ray, or finish what an earlier run left.

    Raises:
        SDMADError: if something cannot be used, or the cluster fails.
    """
    from sdmad.archive.engine import Resources
    from sdmad.archive.places import place_of
    from sdmad.archive.predicting import score_archive

    if out is None:
        raise InputError("--engine ray writes a folder: give --out FOLDER or an address")
    with readable_warnings():
        done = score_archive(
            paths,
            place_of(out),
            request.judge,
            request.model,
            request.settings(),
            Resources(*cluster),
            force,
        )
    notes(_told(done))
    put(f"scores: {place_of(out)}")
    if done.errors:
        complain(
            f"{done.errors} of {done.listing.images} images could not be read; their rows say why "
            "(column error)"
        )
        raise typer.Exit(SOME_UNREADABLE)


def _told(done: Scored) -> list[str]:
    listing, told = done.listing, []
    if done.listed_before:
        told.append(
            f"taken up: {done.resumed} of {listing.shards} shards were finished, and the list of "
            "images is that of the first run"
        )
    if listing.passed_over:
        kinds = ", ".join(f"{count} {kind}" for kind, count in listing.passed_over.items())
        told.append(f"passed over, no images by name or content: {kinds}")
    if done.unfamiliar:
        told.append(
            f"{done.unfamiliar} of {listing.images} images are unlike those that the model was "
            "fitted on (column unfamiliar): what is said of them has no ground"
        )
    return told
