"""``sdmad export``: a model as one graph for OpenVINO or ONNX Runtime."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sdmad.cli.common import Decision, Force, Normals, Out, notes, readable_warnings, say


class Runtime(StrEnum):
    """Whose graph is written."""

    openvino = "openvino"
    onnx = "onnx"


class GraphPrecision(StrEnum):
    """Of the image tower's arithmetic."""

    f32 = "f32"
    bf16 = "bf16"
    int8 = "int8"


class Target(StrEnum):
    """Whose processor the graph is for."""

    here = "here"
    any = "any"


def command(
    model: Annotated[Path, typer.Argument(help="A directory that sdmad fit wrote.")],
    out: Out,
    layout: Annotated[Runtime, typer.Option("--format", help="Whose graph.")],
    precision: Annotated[
        GraphPrecision, typer.Option("--precision", help="Of the image tower.")
    ] = GraphPrecision.f32,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Folder or label table with the support images: int8 is calibrated on them, "
            "any graph is checked on them.",
        ),
    ] = None,
    target: Annotated[
        Target,
        typer.Option(
            "--target",
            help="Whose processor runs it: here is one like this machine's, any is safe "
            "everywhere. Only int8 differs.",
        ),
    ] = Target.here,
    decision: Decision = None,
    normals: Normals = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the base weights are here.")
    ] = None,
    force: Force = False,
) -> None:
    """Write a model as one graph, from raw pixels to scores, checked against the model.

    Example: `sdmad export model --format openvino --precision bf16 --out graph`
    """
    from sdmad.export.exporting import check_request, export_model
    from sdmad.output import check_output
    from sdmad.workflow import load_with_decision

    check_request(layout.value, precision.value, calibration, target.value)
    check_output(out, force, inputs=(model, calibration, normals))
    with readable_warnings():
        say(f"reading {model}")
        detector = load_with_decision(model, decision, normals, backbone, "cpu")
        written = export_model(
            detector, out, layout.value, precision.value, calibration, force, target.value, say
        )
    notes(written.notes)
    for kind, found in (("random", written.check.random), ("given", written.check.given)):
        if found is not None:
            say(
                f"checked on {found.images} {kind} images: scores differ by up to "
                f"{found.score:.2g}, cosines by up to {found.cosine:.2g}, "
                f"{found.changed} of {found.decisions} decisions changed"
            )
    say(f"{out}: run it with sdmad predict {out} IMAGES")
