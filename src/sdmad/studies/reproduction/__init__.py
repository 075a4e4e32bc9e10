"""The paper's tables and figures, one command each, with the statistics that it leaves out."""

from __future__ import annotations

from pathlib import Path

from sdmad.errors import InputError
from sdmad.output import results_folder
from sdmad.studies.material import Say
from sdmad.studies.reproduction.figures import FIGURES
from sdmad.studies.reproduction.general import table5
from sdmad.studies.reproduction.records import write_records
from sdmad.studies.reproduction.runs import RESAMPLES, Request, describe, load_models, run_part
from sdmad.studies.reproduction.tables import SHOTS, TABLES, records_of

TARGETS = (*TABLES, "table5", *FIGURES)


def reproduce(request: Request, say: Say) -> list[Path]:
    """Make one of the paper's tables or figures.

    Args:
        request: which, on what, with what.
        say: told what is being done.

    Returns:
        The files that were written.

    Raises:
        SDMADError: if something given cannot be used.
    """
    if request.target not in TARGETS:
        raise InputError(f"no target {request.target!r}; there are {', '.join(TARGETS)}")
    results_folder(request.out)
    models = load_models(request)
    if request.target == "table5":
        return table5(request, models, say)
    if request.target in FIGURES:
        return FIGURES[request.target].make(request, models, say)
    plan = TABLES[request.target]
    parts = plan.parts(request.data, request.out, say)
    records, head = [], describe(request, models, parts)
    for part in parts:
        draws, notes = run_part(request, models, part, SHOTS, say)
        head += notes
        say(f"{part.name}: intervals")
        records += records_of(request.target, part, draws, RESAMPLES, models.missing)
    return write_records(request.out, request.target, plan.title, head, records)


__all__ = ["TARGETS", "Request", "reproduce"]
