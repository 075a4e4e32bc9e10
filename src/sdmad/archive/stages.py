"""The stages of the pipeline, each in processes of its own: images to squares, squares to rows.

Between them travel chunks: some images of one shard as one row of an Arrow table, so that no chunk
is ever cut. A chunk begins at a whole batch of its shard, so that batches are those of the plain
engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdmad._version import __version__
from sdmad.archive.listing import shard_entries, unpacked
from sdmad.archive.maps import MAPS, chunk_maps, map_schema
from sdmad.archive.places import Place
from sdmad.archive.reading import Looked, look, squares
from sdmad.archive.rows import Columns, Told, score_columns
from sdmad.data.decoding import Square
from sdmad.data.images import ImageError
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.calibration import Prevalence
from sdmad.errors import InputError
from sdmad.export.files import NO_MAPS
from sdmad.signs import SignBank

if TYPE_CHECKING:
    import pyarrow as pa

    from sdmad.detector.sign_detector import SignDetector
    from sdmad.export.runtime import ExportedModel

BATCH = 32
"""Images that every engine's batches divide."""

CHUNK_BYTES = 16 << 20
MOST_IMAGES = 256


def chunk_size(side: int) -> int:
    """Images of a chunk, by the memory that their squares take in colour.

    >>> chunk_size(224), chunk_size(1024)
    (96, 32)
    """
    fits = CHUNK_BYTES // (3 * side * side) // BATCH * BATCH
    return max(BATCH, min(MOST_IMAGES, fits))


@dataclass(frozen=True)
class Squares:
    """The first stage: a shard's images as squares.

    Attributes:
        out: where the list of the archive lies.
        preprocessing: how an image becomes a square.
    """

    out: Place
    preprocessing: Preprocessing

    def __call__(self, shards: pa.Table) -> Iterator[pa.Table]:
        """Chunks of one or more shards, in their order."""
        size = chunk_size(self.preprocessing.size)
        for shard in shards["shard"].to_pylist():
            rows = shard_entries(self.out, shard)
            looked = squares(rows, self.preprocessing.how)
            for start in range(0, len(rows), size):
                part = [next(looked) for _ in range(min(size, len(rows) - start))]
                yield pack(shard, start, part)


def headers(shards: pa.Table) -> Iterator[pa.Table]:
    """What headers say of the images of shards, in place of scores.

    Args:
        shards: their images in a column ``images``, as `sdmad.archive.listing.packed`.

    Yields:
        Rows: file, hash, kind, mode, height, width, slices, error.
    """
    import pyarrow as pa

    for content in shards["images"].to_pylist():
        rows = [_header(one) for one in look(unpacked(content), "header", False)]
        yield pa.Table.from_pylist(rows, header_schema())


def header_schema() -> pa.Schema:
    """Names and types of the rows of `headers`."""
    import pyarrow as pa

    text, number = pa.string(), pa.int32()
    kinds = {"file": text, "hash": text, "kind": text, "mode": text}
    kinds |= {"height": number, "width": number, "slices": number, "error": text}
    return pa.schema(list(kinds.items()))


def _header(looked: Looked) -> dict[str, Any]:
    row: dict[str, Any] = {"file": looked.entry.file, "hash": looked.hash}
    if isinstance(looked.found, ImageError):
        return {**row, "error": str(looked.found)}
    assert isinstance(looked.found, dict)
    said = looked.found
    height, width = said["shape"]
    return {
        **row,
        "kind": said["kind"],
        "mode": said["mode"],
        "height": height,
        "width": width,
        "slices": said["slices"],
    }


def pack(shard: int, start: int, part: Sequence[Looked]) -> pa.Table:
    """A chunk as one row."""
    import pyarrow as pa

    found = [one.found for one in part]
    pixels = b"".join(one.tobytes() for one in found if isinstance(one, np.ndarray))
    row = {
        "shard": shard,
        "start": start,
        "file": [one.entry.file for one in part],
        "hash": [one.hash for one in part],
        "date": [one.entry.date for one in part],
        "error": [str(one) if isinstance(one, ImageError) else None for one in found],
        "colour": [isinstance(one, np.ndarray) and one.ndim == 3 for one in found],
        "pixels": pixels,
    }
    texts = pa.list_(pa.string())
    schema = pa.schema(
        [
            ("shard", pa.int32()),
            ("start", pa.int32()),
            ("file", texts),
            ("hash", texts),
            ("date", pa.list_(pa.timestamp("us", "UTC"))),
            ("error", texts),
            ("colour", pa.list_(pa.bool_())),
            ("pixels", pa.large_binary()),
        ]
    )
    return pa.Table.from_pylist([row], schema)


def unpack(chunk: pa.Table, row: int, side: int) -> list[Square | ImageError]:
    """The squares in a chunk, as views of its memory, and the errors in their places."""
    pixels = np.frombuffer(chunk["pixels"][row].as_buffer(), np.uint8)
    found: list[Square | ImageError] = []
    at = 0
    errors, colours = chunk["error"][row].as_py(), chunk["colour"][row].as_py()
    for error, colour in zip(errors, colours, strict=True):
        if error is not None:
            found.append(ImageError(error))
            continue
        shape = (side, side, 3) if colour else (side, side)
        size = side * side * (3 if colour else 1)
        found.append(pixels[at : at + size].reshape(shape))
        at += size
    return found


