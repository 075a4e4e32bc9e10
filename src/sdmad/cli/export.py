"""``sdmad export``: a model as one graph for OpenVINO or ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdmad.choices import ExportTarget, GraphFormat, GraphPrecision
from sdmad.cli.common import (
    Decision,
    Force,
    Model,
    ModelBackbone,
    Normals,
    Out,
    StatedPrevalence,
    notes,
    readable_warnings,
    say,
)


def command(
    model: Model,
    out: Out,
    layout: Annotated[GraphFormat, typer.Option("--format", help="Whose graph.")],
    precision: Annotated[
        GraphPrecision, typer.Option("--precision", help="Of the image tower.")
    ] = "float32",
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Folder or label table with the support images: int8 is calibrated on them, "
            "any graph is checked on them.",
        ),
    ] = None,
    target: Annotated[
        ExportTarget,
        typer.Option(
            "--target",
            help="Whose processor runs it: here is one like this machine's, any is safe "
            "everywhere. Only int8 differs.",
        ),
    ] = "here",
    decision: Decision = None,
    normals: Normals = None,
    prevalence: StatedPrevalence = None,
    backbone: ModelBackbone = None,
    force: Force = False,
) -> None:
    """Write a model as one graph, from raw pixels to scores, checked against the model.

    Example: `sdmad export model --format openvino --precision bfloat16 --out graph`
    """
    from sdmad.cli.steps.loading import load_with_decision
    from sdmad.detector.calibration import parse_prevalence
    from sdmad.export.exporting import check_request, export_model
    from sdmad.output import check_output

    check_request(layout, precision, calibration, target)
    check_output(out, force, inputs=(model, calibration, normals))
    with readable_warnings():
        say(f"reading {model}")
        stated = None if prevalence is None else parse_prevalence(prevalence)
        detector = load_with_decision(model, decision, normals, backbone, "cpu", prevalence=stated)
        written = export_model(detector, out, layout, precision, calibration, force, target, say)
    notes(written.notes)
    for kind, found in (("random", written.check.random), ("given", written.check.given)):
        if found is not None:
            say(
                f"checked on {found.images} {kind} images: scores differ by up to "
                f"{found.score:.2g}, cosines by up to {found.cosine:.2g}, "
                f"{found.changed} of {found.decisions} decisions changed"
            )
    say(f"{out}: run it with sdmad predict {out} IMAGES")
