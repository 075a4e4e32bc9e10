"""Finished shards: one Parquet file each, and a manifest of them.

A shard's file is there whole or not at all, and says of which run, shard and length it is. The
manifest saves looking into each; what it does not name yet is looked at, so that it is never
behind for long, and never wrong.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sdmad.archive.listing import Listing
from sdmad.archive.maps import MAPS, map_file
from sdmad.archive.places import Place
from sdmad.errors import InputError, SDMADError
from sdmad.inputs import bounded
from sdmad.output import json_text

if TYPE_CHECKING:
    import pyarrow as pa

SCORES, RUN, MANIFEST = "scores", "run.json", "manifest.json"
EVERY = 30.0
"""Seconds between two manifests."""

_KEY = b"sdmad"


@dataclass
class Done:
    """Of one finished shard: rows, those with an error, those unlike the fit's images."""

    rows: int
    errors: int
    unfamiliar: int


def shard_name(shard: int) -> str:
    """The file of a shard's rows.

    >>> shard_name(7)
    'shard-000007.parquet'
    """
    return f"shard-{shard:06d}.parquet"


def write_shard(out: Place, run: str, shard: int, rows: pa.Table) -> Done:
    """Write a shard's rows as one file.

    Args:
        out: where the results go.
        run: what tells runs apart.
        shard: its number.
        rows: all of them, in their order.
    """
    import pyarrow.parquet as pq

    done = _counted(rows)
    said = json.dumps({"run": run, "shard": shard, **vars(done)})
    kept = {**(rows.schema.metadata or {}), _KEY: said.encode()}
    buffer = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata(kept), buffer, compression="zstd")
    (out / SCORES / shard_name(shard)).write(buffer.getvalue())
    return done


def _counted(rows: pa.Table) -> Done:
    errors = rows.num_rows - rows["error"].null_count
    return Done(rows.num_rows, errors, int(sum(filter(None, rows["unfamiliar"].to_pylist()))))


def read_done(out: Place, run: str, shard: int) -> Done | None:
    """What a shard's file says of itself; None where it is of another run or damaged."""
    import pyarrow.parquet as pq

    try:
        content = (out / SCORES / shard_name(shard)).read()
        said = json.loads(pq.read_schema(io.BytesIO(content)).metadata[_KEY])
        rows = pq.read_metadata(io.BytesIO(content)).num_rows
    except (SDMADError, FileNotFoundError, OSError, ValueError, KeyError, TypeError):
        return None
    if (said.pop("run"), said.pop("shard"), said["rows"]) != (run, shard, rows):
        return None
    return Done(**said)


@dataclass
class Manifest:
    """Which shards are finished.

    Attributes:
        out: where the results go.
        run: what tells runs apart.
        listing: of the archive.
        done: the finished shards.
    """

    out: Place
    run: str
    listing: Listing
    done: dict[int, Done] = field(default_factory=dict)
    written: float = field(default_factory=time.monotonic)

    @classmethod
    def read(cls, out: Place, run: str, listing: Listing, maps: bool = False) -> Manifest:
        """The finished shards of earlier runs: those it names, and those that came after it.

        Args:
            out: where the results go.
            run: what tells runs apart.
            listing: of the archive.
            maps: whether a shard without its maps is unfinished.
        """
        found = cls(out, run, listing)
        names = set((out / SCORES).names())
        mapped = set((out / MAPS).names()) if maps else set()
        known = found._named()
        for shard in range(listing.shards):
            if shard_name(shard) not in names or (maps and map_file(shard) not in mapped):
                continue
            done = known.get(shard) or read_done(out, run, shard)
            if done is not None and done.rows == listing.rows(shard):
                found.done[shard] = done
        return found

    def _named(self) -> dict[int, Done]:
        where = self.out / MANIFEST
        try:
            content = where.read()
        except FileNotFoundError:
            return {}
        with bounded(f"{where}: not usable; remove it", InputError, SDMADError):
            said = json.loads(content)
            if said["run"] != self.run:
                return {}
            return {int(shard): Done(**one) for shard, one in said["shards"].items()}

    @property
    def missing(self) -> list[int]:
        """Shards that are not finished, in their order."""
        return [shard for shard in range(self.listing.shards) if shard not in self.done]

    def add(self, shard: int, done: Done) -> None:
        """Note a finished shard; the file follows now and then."""
        self.done[shard] = done
        if time.monotonic() - self.written > EVERY:
            self.write()

    def write(self) -> None:
        """Write it."""
        shards = {str(shard): vars(self.done[shard]) for shard in sorted(self.done)}
        content = {"run": self.run, "complete": not self.missing, "shards": shards}
        (self.out / MANIFEST).write((json_text(content) + "\n").encode())
        self.written = time.monotonic()


class Gathering:
    """Rows as they come, in any order and perhaps twice, to whole shards.

    Args:
        listing: says how many rows a shard has.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.waiting: dict[int, list[pa.Table]] = {}
        self.finished: set[int] = set()

    def add(self, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """Take rows; give each shard that is whole now, its rows in their order, each once."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for shard in pc.unique(rows["shard"]).to_pylist():
            if shard in self.finished:
                continue
            parts = self.waiting.setdefault(shard, [])
            parts.append(rows.filter(pc.equal(rows["shard"], shard)))
            wanted = self.listing.rows(shard)
            if sum(part.num_rows for part in parts) < wanted:
                continue
            whole = pa.concat_tables(parts)
            _, first = np.unique(whole["row"].to_numpy(), return_index=True)
            if len(first) == wanted:
                del self.waiting[shard]
                self.finished.add(shard)
                yield shard, whole.unify_dictionaries().take(first)
