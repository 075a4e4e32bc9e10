"""``sdmad reproduce``: the paper's tables and figures."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from sdmad.cli.common import BackboneName, Device, Out, readable_warnings, say


def command(
    target: Annotated[
        str,
        typer.Argument(
            help="table1, table2, table3, table4, table5, table6, table7, figure3, figure4, "
            "figure5, shots or signs."
        ),
    ],
    data: Annotated[str, typer.Option("--data", help="The data set's folder, or phantom.")],
    out: Out,
    backbone: BackboneName = "nano",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of the support set.")] = 5,
    medclip: Annotated[
        str | None, typer.Option("--medclip", help="Folder with MedCLIP's weights.")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", min=1, help="Input side in pixels; 240, as in the paper."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Make a table or figure of the paper, ours beside the printed, with intervals.

    Interrupted and started again it goes on where it was; OUT keeps the draws of all targets.

    Example: `sdmad reproduce table4 --data phantom --seeds 2 --out reproduction`
    """
    from sdmad.studies.reproduction import Request, reproduce

    request = Request(target, data, out, backbone, seeds, medclip, image_size, device)
    start = time.monotonic()
    with readable_warnings():
        files = reproduce(request, say)
    say(f"finished in {time.monotonic() - start:.0f} s")
    for file in files:
        typer.echo(str(file))
