"""``sdmad demo``: everything once, on phantoms."""

from __future__ import annotations

import time
from pathlib import Path

from sdmad.cli.common import (
    Force,
    Modality,
    Out,
    Seed,
    Shots,
    notes,
    put,
    readable_warnings,
    say,
    show,
)


def command(
    modality: Modality = "brain",
    out: Out = Path("demo"),
    shots: Shots = 4,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Draw phantoms, fit, compare, judge and explain: one command, nothing to download.

    Example: `sdmad demo brain --out demo`
    """
    from sdmad.output import check_output
    from sdmad.studies.demo import run_demo

    check_output(out, force)
    start = time.monotonic()
    with readable_warnings():
        demo = run_demo(modality, out, shots, seed, force, say)
    show(demo.tables)
    notes(demo.notes)
    put(f"finished in {time.monotonic() - start:.0f} s\nreport: {out / 'report.html'}")
