"""What ``sdmad predict`` writes: one row an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from sdmad.detector.findings import CategoryFinding, Explanation
from sdmad.detector.held_out import WORDS
from sdmad.detector.scores import ImageScores
from sdmad.output import csv_text, json_text


class Explaining(Protocol):
    """What tells its scores in signs: a detector, or an export of one."""

    def explanations(self, scored: ImageScores) -> list[Explanation]:
        """Explanations of images that were scored already."""
        ...


@dataclass(frozen=True)
class Prediction:
    """One image's file and what the detector says of it.

    Attributes:
        file: the image.
        explanation: scores, decisions and signs.
        probabilities: of each category; empty where no prevalence was stated.
        answers: yes, no or unsure of each category; empty where no error rate was stated.
    """

    file: Path
    explanation: Explanation
    probabilities: tuple[float, ...] = ()
    answers: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[CategoryFinding, ...]:
        """The categories that were found."""
        return tuple(c for c in self.explanation.categories if c.found)


class Predictions(Sequence[Prediction]):
    """What a detector says of each readable image.

    A row is explained when it is asked for: of ten thousand images only the scores are held.

    Args:
        detector: what scored them.
        files: n files.
        scored: n images' scores.
        skipped: positions of unreadable images, which have no row.
        probabilities: of each category, ``(n, K)``; None where no prevalence was stated.
        answers: of :mod:`sdmad.detector.held_out`, ``(n, K)``; None where no error rate was stated.
    """

    def __init__(
        self,
        detector: Explaining,
        files: Sequence[Path],
        scored: ImageScores,
        skipped: set[int],
        probabilities: NDArray[np.float64] | None = None,
        answers: NDArray[np.int8] | None = None,
    ) -> None:
        self.detector, self.files, self.scored = detector, files, scored
        self.probabilities, self.answers = probabilities, answers
        self.places = [i for i in range(len(files)) if i not in skipped]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...

    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        """A row, or some of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = self.places[index]
        (explanation,) = self.detector.explanations(self.scored.rows(np.array([place])))
        likely = () if self.probabilities is None else tuple(self.probabilities[place].tolist())
        said = () if self.answers is None else tuple(WORDS[a] for a in self.answers[place].tolist())
        return Prediction(self.files[place], explanation, likely, said)


def unfamiliar_note(rows: Predictions) -> tuple[str, ...]:
    """Told where images are unlike those that the detector was fitted on."""
    places = [i for i in rows.places if rows.scored.unfamiliar[i]]
    if not places:
        return ()
    return (
        f"{len(places)} of {len(rows)} images are unlike those that the model was fitted on "
        f"(column unfamiliar; the first is {rows.files[places[0]].name}): what is said of them has "
        "no ground",
    )


def rows_as_csv(categories: Sequence[str], rows: Sequence[Prediction]) -> str:
    """CSV: file, abnormality, whether unfamiliar, findings with their top signs; then a category's.

    Of each category the score, the threshold above which it is found (none of a rule that holds
    signs to the normal anchor), the decision and, where asked for, the probability and the answer.

    Cells that a spreadsheet would take for a formula are guarded.
    """
    header = ["file", "abnormality", "unfamiliar", "findings", "top_signs"]
    kinds = ["score", "threshold", "found"]
    kinds += ["probability"] if rows and rows[0].probabilities else []
    kinds += ["answer"] if rows and rows[0].answers else []
    header += [f"{kind}:{c}" for kind in kinds for c in categories]

    def line(row: Prediction) -> list[object]:
        entries = row.explanation.categories
        return [
            str(row.file),
            round(row.explanation.abnormality, 6),
            int(row.explanation.unfamiliar),
            "|".join(f.category for f in row.findings),
            "|".join(f.deciding_sign.sentence for f in row.findings),
            *(round(e.score, 6) for e in entries),
            *("" if e.threshold is None else round(e.threshold, 6) for e in entries),
            *(int(e.found) for e in entries),
            *(round(p, 6) for p in row.probabilities),
            *row.answers,
        ]

    return csv_text(header, map(line, rows))


def rows_as_json_lines(categories: Sequence[str], rows: Sequence[Prediction]) -> str:
    """JSON lines: one object an image, with every category's score, decision and top sign."""
    del categories
    lines = []
    for row in rows:
        content = {
            "file": str(row.file),
            "abnormality": row.explanation.abnormality,
            "anchor_similarity": row.explanation.anchor_similarity,
            "unfamiliar": row.explanation.unfamiliar,
            "categories": {
                e.category: {
                    "score": e.score,
                    "threshold": e.threshold,
                    "found": e.found,
                    "top_sign": e.deciding_sign.sentence,
                    "similarity": e.deciding_sign.similarity,
                    **({"probability": row.probabilities[k]} if row.probabilities else {}),
                    **({"answer": row.answers[k]} if row.answers else {}),
                }
                for k, e in enumerate(row.explanation.categories)
            },
        }
        lines.append(json_text(content, indent=None) + "\n")
    return "".join(lines)
