"""What a detector says of images, as plain arrays: needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ImageScores:
    """What a detector says of n images.

    Attributes:
        scores: one number a category, larger is more likely; ``(n, K)``.
        decisions: which categories are found; ``(n, K)``, boolean.
        abnormality: is the image abnormal at all? Larger is more; ``(n,)``.
        similarity: cosine of each image with each sign, ``(n, S)``; S is 0 for a detector
            without signs.
        anchor_similarity: cosine of each image with the anchor, ``(n,)``; NaN without one.
        unfamiliar: which images are unlike those that the detector was fitted on, ``(n,)``,
            boolean; none of a detector that cannot tell.
    """

    scores: NDArray[np.float64]
    decisions: NDArray[np.bool_]
    abnormality: NDArray[np.float64]
    similarity: NDArray[np.float64]
    anchor_similarity: NDArray[np.float64]
    unfamiliar: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        if len(self.unfamiliar) != len(self.scores):
            object.__setattr__(self, "unfamiliar", np.zeros(len(self.scores), np.bool_))

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, choice: NDArray[np.integer]) -> ImageScores:
        """Some of the images."""
        return ImageScores(*(getattr(self, f.name)[choice] for f in fields(self)))

    @classmethod
    def of(
        cls,
        scores: Tensor,
        decisions: Tensor,
        abnormality: Tensor,
        similarity: Tensor | None = None,
        anchor_similarity: Tensor | None = None,
        unfamiliar: Tensor | None = None,
    ) -> ImageScores:
        """Gather tensors of any device and precision.

        Args:
            scores: shape ``(n, K)``.
            decisions: shape ``(n, K)``, boolean.
            abnormality: shape ``(n,)``.
            similarity: shape ``(n, S)``; None of a detector without signs.
            anchor_similarity: shape ``(n,)``; None of a detector without an anchor.
            unfamiliar: shape ``(n,)``, boolean; None of a detector that cannot tell.
        """
        count = len(scores)
        return cls(
            _array(scores),
            decisions.cpu().numpy(),
            _array(abnormality),
            np.zeros((count, 0)) if similarity is None else _array(similarity),
            np.full(count, np.nan) if anchor_similarity is None else _array(anchor_similarity),
            np.zeros(count, np.bool_) if unfamiliar is None else unfamiliar.cpu().numpy(),
        )

    @classmethod
    def join(cls, parts: Sequence[ImageScores]) -> ImageScores:
        """Concatenate along the images."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def spread(self, rows: list[int], total: int) -> ImageScores:
        """Put the scores of the readable images in their places; the others get NaN.

        Args:
            rows: places of the readable images; further scores than these are dropped.
            total: number of images.
        """
        if len(rows) == total:
            return self
        spread = {}
        for one in fields(self):
            values = getattr(self, one.name)
            empty = False if values.dtype == bool else np.nan
            whole = np.full((total, *values.shape[1:]), empty, values.dtype)
            whole[rows] = values[: len(rows)]
            spread[one.name] = whole
        return ImageScores(**spread)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    values: NDArray[np.float64] = tensor.cpu().double().numpy()
    return values
