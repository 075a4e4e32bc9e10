"""``docs/campaign.md``, from what the cases left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.campaign.crew import read_cases
from benchmarks.campaign.frame import FAULTS, KINDS, READ, SECONDS, TOLD, module_of, setting
from benchmarks.campaign.patience import CLOCK
from sdmad import __version__
from sdmad.output import write_text
from sdmad.table import Table

HEAD = """# Hostile and unlucky inputs
Written by `make campaign`; do not edit by hand. Each case is an input that was damaged, or a run
that was disturbed, from a seed: `python -m benchmarks.campaign --kind KIND --seed SEED` runs it
again. What must never happen is counted: a traceback or a crash, a hang, memory over the limit, a
half-written or left-over file, a patient's name, a lost result. A hang is more than {seconds:g} s
of processor time, that of all processes of a case together ({disturbed:g} s where whole runs are
disturbed), or no end after {clock:g} s on the clock: a machine that is busy with something else is
none. A short campaign is among the tests (`tests/campaign`).
"""


def _head() -> str:
    return HEAD.format(seconds=SECONDS, disturbed=setting("kills", "SECONDS"), clock=CLOCK)


def write_page(folder: Path, page: Path) -> Table:
    """Write the page.

    Args:
        folder: with the cases.
        page: what to write.

    Returns:
        Its table.
    """
    rows, failing = [], []
    for kind in KINDS:
        cases = read_cases(folder / f"{kind}.jsonl")
        if not cases:
            continue
        outcomes = Counter(case.outcome for case in cases)
        counts = [sum(fault in case.faults for case in cases) for fault in FAULTS]
        rest = len(cases) - outcomes[READ] - outcomes[TOLD] - outcomes["fault"]
        shown = (len(cases), outcomes[READ], outcomes[TOLD], rest, *counts)
        about = (module_of(kind).__doc__ or "").strip().splitlines()[0].rstrip(".")
        rows.append((kind, about, *map(str, shown)))
        failing += [
            f"- {kind} {case.seed}: {', '.join(case.faults)}" for case in cases if case.faults
        ]
    header = ("Kind", "What", "Cases", "Read", "Told", "Other", *(f.capitalize() for f in FAULTS))
    table = Table(
        f"sdmad {__version__}",
        header,
        tuple(rows),
        "Read: the damage did no harm. Told: refused in one line. Other: a disturbed run ended as "
        "it should.",
    )
    seeds = "\n".join(failing[:100]) or "None."
    write_text(page, f"{_head()}\n{table.markdown()}\n## Cases to run again\n{seeds}\n")
    return table
