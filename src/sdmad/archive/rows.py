"""The columns of an archive's scores: one row an image, in Parquet.

| column | holds |
| --- | --- |
| ``shard``, ``row`` | where the image stands in the list of the archive |
| ``file`` | path or address; of an image in a tar or Parquet file that file's, then its name |
| ``hash`` | SHA-256 of the content; empty of what could not be fetched |
| ``date`` | of the table's column date, else when the file was changed last |
| ``abnormality``, ``unfamiliar`` | as in the CSV of `sdmad predict` |
| ``score:NAME``, ``threshold:NAME``, ``found:NAME`` | of each category, as there |
| ``sign:NAME`` | the sign of the category that looks most like the image |
| ``probability:NAME`` | where a prevalence was stated |
| ``answer:NAME`` | yes, no or unsure, where an error rate was stated |
| ``error`` | why the image cannot be read; then nothing is said of it |
| ``model`` | SHA-256 of the model's manifest |
| ``version`` | of sdmad |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdmad.detector.findings import deciding_signs
from sdmad.detector.held_out import WORDS
from sdmad.detector.scores import ImageScores
from sdmad.signs import SignBank

if TYPE_CHECKING:
    import pyarrow as pa

PLACE = ("shard", "row")


@dataclass(frozen=True)
class Columns:
    """Which columns there are.

    Attributes:
        categories: their names.
        probabilities: whether a prevalence was stated.
        answers: whether an error rate was stated.
    """

    categories: tuple[str, ...]
    probabilities: bool = False
    answers: bool = False

    def schema(self) -> pa.Schema:
        """Names and types, in their order."""
        import pyarrow as pa

        kinds: list[tuple[str, Any]] = [
            ("score", pa.float64()),
            ("threshold", pa.float64()),
            ("found", pa.bool_()),
            ("sign", pa.dictionary(pa.int32(), pa.string())),
        ]
        kinds += [("probability", pa.float64())] if self.probabilities else []
        kinds += [("answer", pa.dictionary(pa.int32(), pa.string()))] if self.answers else []
        return pa.schema(
            [
                ("shard", pa.int32()),
                ("row", pa.int32()),
                ("file", pa.string()),
                ("hash", pa.string()),
                ("date", pa.timestamp("us", "UTC")),
                ("abnormality", pa.float64()),
                ("unfamiliar", pa.bool_()),
                *((f"{kind}:{name}", of) for kind, of in kinds for name in self.categories),
                ("error", pa.string()),
                ("model", pa.dictionary(pa.int32(), pa.string())),
                ("version", pa.dictionary(pa.int32(), pa.string())),
            ]
        )


@dataclass(frozen=True)
class Told:
    """What a model says of the images of a chunk, read or not.

    Attributes:
        scored: n images' scores; NaN of those that could not be read.
        limits: the score above which each category is found, ``(K,)``; None of a rule of signs.
        probabilities: ``(n, K)``; None where no prevalence was stated.
        answers: ``(n, K)``; None where no error rate was stated.
    """

    scored: ImageScores
    limits: NDArray[np.float64] | None
    probabilities: NDArray[np.float64] | None = None
    answers: NDArray[np.int8] | None = None


def score_columns(
    told: Told, bank: SignBank, keep: NDArray[np.bool_], readable: NDArray[np.bool_]
) -> dict[str, Any]:
    """The columns that a model fills; what could not be read has nothing in them.

    Args:
        told: of n images.
        bank: the signs.
        keep: those that selection kept, ``(S,)``.
        readable: which of the images could be read, ``(n,)``.
    """
    import pyarrow as pa

    gone = ~readable
    scored, count = told.scored, len(readable)

    def column(values: Sequence[Any] | NDArray[Any]) -> pa.Array:
        return pa.array(values, mask=gone)

    signs = np.array(bank.sentences, dtype=object)
    deciding = deciding_signs(bank, keep, scored.similarity)
    found: dict[str, Any] = {
        "abnormality": column(scored.abnormality),
        "unfamiliar": column(scored.unfamiliar),
    }
    for k, name in enumerate(bank.names):
        found[f"score:{name}"] = column(scored.scores[:, k])
        limit = None if told.limits is None else float(told.limits[k])
        found[f"threshold:{name}"] = (
            pa.nulls(count, pa.float64()) if limit is None else column(np.full(count, limit))
        )
        found[f"found:{name}"] = column(scored.decisions[:, k])
        found[f"sign:{name}"] = column(signs[deciding[:, k]])
        if told.probabilities is not None:
            found[f"probability:{name}"] = column(told.probabilities[:, k])
        if told.answers is not None:
            words = [WORDS[int(value)] for value in told.answers[:, k]]
            found[f"answer:{name}"] = column(np.array(words, dtype=object))
    return found
