"""``sdmad compare``: every system on the same data, shots and draws."""

from __future__ import annotations

from typing import Annotated

import typer

from sdmad.choices import EMBEDDED, ComparedOn
from sdmad.cli.common import (
    BackboneName,
    Device,
    ImageSize,
    LabelsOption,
    MedCLIP,
    Order,
    OtherSigns,
    ResultsOut,
    Root,
    Seeds,
    Shots,
    data_source,
    results_directory,
    run_study,
    say,
    show,
)

DATA: ComparedOn = "phantom-brain"


def command(
    data: Annotated[
        ComparedOn | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="phantom- before brain, chest, oct, breast, thyroid, skin or fundus, or as for "
            "sdmad data check.",
            show_default=DATA,
        ),
    ] = None,
    root: Root = None,
    labels: LabelsOption = None,
    out: ResultsOut = None,
    systems: Annotated[
        str,
        typer.Option(
            "--systems",
            metavar="NAMES",
            help="Names of --list separated by commas; wildcards too: 'sd-mad*,mvfa'.",
        ),
    ] = "*",
    shots: Shots = 4,
    seeds: Seeds = 5,
    order: Order = "round-robin",
    backbone: BackboneName = EMBEDDED,
    signs: OtherSigns = None,
    image_size: ImageSize = None,
    device: Device = "auto",
    medclip: MedCLIP = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One draw, few images: to see that all of it runs.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the systems and end.")] = False,
) -> None:
    """Compare systems by the three protocols, with intervals, costs and paired differences.

    Interrupted and started again it goes on where it was; OUT keeps every outcome.

    Example: `sdmad compare --data phantom-brain --systems sd-mad,linear-probe --quick`
    """
    if listing:
        _list()
        return
    from sdmad.baselines.registry import match_systems

    names = match_systems(systems)
    from sdmad.studies.comparison import (  # heavy: not before the names are known
        Comparison,
        compare,
    )

    if data is None and labels is None:
        data = DATA
    name, place = data_source(data, root, labels)
    folder = results_directory(out, f"comparison-{labels.stem if labels else name}")
    asked = Comparison(
        data=name,
        out=folder,
        root=place,
        systems=names,
        shots=shots,
        seeds=seeds,
        order=order,
        backbone=backbone,
        bank=signs,
        image_size=image_size,
        device=device,
        medclip=medclip,
        quick=quick,
    )
    run_study(lambda: compare(asked, say))


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
