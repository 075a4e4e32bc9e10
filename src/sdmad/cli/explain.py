"""``sdmad explain``: which signs speak for each category in one image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdmad.cli.common import Device, readable_warnings, show


def command(
    model: Annotated[Path, typer.Argument(help="A directory that sdmad fit wrote.")],
    image: Annotated[Path, typer.Argument(help="One image.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the base weights are here.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Show each category's signs with their similarity to one image, and which one decided.

    Example: `sdmad explain model image.png`
    """
    import dataclasses

    from sdmad.detector import SDMAD
    from sdmad.explaining import explanation_table
    from sdmad.output import json_text

    with readable_warnings():
        explanation = SDMAD.load(model, backbone, device).explain(image)
    if as_json:
        typer.echo(json_text(dataclasses.asdict(explanation)))
    else:
        show([explanation_table(explanation, image.name)])
