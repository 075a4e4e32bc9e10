"""``sdmad monitor``: has what an archive shows changed?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdmad.choices import Period
from sdmad.cli.common import ALARM, Force, Out, notes, put, readable_warnings, show


def command(
    scores: Annotated[
        Path, typer.Argument(help="What sdmad predict --engine ray wrote: a folder or an address.")
    ],
    out: Out,
    by: Annotated[Period, typer.Option("--by", help="How long a period is.")] = "month",
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="Other such scores; the first period if not given."),
    ] = None,
    alarm_rate: Annotated[
        float,
        typer.Option(
            "--alarm-rate", min=0.0, max=1.0, help="Chance of a false alarm a period, at most."
        ),
    ] = 0.01,
    force: Force = False,
) -> None:
    """Hold scores, findings and unfamiliar images of each period to a reference; write a report.

    Ends with status 4 if a period alarms: it differs for sure, and enough to matter.

    Example: `sdmad monitor scores --by month --out drift`
    """
    from sdmad.archive.monitoring import monitor
    from sdmad.archive.places import place_of
    from sdmad.output import check_output, output_directory
    from sdmad.reporting.drift import write_drift

    check_output(out, force, (scores, reference))
    with readable_warnings():
        held = None if reference is None else place_of(reference)
        drift = monitor(place_of(scores), by, held, alarm_rate)
        with output_directory(out, force) as work:
            write_drift(drift, work, f"{scores.name} by {by}")
    notes(drift.summary())
    show(drift.tables())
    put(f"report: {out / 'report.html'}")
    if drift.alarmed:
        raise typer.Exit(ALARM)
