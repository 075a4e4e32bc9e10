"""``sdmad compare``: every system on the same data, shots and draws."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sdmad.cli.common import BackboneName, Device, Shots, readable_warnings, say, show


def command(
    data: Annotated[
        str,
        typer.Option("--data", help="phantom-brain, phantom-chest, phantom-oct, or a data set."),
    ] = "phantom-brain",
    root: Annotated[Path | None, typer.Option("--root", help="The data set's folder.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the results.")] = Path(
        "comparison"
    ),
    systems: Annotated[
        str, typer.Option("--systems", help="all, or names of --list separated by commas.")
    ] = "all",
    shots: Shots = 4,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of the support set.")] = 5,
    backbone: BackboneName = "nano",
    signs: Annotated[
        str | None, typer.Option("--signs", help="A bank instead of the data set's own.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=1, help="Input side in pixels.")
    ] = None,
    device: Device = "auto",
    medclip: Annotated[
        str | None, typer.Option("--medclip", help="Folder with MedCLIP's weights.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One draw, few images: to see that all of it runs.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the systems and end.")] = False,
) -> None:
    """Compare systems by the three protocols, with intervals, costs and paired differences.

    Interrupted and started again it goes on where it was; OUT keeps every outcome.

    Example: `sdmad compare --data phantom-brain --systems sd-mad,linear-probe --quick --out cmp`
    """
    if listing:
        _list()
        return
    from sdmad.studies.comparison import Comparison, compare

    names = () if systems == "all" else tuple(name.strip() for name in systems.split(","))
    asked = Comparison(
        data, out, root, names, shots, seeds, backbone, signs, image_size, device, medclip, quick
    )
    start = time.monotonic()
    with readable_warnings():
        files = compare(asked, say)
    say(f"finished in {time.monotonic() - start:.0f} s")
    for file in files:
        typer.echo(str(file))


def _list() -> None:
    from sdmad.baselines.registry import list_systems
    from sdmad.table import Table

    rows = [
        (
            *(s.name, s.title, s.learns_from, "yes" if s.maps else ""),
            *("one a category" if s.single else "", s.extra, s.source),
        )
        for s in list_systems()
    ]
    header = ("Name", "System", "Learns from", "Maps", "Detectors", "Extra", "Source")
    show([Table(f"{len(rows)} systems", header, tuple(rows))])
