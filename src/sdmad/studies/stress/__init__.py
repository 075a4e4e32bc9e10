"""What sign selection (Eq. 6) makes of a bank with vague, wrong and repeated sentences."""

from __future__ import annotations

from pathlib import Path

from sdmad.studies.material import Say
from sdmad.studies.stress.results import level_results, write_results
from sdmad.studies.stress.runs import StressRequest, run_levels


def stress(request: StressRequest, say: Say) -> list[Path]:
    """Judge both selection rules on a bank with growing noise, and write what was found.

    Args:
        request: which bank, on what images.
        say: told what is being done.

    Returns:
        The files that were written: ``stress.md``, ``.csv``, ``.json`` and ``.png``.

    Raises:
        SDMADError: if something given cannot be used.
    """
    study = run_levels(request, say)
    say("intervals")
    results = [result for level in study.levels for result in level_results(level)]
    return write_results(request.out, study, results)


__all__ = ["StressRequest", "stress"]
