"""``sdmad monitor``: an archive's scores period after period, held to a reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from sdmad.archive.places import Place
from sdmad.archive.scores import Scores, opened_scores, quoted
from sdmad.choices import Period
from sdmad.detector.familiarity import RATE as UNFAMILIAR
from sdmad.errors import InputError
from sdmad.evaluation.drift import FEWEST, RATE, Change, Sample, changes
from sdmad.evaluation.limits import Interval, score_interval
from sdmad.reporting.drift import QUANTILES, Drift, PeriodSummary

FORMS: dict[Period, str] = {
    "day": "strftime(date, '%Y-%m-%d')",
    "week": "strftime(date, '%G-W%V')",
    "month": "strftime(date, '%Y-%m')",
    "quarter": "strftime(date, '%Y-Q') || quarter(date)",
    "year": "strftime(date, '%Y')",
}
"""How a date is written as its period, which sorts by time."""


def monitor(
    scores: Place, by: Period = "month", reference: Place | None = None, rate: float = RATE
) -> Drift:
    """Hold every period of an archive to a reference.

    Args:
        scores: what ``sdmad predict --engine ray`` wrote.
        by: how long a period is, by the column date.
        reference: another such folder; the first period with enough images when None.
        rate: of false alarms a period, at most.

    Raises:
        InputError: if there are no scores or dates, or those of the reference are of another model.
        SDMADError: if a place does not answer.
    """
    with ExitStack() as end:
        mine = end.enter_context(opened_scores(scores))
        periods = list(_periods(mine, by))
        if not periods:
            raise InputError(f"{scores}: no image has a date (column date); give them in a table")
        if reference is None:
            name, held = _first(periods)
        else:
            theirs = end.enter_context(opened_scores(reference))
            name, held = str(reference), _sample(_same(theirs, mine, reference), "true", [])
            periods = [(name, held), *periods]
        judged = [
            _summary(period, sample, held, mine.categories, rate) for period, sample in periods
        ]
        (undated,) = mine.list("SELECT count(*) FROM scores WHERE date IS NULL")[0]
    notes = list(mine.notes)
    notes += [f"{undated:,} images have no date and are left out."] if undated else []
    if mine.errors:
        notes.append(f"{mine.errors:,} images could not be read when they were scored.")
    if len(mine.models) > 1:
        notes.append(f"{len(mine.models)} models made these scores: a change may be theirs.")
    few = [one.name for one in judged if one.images < FEWEST]
    if few:
        notes.append(f"Not judged, of fewer than {FEWEST} images: {', '.join(few)}.")
    return Drift(mine.categories, name, tuple(judged), rate, UNFAMILIAR, tuple(notes))


def _periods(scores: Scores, by: Period) -> Iterator[tuple[str, Sample]]:
    form = FORMS[by]
    names = scores.list(
        f"SELECT DISTINCT {form} FROM scores WHERE date IS NOT NULL ORDER BY 1"  # noqa: S608
    )
    for (name,) in names:
        yield name, _sample(scores, f"{form} = ?", [name])


def _sample(scores: Scores, where: str, parameters: list[object]) -> Sample:
    found = ", ".join(f"count_if({quoted(f'found:{name}')})" for name in scores.categories)
    counted = scores.list(
        f"SELECT count(*), count_if(unfamiliar), {found} FROM scores WHERE {where}",  # noqa: S608
        parameters,
    )[0]
    columns = [
        scores.column(
            f"SELECT {quoted(f'score:{name}')} FROM scores WHERE {where}",  # noqa: S608
            parameters,
        )
        for name in scores.categories
    ]
    images, unfamiliar, *findings = (int(number) for number in counted)
    return Sample(columns, findings, unfamiliar, images)


def _first(periods: list[tuple[str, Sample]]) -> tuple[str, Sample]:
    for name, sample in periods:
        if sample.images >= FEWEST:
            return name, sample
    raise InputError(
        f"no period has {FEWEST} images; take longer ones (--by), or another reference"
    )


def _same(theirs: Scores, mine: Scores, reference: Place) -> Scores:
    if theirs.categories != mine.categories:
        raise InputError(f"{reference}: its categories differ from those of the scores")
    if theirs.models != mine.models:
        told = (", ".join(one[:8] for one in scores.models) for scores in (theirs, mine))
        raise InputError(
            "{}: another model's scores ({}, here {}), on another scale; let one model score "
            "both".format(reference, *told)
        )
    return theirs


def _summary(
    name: str, sample: Sample, held: Sample, categories: tuple[str, ...], rate: float
) -> PeriodSummary:
    found: tuple[Change, ...] = ()
    if sample is not held and min(sample.images, held.images) >= FEWEST:
        found = changes(held, sample, categories, rate)

    def share(part: int) -> tuple[float, Interval]:
        value = part / sample.images
        return value, score_interval(value, sample.images)

    return PeriodSummary(
        name,
        sample.images,
        share(sample.unfamiliar),
        tuple(share(part) for part in sample.found),
        tuple(tuple(np.quantile(one, QUANTILES).tolist()) for one in sample.scores),
        found,
    )
