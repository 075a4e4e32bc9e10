"""Tables of several systems on several draws of the support set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sdmad.baselines.registry import SYSTEMS
from sdmad.evaluation.intervals import DrawSummary, PairedDifference
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.evaluation.metrics import category_auroc, mean_of_defined
from sdmad.evaluation.trivial import trivial_predictor
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.table import MISSING, Table

METRICS = ("mean_auroc", "image_auroc", "hamming_score", "subset_accuracy", "macro_f1")
TOLD = ("mean_auroc", "subset_accuracy", "macro_f1")
"""Metrics that a sentence is made of."""

TRIVIAL = {"none": "predict nothing", "all": "predict everything", "prevalence": "prevalence"}


def trivial_draws(draws: Sequence[LabelledScores], name: str) -> list[LabelledScores]:
    """A trivial predictor on the same images."""
    made = []
    for one in draws:
        scores, decisions = trivial_predictor(name, one.labels, len(one.labels))
        flat = np.zeros(len(one.labels))
        made.append(LabelledScores(one.labels, scores, decisions, flat, one.normal, one.patients))
    return made


def cell(summary: DrawSummary) -> str:
    """Mean, deviation over the draws and interval, in percent."""
    if np.isnan(summary.mean):
        return MISSING
    text = f"{100 * summary.mean:.1f}"
    if not np.isnan(summary.deviation):
        text += f" ± {100 * summary.deviation:.1f}"
    if not np.isnan(summary.low):
        text += f" [{100 * summary.low:.1f}, {100 * summary.high:.1f}]"
    return text


def difference_cell(gap: PairedDifference) -> str:
    """A difference in points of percent, with its interval where there is one."""
    if np.isnan(gap.difference):
        return MISSING
    text = f"{100 * gap.difference:+.1f}"
    if np.isnan(gap.low):
        return text
    return f"{text} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


GAP_CAPTION = (
    "Points of percent, 95% interval, paired. Where it holds 0, the figures do not tell the two "
    "apart."
)
Gaps = Mapping[str, Mapping[str, PairedDifference]]
"""One system's metrics less each other's, by the other's name."""


def gap_table(title: str, corner: str, differences: Gaps) -> Table:
    """One row a system: how much better another one is than it.

    Args:
        title: heading of the table.
        corner: the system that is compared with the rows', in words: ``"This model less"``.
        differences: paired.
    """
    rows = tuple(
        (name, *(difference_cell(found[metric]) for metric in METRICS))
        for name, found in differences.items()
    )
    header = (corner, *(METRIC_TITLES[metric] for metric in METRICS))
    return Table(title, header, rows, GAP_CAPTION)


def standing(system: str, differences: Gaps) -> str:
    """What paired differences say, in one plain sentence.

    >>> gap = PairedDifference(0.1, 0.05, 0.15)
    >>> standing("ours", {"a": dict.fromkeys(TOLD, gap), "b": dict.fromkeys(TOLD, gap)})
    'ours is ahead of every other row by mean AUROC, subset accuracy and macro F1 (paired, 95%)'

    Args:
        system: what the differences are of.
        differences: paired, with intervals.
    """
    told = []
    for metric in TOLD:
        gaps = {name: found[metric] for name, found in differences.items()}
        behind = [name for name, gap in gaps.items() if gap.high < 0]
        even = [name for name, gap in gaps.items() if not (gap.low > 0 or gap.high < 0)]
        parts = [f"BEHIND {', '.join(behind)}"] if behind else []
        parts += [f"not told apart from {', '.join(even)}"] if even else []
        rest = len(gaps) - len(behind) - len(even)
        parts += ["ahead of the others"] if parts and rest else []
        told.append(" and ".join(parts) or "ahead of every other row")
    names = [_in_a_sentence(METRIC_TITLES[metric]) for metric in TOLD]
    if len(set(told)) == 1:
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        return f"{system} is {told[0]} by {listed} (paired, 95%)"
    each = "; ".join(f"by {name} {what}" for name, what in zip(names, told, strict=True))
    return f"{system} is, paired and at 95%: {each}"


def _in_a_sentence(title: str) -> str:
    return title[0].lower() + title[1:]


def category_means(
    draws: Mapping[str, Sequence[LabelledScores]], categories: Sequence[str]
) -> dict[str, list[float]]:
    """AUROC of each category, mean over the draws, by system."""
    return {
        name: [
            mean_of_defined(column)
            for column in zip(*(category_auroc(s.labels, s.scores) for s in scored), strict=True)
        ]
        for name, scored in draws.items()
        if len(categories) == scored[0].labels.shape[1]
    }


def category_table(
    title: str,
    draws: Mapping[str, Sequence[LabelledScores]],
    categories: Sequence[str],
    marked: Iterable[str] = (),
) -> Table:
    """One row a category: positives and AUROC by system; marked categories carry a star."""
    means = category_means(draws, categories)
    first = next(iter(draws.values()))[0]
    positives = (first.labels == 1).sum(axis=0)
    rows = [
        (
            name + (" *" if name in set(marked) else ""),
            str(int(positives[k])),
            *(MISSING if np.isnan(v[k]) else f"{100 * v[k]:.1f}" for v in means.values()),
        )
        for k, name in enumerate(categories)
    ]
    header = ("Category", "Positives (first draw)", *map(title_of, means))
    return Table(title, header, tuple(rows), "")


def title_of(system: str) -> str:
    """The title of a system of the registry; any other name stands as it is."""
    return SYSTEMS[system].title if system in SYSTEMS else system


def shown_name(system: str) -> str:
    """A system's title beside others'; the embedded backbone has never read a category's name."""
    unseen = " (names not seen in pretraining)" if system == "clip-names" else ""
    return f"{title_of(system)}{unseen}"


def counted(number: int, what: str = "shot") -> str:
    """1 shot, 4 shots."""
    return f"{number} {what}{'s' * (number > 1)}"
