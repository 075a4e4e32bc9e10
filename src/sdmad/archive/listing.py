"""The list of an archive's images, written once: what a shard holds never changes afterwards.

| file | holds |
| --- | --- |
| ``listing.json`` | how many images and shards; written last |
| ``listing/part-00000.parquet`` | the images, a shard a row group, 100 shards a file |
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from sdmad.archive.places import Place, place_of
from sdmad.archive.sources import Entry, Passed, entries
from sdmad.errors import InputError, SDMADError
from sdmad.inputs import bounded
from sdmad.output import json_text
from sdmad.text import without_surrogates

if TYPE_CHECKING:
    import pyarrow as pa

FACTS, FOLDER = "listing.json", "listing"
FORMAT = 1
SHARD = 1024
"""Images of a shard: whole batches of every engine."""

SHARDS_A_FILE = 100


@dataclass(frozen=True)
class Listing:
    """What was listed.

    Attributes:
        images: how many.
        shards: how many; all but the last hold `shard_size` images.
        shard_size: images of a shard.
        sources: their addresses.
        passed_over: files that are no images, by kind.
    """

    images: int
    shards: int
    shard_size: int
    sources: tuple[str, ...]
    passed_over: dict[str, int]

    def rows(self, shard: int) -> int:
        """Images of one shard."""
        return min(self.shard_size, self.images - shard * self.shard_size)


def read_listing(out: Place) -> Listing | None:
    """The listing of an earlier run; None where there is none, or it was not finished.

    Raises:
        InputError: if it is of another format.
    """
    try:
        content = (out / FACTS).read()
    except FileNotFoundError:
        return None
    with bounded(f"{out / FACTS}: not usable", InputError, SDMADError):
        found = json.loads(content)
        if found.pop("format") != FORMAT:
            raise InputError("written by another version")
        return Listing(**{**found, "sources": tuple(found["sources"])})


def write_listing(
    sources: Sequence[str | os.PathLike[str]], out: Place, shard_size: int = SHARD
) -> Listing:
    """List the images of some sources, in shards.

    Args:
        sources: as `sdmad.archive.sources.entries` takes them.
        out: where the results go.
        shard_size: images of a shard.

    Raises:
        InputError: if a source cannot be used, or there is no image.
        SDMADError: if a place does not answer or refuses.
    """
    passed = Passed(Counter())
    images = shards = 0
    found = entries(sources, passed)
    for number, part in enumerate(_parts(found, shard_size)):
        (out / FOLDER / _name(number)).write(part.content)
        images, shards = images + part.images, shards + part.shards
    if not images:
        raise no_image(sources, passed)
    listing = Listing(images, shards, shard_size, addresses(sources), dict(passed.kinds))
    text = json_text({"format": FORMAT, **asdict(listing)})
    (out / FACTS).write(text.encode())
    return listing


def addresses(sources: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """What was named, as a listing keeps it: each once.

    Raises:
        InputError: if a protocol is none that is read.
    """
    return tuple(without_surrogates(str(one)) for one in dict.fromkeys(map(place_of, sources)))


def no_image(sources: Sequence[str | os.PathLike[str]], passed: Passed) -> InputError:
    """What to raise where sources hold no image."""
    kinds = f"; passed over: {_kinds(passed.kinds)}" if passed.kinds else ""
    return InputError(f"{', '.join(map(str, sources))}: no image here{kinds}")


def shard_entries(out: Place, shard: int) -> list[Entry]:
    """The images of one shard, in their order.

    Raises:
        SDMADError: if the list cannot be read.
    """
    import pyarrow.parquet as pq

    where = out / FOLDER / _name(shard // SHARDS_A_FILE)
    try:
        content = where.read()
    except FileNotFoundError as error:
        raise SDMADError(f"{where}: missing; list the archive again (--force)") from error
    file = pq.ParquetFile(io.BytesIO(content))
    return _entries(file.read_row_group(shard % SHARDS_A_FILE))


def packed(rows: Sequence[Entry]) -> bytes:
    """Some images as bytes, for processes that share no folder with this one."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(_table(rows), buffer, compression="zstd")
    return buffer.getvalue()


def unpacked(content: bytes) -> list[Entry]:
    """The images that `packed` was given."""
    import pyarrow.parquet as pq

    return _entries(pq.read_table(io.BytesIO(content)))


def _entries(table: pa.Table) -> list[Entry]:
    rows = table.to_pylist()
    return [Entry(**{**row, "holder": os.fsdecode(row["holder"])}) for row in rows]


@dataclass(frozen=True)
class _Part:
    content: bytes
    images: int
    shards: int


def _parts(found: Iterable[Entry], shard_size: int) -> Iterator[_Part]:
    """Files of the list, 100 shards each."""
    import pyarrow.parquet as pq

    iterator = iter(found)
    while first := list(islice(iterator, shard_size)):
        buffer, images, shards = io.BytesIO(), 0, 0
        with pq.ParquetWriter(buffer, _schema()) as writer:
            while first:
                writer.write_table(_table(first), row_group_size=shard_size)
                images, shards = images + len(first), shards + 1
                first = list(islice(iterator, shard_size)) if shards < SHARDS_A_FILE else []
        yield _Part(buffer.getvalue(), images, shards)


def _table(rows: Sequence[Entry]) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, list[Any]]
    columns = {f.name: [getattr(row, f.name) for row in rows] for f in fields(Entry)}
    columns["file"] = [without_surrogates(name) for name in columns["file"]]
    columns["holder"] = [os.fsencode(name) for name in columns["holder"]]
    return pa.Table.from_pydict(columns, _schema())


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("file", pa.string()),
            ("holder", pa.binary()),
            ("kind", pa.string()),
            ("offset", pa.int64()),
            ("size", pa.int64()),
            ("date", pa.timestamp("us", "UTC")),
            ("error", pa.string()),
        ]
    )


def _name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _kinds(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common(5))
