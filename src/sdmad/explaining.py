"""Explanations as tables for people."""

from __future__ import annotations

from sdmad.detector import Explanation
from sdmad.evaluation.tables import Table


def explanation_table(explanation: Explanation, name: str) -> Table:
    """One row a sign: found categories first, their signs by similarity.

    Args:
        explanation: what to show.
        name: what the image is called.
    """
    rows = []
    for entry in sorted(explanation.categories, key=lambda c: (not c.found, -c.score)):
        for sign in entry.signs:
            above = sign.similarity - explanation.anchor_similarity
            rows.append(
                (
                    entry.category,
                    "found" if entry.found else "-",
                    f"{entry.score:.3f}",
                    sign.sentence,
                    f"{sign.similarity:.3f}",
                    f"{above:+.3f}",
                    "decided" if sign is entry.deciding_sign else "" if sign.kept else "discarded",
                )
            )
    return Table(
        title=f"{name}: signs against the normal anchor ({explanation.anchor_similarity:.3f})",
        header=("Category", "Decision", "Score", "Sign", "Cosine", "Above anchor", ""),
        rows=tuple(rows),
        caption="A score may add image evidence to the deciding sign's cosine. Not a medical "
        "device: a research tool's reasons, not a diagnosis.",
    )
