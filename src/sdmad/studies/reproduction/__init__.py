"""The paper's tables and figures, one command each, with the statistics that it leaves out."""

from __future__ import annotations

from pathlib import Path

from sdmad.errors import InputError
from sdmad.output import results_folder
from sdmad.studies.reproduction.figures import FIGURES
from sdmad.studies.reproduction.general import table5
from sdmad.studies.reproduction.material import Say
from sdmad.studies.reproduction.records import write_records
from sdmad.studies.reproduction.runs import RESAMPLES, Request, describe, load_models, run_material
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
    materials = plan.material(request.data, request.out, say)
    records, head = [], describe(request, models, materials)
    for material in materials:
        draws, notes = run_material(request, models, material, SHOTS, say)
        head += notes
        say(f"{material.name}: intervals")
        records += records_of(request.target, material, draws, RESAMPLES, models.missing)
    return write_records(request.out, request.target, plan.title, head, records)


__all__ = ["TARGETS", "Request", "reproduce"]
