"""What to do after an evaluation, in words, by what its figures say."""

from __future__ import annotations

from sdmad.evaluation.protocols import Evaluation
from sdmad.reporting.beside import Beside
from sdmad.table import percent

FEW_POSITIVES = 15
"""Below so many positives a figure says little."""

WEAK = 0.7
"""AUROC below which a category is called weak."""

MUCH_MORE = 3.0
"""How many times likelier one kind of error is than the other, to be called one-sided."""


def next_steps(found: Evaluation, beside: Beside | None) -> tuple[str, ...]:
    """What a person may do now, a sentence each.

    Args:
        found: what the figures say.
        beside: simpler systems on the same images; None where there are none.
    """
    return (
        *_too_few(found),
        *_behind(beside),
        *_weak(found),
        *_one_sided(found),
        "Look at the worst images below, and at where their signs were seen, before you trust a "
        "figure; then judge on images from another place than the support set's.",
    )


def _too_few(found: Evaluation) -> list[str]:
    rare = [name for name, one in found.categories.items() if one.positives < FEW_POSITIVES]
    if not rare:
        return []
    return [
        f"Label more images with {', '.join(rare)}: below {FEW_POSITIVES} positives a figure says "
        "little. `sdmad suggest` ranks unlabelled images by what a label would tell."
    ]


def _behind(beside: Beside | None) -> list[str]:
    if beside is None:
        return []
    ahead = [name for name, gaps in beside.differences.items() if gaps["mean_auroc"].high < 0]
    return [f"On these images {name} ranks better: use that, or more shots." for name in ahead]


def _weak(found: Evaluation) -> list[str]:
    weak = [name for name, one in found.categories.items() if one.auroc < WEAK]
    if not weak:
        return []
    return [
        f"Weak (AUROC below {percent(WEAK)}): {', '.join(weak)}. Give more shots of these, or "
        "other signs: `sdmad signs check` says which sentences the model can tell apart."
    ]


def _one_sided(found: Evaluation) -> list[str]:
    missed, alarmed = 1 - found.sensitivity, 1 - found.specificity
    if not max(missed, alarmed) > MUCH_MORE * min(missed, alarmed):
        return []
    said = "misses more than it calls wrongly" if missed > alarmed else "calls more than it misses"
    return [
        f"The model {said} ({percent(missed)}% of what is present missed, {percent(alarmed)}% of "
        "what is absent called): `sdmad evaluate --decision` moves the thresholds, fpr:0.05 to a "
        "rate on normal images, likely:0.5 to a probability at your prevalence."
    ]
