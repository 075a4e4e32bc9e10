"""``sdmad fit``: draw a support set, train, save."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdmad.choices import EMBEDDED, Preset, Tracker
from sdmad.cli.common import (
    BackboneName,
    Decision,
    Device,
    Force,
    ImageSize,
    Labels,
    Normals,
    Order,
    Out,
    Seed,
    Shots,
    Signs,
    TowerPrecision,
    Window,
    notes,
    put,
    readable_warnings,
    say,
)


def command(
    labels: Labels,
    signs: Signs,
    out: Out,
    shots: Shots = 4,
    seed: Seed = 0,
    backbone: BackboneName = EMBEDDED,
    image_size: ImageSize = None,
    window: Window = "auto",
    preset: Annotated[
        Preset, typer.Option("--preset", help="Settings: ours, or the paper's to the letter.")
    ] = "recommended",
    support: Annotated[
        Path | None, typer.Option("--support", help="A support.json of an earlier draw.")
    ] = None,
    order: Order = "round-robin",
    decision: Decision = None,
    normals: Normals = None,
    device: Device = "auto",
    precision: TowerPrecision = "float32",
    track: Annotated[
        Tracker | None,
        typer.Option("--track", help="Log settings, figures and the model there, too."),
    ] = None,
    force: Force = False,
) -> None:
    """Learn from a few images a category and save the detector.

    The drawn support set is written to OUT.support.json beside the model.

    Example: `sdmad fit LABELS.csv --signs brain --shots 4 --seed 0 --out model`
    """
    from sdmad.cli.steps.fitting import FitRequest, fit_on_table, support_path
    from sdmad.output import check_output, check_output_file

    check_output(out, force, (labels, signs, normals, support, backbone))
    if track is not None:
        from sdmad.reporting.tracking import check_tracker

        check_tracker()
    if support_path(out).parent.is_dir():
        check_output_file(support_path(out), force)
    request = FitRequest(
        labels,
        signs,
        shots,
        seed,
        backbone,
        image_size,
        window,
        preset,
        decision,
        normals,
        support,
        order,
        device,
        precision,
    )
    with readable_warnings():
        fitted = fit_on_table(request)
    fitted.detector.save(out, force)
    listing = fitted.write_support(out)
    notes(fitted.notes)
    whose = fitted.support.patients_told(fitted.table)
    if whose:
        say(whose)
    say(f"fitted on {len(fitted.support.indices)} images in {fitted.seconds:.1f} s")
    put(f"model: {out}\nsupport set: {listing}")
    if track is not None:
        from sdmad.reporting.tracking import track_fit

        drawn = {"shots": shots, "seed": seed, "preset": preset, "draw": order}
        told = {**drawn, "labels_sha256": fitted.table.digest()}
        put(f"run: {track_fit(fitted.detector, out, told, fitted.seconds)}")
