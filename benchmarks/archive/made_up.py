"""Made-up scores and labels of many images in 14 categories, as an archive has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sdmad.archive.places import place_of
from sdmad.archive.rows import Columns
from sdmad.archive.shards import write_shard

CATEGORIES = tuple(f"Category {k}" for k in range(14))


def write_scores(folder: Path, count: int, part: int = 100_000) -> None:
    """Scores and labels of so many images, three a patient; labels are whole when they are there.

    Args:
        folder: gets ``scores`` and ``labels.parquet``.
        count: images.
        part: images of a shard.
    """
    rng = np.random.default_rng(0)
    schema = Columns(CATEGORIES).schema()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [("file", pa.string()), ("patient", pa.string())]
    kinds += [(name, pa.float64()) for name in CATEGORIES]
    written = folder / "labels.part"
    with pq.ParquetWriter(written, pa.schema(kinds)) as writer:
        for shard, start in enumerate(range(0, count, part)):
            size = min(part, count - start)
            labels = (rng.random((size, len(CATEGORIES))) < 0.05).astype(np.float64)
            scores = labels + rng.normal(size=labels.shape)
            names = [f"/archive/{start + i:08d}.png" for i in range(size)]
            patients = [f"P{(start + i) // 3}" for i in range(size)]
            by_name = {name: labels[:, k] for k, name in enumerate(CATEGORIES)}
            told = {"file": names, "patient": patients, **by_name}
            writer.write_table(pa.table(told, schema=pa.schema(kinds)))
            rows = _rows(schema, shard, names, scores)
            write_shard(place_of(folder), "made up", shard, rows)
    written.rename(folder / "labels.parquet")


def _rows(schema: pa.Schema, shard: int, names: list[str], scores: Any) -> pa.Table:
    size = len(names)
    values: dict[str, Any] = {
        "shard": [shard] * size,
        "row": list(range(size)),
        "file": names,
        "hash": ["0" * 64] * size,
        "date": [None] * size,
        "abnormality": scores.max(axis=1),
        "unfamiliar": [False] * size,
        "error": [None] * size,
        "model": ["none"] * size,
        "version": ["none"] * size,
    }
    for k, name in enumerate(CATEGORIES):
        values |= {
            f"score:{name}": scores[:, k],
            f"threshold:{name}": np.full(size, 1.0),
            f"found:{name}": scores[:, k] > 1,
            f"sign:{name}": ["a sign"] * size,
        }
    columns = [
        pa.array(values[f.name], f.type.value_type).dictionary_encode()
        if pa.types.is_dictionary(f.type)
        else pa.array(values[f.name], f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)
