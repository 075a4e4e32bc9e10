"""``sdmad explain``: which signs speak for each category in one image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdmad.cli.common import Device, Force, readable_warnings, say, show


def command(
    model: Annotated[Path, typer.Argument(help="A directory that sdmad fit wrote.")],
    image: Annotated[Path, typer.Argument(help="One image.")],
    maps: Annotated[
        Path | None,
        typer.Option("--maps", help="Folder for pictures: where each found category is seen."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the base weights are here.")
    ] = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Show each category's signs with their similarity to one image, and which one decided.

    Example: `sdmad explain model image.png --maps seen`
    """
    import dataclasses

    from sdmad.data.address import file_of
    from sdmad.detector.maps import check_gives_maps
    from sdmad.detector.sign_detector import SignDetector
    from sdmad.output import check_output, json_text
    from sdmad.reporting.explanations import explanation_table, write_overlays

    if maps is not None:
        check_output(maps, force, [model, file_of(image), backbone])
    with readable_warnings():
        detector = SignDetector.load(model, backbone, device)
        if maps is not None:
            check_gives_maps(detector.backbone_)
        explanation = detector.explain(image)
    if maps is not None:
        written = write_overlays(detector, image, explanation, maps, force)
        say(f"{maps}: {', '.join(written)}")
    if as_json:
        typer.echo(json_text(dataclasses.asdict(explanation)))
    else:
        show([explanation_table(explanation, image.name)])
