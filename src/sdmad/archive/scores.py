"""Reading an archive's scores again: a database in a file of its own, in bounded memory.

DuckDB joins and counts; what does not fit its memory goes to that file. Of ten million images only
one category's numbers are ever in memory at once.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdmad.archive.places import Place, reaching
from sdmad.archive.shards import MANIFEST, RUN, SCORES
from sdmad.errors import InputError, SDMADError
from sdmad.export.runtime import require
from sdmad.inputs import bounded

MEMORY = "1GB"
"""That the database may take."""

SCORE = "score:"


@dataclass(frozen=True)
class Scores:
    """Rows of an archive that could be read, as the table ``scores`` of a database.

    Attributes:
        database: DuckDB's connection.
        categories: their names.
        rows: how many.
        errors: images that could not be read, which are left out.
        models: SHA-256 of the models that said it.
        notes: what a person should know about them.
    """

    database: Any
    categories: tuple[str, ...]
    rows: int
    errors: int
    models: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def column(self, sql: str, parameters: Sequence[object] = ()) -> NDArray[Any]:
        """The first column of a query, NaN where it holds nothing."""
        found = self.database.execute(sql, list(parameters)).fetchnumpy()
        (values,) = found.values()
        return np.ma.filled(values.astype(np.float64), np.nan) if len(values) else np.zeros(0)

    def list(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query that gives few."""
        found: list[tuple[Any, ...]] = self.database.execute(sql, list(parameters)).fetchall()
        return found


@contextlib.contextmanager
def opened_scores(*places: Place) -> Iterator[Scores]:
    """Open what ``sdmad predict --engine ray`` wrote.

    Args:
        places: folders that it wrote, or Parquet files; what several hold is taken together.

    Raises:
        InputError: if there are no scores, or DuckDB is not installed.
        SDMADError: if a place does not answer.
    """
    require("ray", "duckdb", "pyarrow")
    import duckdb

    told = f"{', '.join(map(str, places))}: no scores of an archive"
    with (
        tempfile.TemporaryDirectory(prefix="sdmad-") as folder,
        contextlib.closing(duckdb.connect(str(Path(folder, "scores.db")))) as database,
    ):
        database.execute(f"SET memory_limit = '{MEMORY}'")
        database.execute("SET TimeZone = 'UTC'")  # of dates, wherever this machine stands
        database.execute("SET enable_progress_bar = false")
        database.execute("SET temp_directory = ?", [folder])
        with bounded(told, InputError, InputError):
            files = [file for place in places for file in _files(place, database)]
            if not files:
                raise InputError("there is no Parquet file")
            database.execute(f"CREATE VIEW everything AS SELECT * FROM {parquet(files)}")  # noqa: S608
            found = _scores(database)
        unfinished = [note for place in places for note in _unfinished(place)]
        yield replace(found, notes=(*unfinished, *found.notes))


def parquet(files: Sequence[str]) -> str:
    """Some Parquet files as SQL: these alone, and their own columns alone.

    >>> parquet(["a[1]/x.parquet"])
    "read_parquet(['a[[]1]/x.parquet'], hive_partitioning = false)"

    Args:
        files: paths or addresses, in which ``*``, ``?`` and ``[`` stand for nothing else.
    """
    plain = (re.sub(r"([*?[])", r"[\1]", file).replace("'", "''") for file in files)
    names = ", ".join(f"'{file}'" for file in plain)
    return f"read_parquet([{names}], hive_partitioning = false)"


def _files(place: Place, database: Any) -> list[str]:
    """Every shard's file; one that is not here is reached through fsspec."""
    if place.name.endswith(".parquet"):
        found = [place]
    else:
        folder = place / SCORES
        found = [folder / name for name in folder.names() if name.endswith(".parquet")]
    if found and not place.is_local:
        with reaching(place):
            database.register_filesystem(place.opened()[0])
    return [one.address for one in found]


def _unfinished(place: Place) -> list[str]:
    """Says that a run to a folder has not come to its end."""
    if place.name.endswith(".parquet"):
        return []
    where = place / MANIFEST
    try:
        content = where.read()
    except FileNotFoundError:
        complete = not (place / RUN).is_there()  # it comes later
    else:
        with bounded(f"{where}: not usable", InputError, SDMADError):
            complete = bool(json.loads(content)["complete"])
    told = f"{place}: the run is not finished, so images are missing; run sdmad predict again"
    return [] if complete else [told]


def _scores(database: Any) -> Scores:
    names = [row[0] for row in database.execute("DESCRIBE everything").fetchall()]
    categories = tuple(name.removeprefix(SCORE) for name in names if name.startswith(SCORE))
    if not categories or not {"file", "error", "model"} <= set(names):
        raise InputError("its columns are others")
    counted = (
        "SELECT count(*), count(error), "
        "count(DISTINCT hash(file, hash, model)) FILTER (error IS NULL) FROM everything"
    )
    rows, errors, different = database.execute(counted).fetchone()
    twice = rows - errors - different
    notes = [f"{twice:,} images were scored twice, and count once"] if twice else []
    once = "QUALIFY row_number() OVER (PARTITION BY file, hash, model) = 1" if twice else ""
    read = f"SELECT * FROM everything WHERE error IS NULL {once}"  # noqa: S608
    database.execute(f"CREATE VIEW scores AS {read}")
    models = database.execute("SELECT DISTINCT model FROM everything ORDER BY 1").fetchall()
    told = tuple(model for (model,) in models)
    return Scores(database, categories, different, errors, told, tuple(notes))


def quoted(name: str) -> str:
    """A column's name, as SQL has it.

    >>> quoted('score:a"b')
    '"score:a""b"'
    """
    return '"' + name.replace('"', '""') + '"'
