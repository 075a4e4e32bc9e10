"""``sdmad reproduce``: the paper's tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdmad.choices import EMBEDDED, ReproducedOn, Target
from sdmad.cli.common import (
    BackboneName,
    Device,
    ImageSize,
    MedCLIP,
    Order,
    ResultsOut,
    Root,
    Seeds,
    data_source,
    results_directory,
    run_study,
    say,
)

PAPERS_DATA: dict[Target, ReproducedOn] = {
    "table1": "chestxray8",
    "table2": "oct17",
    "table5": "bmad",
    "table6": "chestxray8",
}
"""What the paper made a target on; all others on fastMRI+."""


def command(
    target: Annotated[
        Target,
        typer.Argument(
            metavar="TARGET",
            help="table1, table2, table3, table4, table5, table6, table7, figure3, figure4, "
            "figure5, shots or signs.",
        ),
    ],
    data: Annotated[
        ReproducedOn | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="phantom, or the paper's own: chestxray8, oct17, fastmri-plus or bmad.",
            show_default="the paper's",
        ),
    ] = None,
    root: Root = None,
    out: ResultsOut = None,
    backbone: BackboneName = EMBEDDED,
    seeds: Seeds = 5,
    order: Order = "round-robin",
    medclip: MedCLIP = None,
    image_size: ImageSize = None,
    device: Device = "auto",
) -> None:
    """Make a table or figure of the paper, ours beside the printed, with intervals.

    The input is 240 pixels, as in the paper, but for a packaged backbone.
    Interrupted and started again it goes on where it was; OUT keeps the draws of all targets.

    Example: `sdmad reproduce table4 --data phantom --seeds 2`
    """
    from sdmad.studies.reproduction import Request, reproduce

    given = _place(target, data, root)
    request = Request(
        target=target,
        data=given,
        out=results_directory(out, "reproduction"),
        backbone=backbone,
        seeds=seeds,
        order=order,
        medclip=medclip,
        image_size=image_size,
        device=device,
    )
    run_study(lambda: reproduce(request, say))


def _place(target: Target, data: ReproducedOn | None, root: Path | None) -> str:
    """The folder of the data set that the paper made a target on, or ``phantom``."""
    from sdmad.errors import InputError

    own = PAPERS_DATA.get(target, "fastmri-plus")
    if data not in (None, own, "phantom"):
        raise InputError(f"{target} is made on {own}, or on phantom, not on {data}")
    if data is None and root is None:
        raise InputError(
            f"{target} is made on {own}: give --root FOLDER, where it lies, or --data phantom"
        )
    name, place = data_source(data or own, root, None)
    return name if place is None else str(place)