@dataclass(frozen=True)
class Judge:
    """A model, ready to tell everything of some squares.

    Attributes:
        detector: a fitted detector or an export of one.
        bank: its signs.
        keep: those that selection kept, ``(S,)``.
        limits: the score above which each category is found, ``(K,)``; None of a rule of signs.
        preprocessing: how an image becomes a square.
        prevalence: stated, for probabilities; None for none.
        error_rate: stated, for answers; None for none.
        maps: whether it tells where it sees something, too.
    """

    detector: SignDetector | ExportedModel
    bank: SignBank
    keep: NDArray[np.bool_]
    limits: NDArray[np.float64] | None
    preprocessing: Preprocessing
    prevalence: Prevalence | None = None
    error_rate: float | None = None
    maps: bool = False

    @classmethod
    def of(
        cls,
        detector: SignDetector | ExportedModel,
        prevalence: Prevalence | None = None,
        error_rate: float | None = None,
        maps: bool = False,
    ) -> Judge:
        """A judge by a model.

        Raises:
            InputError: if the model gives no probabilities, no answers at this rate, or no maps.
        """
        from sdmad.detector.maps import check_gives_maps
        from sdmad.export.runtime import ExportedModel

        if maps:
            if isinstance(detector, ExportedModel):
                raise InputError(f"{MAPS}: {NO_MAPS}")
            check_gives_maps(detector.backbone_)

        if isinstance(detector, ExportedModel):
            told = detector.description
            limits = None if told.limits is None else np.array(told.limits)
            parts = (told.bank, np.array(told.keep), limits, told.preprocessing)
        else:
            parts = (
                detector.bank_,
                detector.kept_signs,
                detector.head_.limits(),
                detector.preprocessing,
            )
        judge = cls(detector, *parts, prevalence, error_rate, maps)
        judge.told([np.zeros((judge.preprocessing.size,) * 2, np.uint8)])
        return judge

    @property
    def columns(self) -> Columns:
        """Which columns its rows have."""
        return Columns(self.bank.names, self.prevalence is not None, self.error_rate is not None)

    def mapped(
        self, found: Sequence[Square | ImageError], told: Told
    ) -> list[list[dict[str, Any]]]:
        """Maps of some squares, as `sdmad.archive.maps.chunk_maps`."""
        from sdmad.detector.sign_detector import SignDetector

        assert isinstance(self.detector, SignDetector)  # an export was refused
        return chunk_maps(self.detector, found, told.scored)

    def told(self, found: Sequence[Square | ImageError]) -> Told:
        """What the model says of some squares."""
        scored = self.detector.score_squares(found, lambda *_: None)
        odds, rate = self.prevalence, self.error_rate
        return Told(
            scored,
            self.limits,
            None if odds is None else self.detector.at_prevalence(odds)(scored),
            None if rate is None else self.detector.answering(rate)(scored),
        )


Open = Callable[[], Judge]
"""What opens the model in each process; it travels there, so it is a function of a module."""


class Tower:
    """The second stage: chunks of squares to rows of scores. One model a process.

    Args:
        open_judge: opens the model.
        model: SHA-256 of its manifest.
        threads: that it may use.
    """

    def __init__(self, open_judge: Open, model: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.judge, self.model = open_judge(), model

    def __call__(self, chunks: pa.Table) -> pa.Table:
        """The rows of one or more chunks."""
        import pyarrow as pa

        rows = [judged(self.judge, self.model, chunks, number) for number in range(chunks.num_rows)]
        return pa.concat_tables(rows)


def judged(judge: Judge, model: str, chunks: pa.Table, number: int) -> pa.Table:
    """The rows of one chunk, and where the judge gives maps these in a column.

    Args:
        judge: the model.
        model: SHA-256 of its manifest.
        chunks: of the first stage.
        number: which of them.
    """
    import pyarrow as pa

    found = unpack(chunks, number, judge.preprocessing.size)
    readable = np.array([not isinstance(one, ImageError) for one in found])
    count, start = len(found), chunks["start"][number].as_py()
    given = {name: chunks[name][number].as_py() for name in ("file", "hash", "date", "error")}
    told = judge.told(found)
    rows = {
        "shard": [chunks["shard"][number].as_py()] * count,
        "row": list(range(start, start + count)),
        **given,
        **score_columns(told, judge.bank, judge.keep, readable),
        "model": [model] * count,
        "version": [__version__] * count,
    }
    schema = judge.columns.schema()
    table = pa.table([_typed(rows[field.name], field.type) for field in schema], schema=schema)
    if not judge.maps:
        return table
    return table.append_column(MAPS, pa.array(judge.mapped(found, told), map_schema()))


def _typed(values: Any, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    coded = pa.types.is_dictionary(kind)
    plain = kind.value_type if coded else kind
    found = values.cast(plain) if isinstance(values, pa.Array) else pa.array(values, plain)
    return found.dictionary_encode() if coded else found
