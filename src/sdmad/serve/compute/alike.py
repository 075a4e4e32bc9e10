"""The support images that are most like an image, by what a model's tower knows of both."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sdmad.data.decoding import decode_all
from sdmad.data.images import ImageError
from sdmad.data.table import LabelTable
from sdmad.detector.sign_detector import SignDetector
from sdmad.serve.compute.models import ServedModel

MOST = 6
"""Images that are told."""

TOGETHER = 8
"""Images that the tower reads at once."""


@dataclass(frozen=True)
class Alike:
    """A support image.

    Attributes:
        place: in the table of support images, from 0.
        labels: its categories, separated by commas; "normal" where it has none.
        similarity: cosine with the image, -1 to 1.
    """

    place: int
    labels: str
    similarity: float


class Support:
    """Support images, as a table names them.

    Args:
        table: of the support images; None where nobody keeps them.
    """

    def __init__(self, table: LabelTable | None) -> None:
        self.table = table
        self._lock = threading.Lock()
        self._known: dict[str, NDArray[np.float32]] = {}

    def address(self, place: int) -> str | None:
        """Where a support image lies; None where there is none."""
        if self.table is None or not 0 <= place < len(self.table):
            return None
        return str(self.table.files[place])

    def alike(self, model: ServedModel, image: Path) -> list[Alike]:
        """The support images that are most like an image, the most first.

        None where there are no support images, or the model is an export, which does not tell what
        its tower knows.

        Raises:
            ImageError: if the image cannot be read.
        """
        if self.table is None:
            return []
        judge = model.judge
        if not isinstance(judge, SignDetector):
            return []
        with self._lock:  # one at a time: the tower has other work
            if model.id not in self._known:
                self._known[model.id] = _directions(judge, self.table.files)
            (mine,) = _directions(judge, [image], strict=True)
        cosines = self._known[model.id] @ mine
        order = np.argsort(-np.nan_to_num(cosines, nan=-2.0), kind="stable")[:MOST]
        return [
            Alike(int(place), self._labels(int(place)), float(cosines[place]))
            for place in order
            if np.isfinite(cosines[place])
        ]

    def _labels(self, place: int) -> str:
        assert self.table is not None
        row = zip(self.table.categories, self.table.labels[place], strict=True)
        return ", ".join(name for name, value in row if value == 1) or "normal"


def _directions(
    judge: SignDetector, files: Sequence[Path], strict: bool = False
) -> NDArray[np.float32]:
    """What the tower knows of images, unit length, ``(n, E)``; NaN where one cannot be read."""
    found: list[torch.Tensor] = []
    rows: list[int] = []
    squares = []
    for row, square in enumerate(decode_all(judge.preprocessing, list(files), workers=0)):
        if isinstance(square, ImageError):
            if strict:
                raise square
            continue
        rows.append(row)
        squares.append(square)
    for start in range(0, len(squares), TOGETHER):
        pixels = judge.preprocessing.standardise(squares[start : start + TOGETHER])
        told = judge.image_features(pixels)
        found.append(told.embedding if told.evidence is None else told.evidence)
    if not found:
        return np.full((len(files), 1), np.nan, np.float32)
    values = torch.nn.functional.normalize(torch.cat(found).float(), dim=-1).cpu().numpy()
    directions = np.full((len(files), values.shape[1]), np.nan, np.float32)
    directions[rows] = values
    return directions
