"""Tables of the results: every system with its metrics, and one system against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sdmad.evaluation.intervals import paired_difference, summarise_draws
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.reporting.draw_tables import (
    METRICS,
    TRIVIAL,
    cell,
    gap_table,
    shown_name,
    title_of,
    trivial_draws,
)
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.table import Table


def summary(
    title: str, draws: Mapping[str, Sequence[LabelledScores]], caption: str, resamples: int = 500
) -> Table:
    """One row a system: mean ± deviation over the draws, interval over draws and patients."""
    first = next(iter(draws.values()))
    everything = {TRIVIAL[name]: trivial_draws(first, name) for name in TRIVIAL}
    everything |= {shown_name(name): list(scored) for name, scored in draws.items()}
    rows = []
    for name, scored in everything.items():
        found = summarise_draws(list(scored), resamples)
        rows.append((name, *(cell(found[metric]) for metric in METRICS)))
    return Table(title, ("System", *(METRIC_TITLES[m] for m in METRICS)), tuple(rows), caption)


def differences(
    title: str, draws: Mapping[str, Sequence[LabelledScores]], system: str, resamples: int = 500
) -> Table:
    """Paired differences of one system against each other one."""
    found = {
        f"minus {title_of(name)}": paired_difference(list(draws[system]), list(scored), resamples)
        for name, scored in draws.items()
        if name != system
    }
    return gap_table(title, title_of(system), found)
