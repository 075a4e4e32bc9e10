"""``sdmad signs stress``: what selection makes of a bank with growing noise."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sdmad.cli.common import BackboneName, Out, Shots, readable_warnings, say


def command(
    bank: Annotated[
        str, typer.Argument(help="A packaged bank, such as brain or chestxray8, or a YAML file.")
    ],
    out: Out,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="LABELS.csv; phantoms of the bank's modality when not given."),
    ] = None,
    backbone: BackboneName = "nano",
    shots: Shots = 4,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Draws of the support set and of the noise.")
    ] = 3,
) -> None:
    """Add vague, wrong and repeated sentences in growing number; judge selection none and paper.

    Interrupted and started again it goes on where it was; OUT keeps the draws.

    Example: `sdmad signs stress brain --out stress/brain`
    """
    from sdmad.studies.stress import StressRequest, stress

    start = time.monotonic()
    with readable_warnings():
        files = stress(StressRequest(bank, out, data, backbone, shots, seeds), say)
    say(f"finished in {time.monotonic() - start:.0f} s")
    for file in files:
        typer.echo(str(file))
