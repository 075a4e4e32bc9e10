"""Support images that an image is like: found in a label table that the user keeps."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.data.images import ImageError
from sdmad.data.table import LabelTable
from sdmad.detector.sign_detector import SignDetector
from sdmad.detector.suggesting import look
from sdmad.reporting.beside import support_rows
from sdmad.serve.compute.models import ServedModel

MOST = 4
"""Support images that are shown beside an image."""

NORMAL, OTHER = "normal", "other"


@dataclass(frozen=True)
class Support:
    """A support image.

    Attributes:
        row: its place in the table.
        category: what it shows, names separated by ``|``.
        similarity: cosine of what both add to the support images' mean, -1 to 1.
    """

    row: int
    category: str
    similarity: float


@dataclass(frozen=True)
class _Known:
    """Rows of a model's support images, their mean evidence ``(E,)`` and directions from it."""

    rows: list[int]
    mean: Tensor
    directions: Tensor


class Alike:
    """The support images of a server's models.

    Args:
        table: where they are looked for, by their content; None where nobody keeps them.
    """

    def __init__(self, table: LabelTable | None) -> None:
        self.table = table
        self._lock = threading.Lock()
        self._known: dict[str, _Known | None] = {}

    def most(self, model: ServedModel, file: Path) -> list[Support]:
        """The support images that an image is most like, the most first; none of an export.

        Raises:
            ImageError: if the image cannot be read.
        """
        detector, table = model.judge, self.table
        if table is None or not isinstance(detector, SignDetector):
            return []
        with self._lock:
            if model.id not in self._known:
                self._known[model.id] = _learn(detector, table)
            known = self._known[model.id]
        if known is None:
            return []
        _, _, evidence = look(detector, [file], None)
        cosines = known.directions @ normalize(evidence[0] - known.mean, dim=0)
        found = torch.topk(cosines, min(MOST, len(known.rows)))
        return [
            Support(known.rows[place], _shows(table, known.rows[place]), cosine)
            for place, cosine in zip(found.indices.tolist(), found.values.tolist(), strict=True)
        ]


def _learn(detector: SignDetector, table: LabelTable) -> _Known | None:
    """What is known of a model's support images; None where fewer than two can be read."""
    rows = support_rows(detector, table, set())

    def pass_over(_: int, __: ImageError) -> None:
        """One that cannot be read is not shown."""

    if len(rows) < 2:
        return None
    places, _, evidence = look(detector, [table.files[row] for row in rows], pass_over)
    mean = evidence.mean(dim=0)
    return _Known([rows[place] for place in places], mean, normalize(evidence - mean, dim=1))


def _shows(table: LabelTable, row: int) -> str:
    there = (table.labels[row] == 1).tolist()
    names = [name for name, shown in zip(table.categories, there, strict=True) if shown]
    return "|".join(names) or (NORMAL if table.normal[row] else OTHER)
