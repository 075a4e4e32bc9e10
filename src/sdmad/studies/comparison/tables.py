"""Tables and plots of a comparison: one a protocol, paired differences, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan

import numpy as np

from sdmad.baselines.registry import System
from sdmad.evaluation.intervals import (
    DrawSummary,
    PairedDifference,
    paired_difference,
    summarise_categories,
    summarise_draws,
)
from sdmad.evaluation.metrics import mean_of_defined
from sdmad.evaluation.pixel_intervals import (
    PIXEL_METRICS,
    PatientPixels,
    pixel_difference,
    summarise_pixels,
)
from sdmad.reporting.draw_tables import (
    TRIVIAL,
    category_table,
    cell,
    difference_cell,
    trivial_draws,
)
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.studies.outcome import Outcome
from sdmad.table import MISSING, Table

PROTOCOLS = {
    "general": ("image_auroc",),
    "integrated": ("hamming_score", "subset_accuracy", "macro_f1", "sensitivity", "specificity"),
    "category-wise": ("mean_auroc",),
}
"""The metrics of each protocol."""

METRICS = (*(metric for metrics in PROTOCOLS.values() for metric in metrics), *PIXEL_METRICS)
OWN = "sd-mad"
WITH_LOSS, WITHOUT_LOSS = "sd-mad-mvfa", "mvfa"
CAPTION = (
    "Percent, mean over the draws ± their standard deviation, [95% interval over draws and "
    "patients]."
)
PAIRED = "Points of percent, paired over draws and patients, 95% interval."
BEST_PEER = (
    "The best peer is picked on these same images, which favours it; the difference is over the "
    "draws that both have."
)
ADDED_LOSS = (
    "Image and pixel figures are of one detector with and without the loss; the others set its one "
    "training against a detector a category."
)
ONCE = "A system marked ° was asked only whether an image is abnormal."
SEEN = (
    "n/a for {}: thresholds would come from scores of images that the system was trained on, and "
    "cross-fitting over patients would take as many trainings."
)


@dataclass(frozen=True)
class Compared:
    """Everything that one system did.

    Attributes:
        system: which.
        outcomes: one a draw; empty where it could not be run.
        why_not: the reason, in two words; empty where it ran.
        message: the whole of it.
    """

    system: System
    outcomes: tuple[Outcome, ...]
    why_not: str = ""
    message: str = ""

    @property
    def image_level_only(self) -> bool:
        """Whether it answered only whether an image is abnormal."""
        return any(outcome.image_level_only for outcome in self.outcomes)

    def answers(self, metric: str) -> bool:
        """Whether a metric judges a question that it was asked, and by thresholds it may have."""
        if self.image_level_only:
            return metric in (*PROTOCOLS["general"], *PIXEL_METRICS)
        return not (self.system.seen_thresholds and metric in PROTOCOLS["integrated"])

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.system.title + (" °" if self.image_level_only else "")

    def summaries(self, resamples: int) -> dict[str, DrawSummary]:
        """Every metric that judges it over the draws, those of the pixels if it has maps."""
        found = dict(summarise_draws([o.scored for o in self.outcomes], resamples))
        if self.patient_pixels:
            found |= summarise_pixels(self.patient_pixels, resamples)
            for metric in PIXEL_METRICS:  # the mean as every pixel has it, not its grid
                exact = mean_of_defined(np.array([o.pixels[metric] for o in self.outcomes]))
                found[metric] = replace(found[metric], mean=exact)
        return {metric: summary for metric, summary in found.items() if self.answers(metric)}

    def categories(self, names: Sequence[str], resamples: int) -> dict[str, DrawSummary]:
        """AUROC of each category over the draws, by its name; empty where it was not asked."""
        if not self.outcomes or not self.answers("mean_auroc"):
            return {}
        found = summarise_categories([o.scored for o in self.outcomes], resamples)
        return dict(zip(names, found, strict=True))

    @property
    def patient_pixels(self) -> list[PatientPixels]:
        """The pixels of each draw; none unless every draw has some."""
        found = [o.patient_pixels for o in self.outcomes if o.patient_pixels is not None]
        return found if len(found) == len(self.outcomes) else []


def protocol_table(
    name: str, compared: Sequence[Compared], summaries: Mapping[str, Mapping[str, DrawSummary]]
) -> Table:
    """One protocol: trivial predictors, then the systems.

    Args:
        name: a key of :data:`PROTOCOLS`.
        compared: the systems.
        summaries: by system name or trivial predictor, then metric.
    """
    metrics = PROTOCOLS[name]
    pixels = name == "general" and any(c.patient_pixels for c in compared)
    header = ["System", *(METRIC_TITLES[m] for m in metrics)]
    header += [METRIC_TITLES[m] for m in PIXEL_METRICS] if pixels else []
    rows = [
        [
            trivial,
            *(cell(summaries[trivial][m]) for m in metrics),
            *[MISSING] * (3 if pixels else 0),
        ]
        for trivial in TRIVIAL
    ]
    for one in compared:
        if one.why_not:
            rows.append([one.system.title, one.why_not, *[MISSING] * (len(header) - 2)])
            continue
        mine = summaries[one.system.name]
        shown = (*metrics, *(PIXEL_METRICS if pixels else ()))
        rows.append([one.title, *(cell(mine[m]) if m in mine else MISSING for m in shown)])
    caption = CAPTION + (f" {ONCE}" if any(c.image_level_only for c in compared) else "")
    ran = (c for c in compared if c.outcomes and not c.image_level_only)
    seen = [c.title for c in ran if not all(c.answers(m) for m in metrics)]
    caption += f" {SEEN.format(', '.join(seen))}" if seen else ""
    number = list(PROTOCOLS).index(name) + 1
    return Table(f"Protocol {number}, {name}", tuple(header), tuple(map(tuple, rows)), caption)


def by_category_table(compared: Sequence[Compared], categories: Sequence[str]) -> Table | None:
    """AUROC of each category, a row a system, beneath how many images show it.

    Args:
        compared: the systems.
        categories: their names, in the order of the labels' columns.

    Returns:
        None where no system was asked for categories.
    """
    asked = {c.title: [o.scored for o in c.outcomes] for c in compared if c.answers("mean_auroc")}
    draws = {title: scored for title, scored in asked.items() if scored}
    if not draws:
        return None
    table = category_table("", draws, categories)
    header, *rows = zip(table.header, *table.rows, strict=True)
    caption = "Percent, mean over the draws. A system marked ° was not asked."
    return Table("Each category's AUROC", header, tuple(rows), caption)


@dataclass(frozen=True)
class Gap:
    """How much better one system is than another in a metric.

    Attributes:
        metric: which.
        system: the one.
        less: the other, which is taken away.
        difference: in the metric's unit, with its interval.
    """

    metric: str
    system: Compared
    less: Compared
    difference: PairedDifference


def best_peer_gaps(
    compared: Sequence[Compared], summaries: Mapping[str, Mapping[str, DrawSummary]], resamples: int
) -> list[Gap]:
    """SD-MAD less the best peer of each metric, on the same draws and patients.

    Returns:
        Empty where SD-MAD or every peer is missing.
    """
    there = {c.system.name: c for c in compared if c.outcomes}
    if OWN not in there:
        return []
    peers = [c for name, c in there.items() if not name.startswith(OWN)]
    known = [metric for metric in METRICS if metric in summaries[OWN]]
    best = {metric: _best_peer(peers, summaries, metric) for metric in known}
    return _gaps(there[OWN], {m: peer for m, peer in best.items() if peer}, resamples)


def added_loss_gaps(compared: Sequence[Compared], resamples: int) -> list[Gap]:
    """SD-MAD + MVFA less MVFA, to whose losses it adds that of Eq. 5.

    Returns:
        Empty where either is missing.
    """
    there = {c.system.name: c for c in compared if c.outcomes}
    if not {WITH_LOSS, WITHOUT_LOSS} <= there.keys():
        return []
    both, alone = there[WITH_LOSS], there[WITHOUT_LOSS]
    maps = both.patient_pixels and alone.patient_pixels
    asked = (m for m in METRICS if alone.answers(m) and (maps or m not in PIXEL_METRICS))
    return _gaps(both, dict.fromkeys(asked, alone), resamples)


def _gaps(own: Compared, others: Mapping[str, Compared], resamples: int) -> list[Gap]:
    """One system less another one a metric."""
    asked = {(o.system.name, metric in PIXEL_METRICS): o for metric, o in others.items()}
    every = {key: _differences(own, other, key[1], resamples) for key, other in asked.items()}
    return [
        Gap(metric, own, other, every[other.system.name, metric in PIXEL_METRICS][metric])
        for metric, other in others.items()
    ]


def gap_tables(best_peer: Sequence[Gap], added_loss: Sequence[Gap]) -> dict[str, Table]:
    """A table of each kind of differences that there are, by the name of its file."""
    kinds = (
        ("difference", "Against the best peer", best_peer, BEST_PEER),
        ("added-loss", "What the loss of Eq. 5 adds to MVFA", added_loss, ADDED_LOSS),
    )
    found = {}
    for name, title, gaps, caption in kinds:
        if gaps:
            rows = tuple(
                (METRIC_TITLES[g.metric], g.less.title, difference_cell(g.difference)) for g in gaps
            )
            header = ("Metric", "Peer", f"{gaps[0].system.title} less it")
            found[name] = Table(title, header, rows, f"{PAIRED} {caption}")
    return found


def _best_peer(
    peers: Sequence[Compared], summaries: Mapping[str, Mapping[str, DrawSummary]], metric: str
) -> Compared | None:
    """The peer with the largest mean of a metric; None where none has one."""
    best, most = None, -inf
    for peer in peers:
        summary = summaries[peer.system.name].get(metric)
        if summary is not None and summary.mean > most:
            best, most = peer, summary.mean
    return best


def _differences(
    a: Compared, b: Compared, pixels: bool, resamples: int
) -> dict[str, PairedDifference]:
    """Of the metrics of pixels, or of all others, on the draws that both have."""
    both = min(len(a.outcomes), len(b.outcomes))
    a, b = (replace(one, outcomes=one.outcomes[:both]) for one in (a, b))
    if pixels:
        return pixel_difference(a.patient_pixels, b.patient_pixels, resamples)
    first, second = ([o.scored for o in one.outcomes] for one in (a, b))
    return paired_difference(first, second, resamples)


def cost_table(compared: Sequence[Compared]) -> Table:
    """Time, parameters, memory and convergence of each system, medians over the draws."""
    rows = []
    for one in compared:
        if one.why_not:
            rows.append((one.system.title, *[MISSING] * 5))
            continue
        costs = [o.cost for o in one.outcomes]
        rows.append(
            (
                one.title,
                f"{np.median([c.fit_seconds for c in costs]):.1f}",
                f"{1000 * np.median([c.image_seconds for c in costs]):.1f}",
                f"{int(np.median([c.parameters for c in costs])):,}",
                f"{max(c.peak_mib for c in costs):.0f}",
                _convergence(one.outcomes),
            )
        )
    header = ("System", "Fit, s", "Image, ms", "Trained numbers", "Peak, MiB", "Loss")
    caption = (
        "Loss of the first draw: first and last epoch, and how much of the fall between them is in "
        "the last tenth of the epochs; of several detectors, the one of any anomaly. A fit begins "
        "with the reading of its images; what is encoded before that is left out. Scoring leaves "
        "out reading. The peak is what a system adds to what the process held when it began, some "
        "of it kept from systems before."
    )
    return Table("Costs", header, tuple(rows), caption)


def _convergence(outcomes: Sequence[Outcome]) -> str:
    losses = outcomes[0].losses
    if not losses:
        return MISSING
    late = late_share(losses)
    share = "" if isnan(late) else f", {100 * late:.0f} % late"
    return f"{losses[0]:.3g} to {losses[-1]:.3g}{share}"


def late_share(losses: Sequence[float]) -> float:
    """How much of the fall of a loss is in the last tenth of its epochs; NaN where it did not fall.

    >>> late_share([5.0, 3.0, 1.0]), late_share([1.0, 2.0])
    (0.5, nan)

    Args:
        losses: one an epoch, at least one.
    """
    fall = losses[0] - losses[-1]
    if fall <= 0:
        return float("nan")
    return (losses[-1 - max(1, len(losses) // 10)] - losses[-1]) / fall


def loss_logs(compared: Sequence[Compared]) -> dict[str, list[tuple[float, ...]]]:
    """Losses of each system that was trained, by title, a log a draw."""
    found = {c.title: [o.losses for o in c.outcomes if o.losses] for c in compared}
    return {title: logs for title, logs in found.items() if logs}


def all_summaries(
    compared: Sequence[Compared], resamples: int
) -> dict[str, dict[str, DrawSummary]]:
    """Summaries of the systems by name, and of the trivial predictors."""
    found = {c.system.name: c.summaries(resamples) for c in compared if c.outcomes}
    first = next(c for c in compared if c.outcomes)
    draws = [o.scored for o in first.outcomes]
    for trivial in TRIVIAL:
        found[trivial] = dict(summarise_draws(trivial_draws(draws, trivial), resamples))
    return found
