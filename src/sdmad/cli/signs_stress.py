"""``sdmad signs stress``: what selection makes of a bank with growing noise."""

from __future__ import annotations

from pathlib import Path

from sdmad.choices import EMBEDDED
from sdmad.cli.common import (
    BackboneName,
    Bank,
    LabelsOption,
    ResultsOut,
    Seeds,
    Shots,
    results_directory,
    run_study,
    say,
)


def command(
    bank: Bank,
    labels: LabelsOption = None,
    out: ResultsOut = None,
    backbone: BackboneName = EMBEDDED,
    shots: Shots = 4,
    seeds: Seeds = 3,
) -> None:
    """Add vague, wrong and repeated sentences in growing number; judge selection none and paper.

    Without a label table, on phantoms of the bank's modality. Each draw has noise of its own.
    Interrupted and started again it goes on where it was; OUT keeps the draws.

    Example: `sdmad signs stress brain`
    """
    from sdmad.studies.stress import StressRequest, stress

    folder = results_directory(out, f"stress-{Path(bank).stem}")
    request = StressRequest(
        bank=bank, out=folder, data=labels, backbone=backbone, shots=shots, seeds=seeds
    )
    run_study(lambda: stress(request, say))
