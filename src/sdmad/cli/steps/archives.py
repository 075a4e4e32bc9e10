"""Archives from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sdmad.cli.common import SOME_UNREADABLE, complain, notes, put, readable_warnings, show
from sdmad.errors import InputError

if TYPE_CHECKING:
    from sdmad.archive.predicting import Scored
    from sdmad.cli.steps.loading import ModelRequest
    from sdmad.detector.suggesting import Suggestion

Cluster = tuple[str | None, float, int | None]
"""Its address, GPUs of each tower, and towers, as they were asked for."""


def predict_archive(
    request: ModelRequest,
    paths: Sequence[Path],
    out: Path | None,
    maps: Path | None,
    cluster: Cluster,
    force: bool,
) -> None:
    """Score an archive by Ray, or finish what an earlier run left.

    Raises:
        SDMADError: if something cannot be used, or the cluster fails.
    """
    from sdmad.archive.engine import Resources
    from sdmad.archive.maps import MAPS
    from sdmad.archive.places import place_of
    from sdmad.archive.predicting import score_archive

    if out is None:
        raise InputError("--engine ray writes a folder: give --out FOLDER or an address")
    if maps is not None and place_of(maps) != place_of(out) / MAPS:
        raise InputError(
            f"--maps {maps}: with --engine ray maps lie beside the scores; give "
            f"--maps {place_of(out) / MAPS}"
        )
    with readable_warnings():
        done = score_archive(
            paths,
            place_of(out),
            partial(request.judge, maps is not None),
            request.model,
            request.settings(),
            Resources(*cluster),
            force,
        )
    notes(_told(done))
    put(f"scores: {place_of(out)}")
    if maps is not None:
        put(f"maps: {place_of(maps)}")
    if done.errors:
        complain(
            f"{done.errors} of {done.listing.images} images could not be read; their rows say why "
            "(column error)"
        )
        raise typer.Exit(SOME_UNREADABLE)


def refuse_settled(*given: object) -> None:
    """Refuse options that were settled when an archive was scored.

    Raises:
        InputError: if one was given.
    """
    if any(one is not None for one in given):
        raise InputError(
            "--scores were made with their own decision, prevalence and backbone; leave these "
            "options out, or score again"
        )


def evaluate_scores(
    model: Path, labels: Path, scores: Path, out: Path, resamples: int, force: bool
) -> None:
    """Judge an archive's scores.

    Raises:
        SDMADError: if something cannot be used.
    """
    from sdmad.archive.evaluating import evaluate_archive, write_scores_evaluation
    from sdmad.archive.places import place_of
    from sdmad.archive.scores import opened_scores
    from sdmad.output import check_output, output_directory

    check_output(out, force, (model, labels, scores))
    with readable_warnings(), opened_scores(place_of(scores)) as opened:
        found = evaluate_archive(opened, labels, model, resamples)
        with output_directory(out, force) as work:
            write_scores_evaluation(found, work, f"SD-MAD on {labels.name}")
    notes(found.notes)
    show(found.tables())
    put(f"report: {out / 'report.html'}")


def suggest_in_archive(model: Path, scores: Path, budget: int) -> list[Suggestion]:
    """Which images of an archive to label next.

    Raises:
        SDMADError: if something cannot be used.
    """
    from sdmad.archive.places import place_of
    from sdmad.archive.scores import opened_scores
    from sdmad.archive.suggesting import suggest_from_scores

    with readable_warnings(), opened_scores(place_of(scores)) as opened:
        notes(opened.notes)
        return suggest_from_scores(opened, model, budget)


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
