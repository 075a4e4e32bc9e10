"""Maps of an archive: of each shard a tar file of what ``sdmad predict --maps`` writes of images.

They stay on the grid of the tower's patches, where they take some hundred bytes each: at the size
of its images a shard's maps would be gigabytes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdmad.archive.places import Place
from sdmad.data.decoding import Square
from sdmad.data.images import ImageError
from sdmad.detector.findings import deciding_signs
from sdmad.detector.sign_detector import SignDetector
from sdmad.output import csv_text
from sdmad.reporting.map_files import HEADER, INDEX, as_png, extremes, named_maps, safe_name

if TYPE_CHECKING:
    import pyarrow as pa

    from sdmad.detector.scores import ImageScores

MAPS = "maps"
"""The folder among the results, and the column in which maps travel to it."""


def map_file(shard: int) -> str:
    """The file of a shard's maps.

    >>> map_file(7)
    'shard-000007.tar'
    """
    return f"shard-{shard:06d}.tar"


def map_schema() -> pa.DataType:
    """The type of an image's maps: of each its name, what it shows, its extremes and its PNG."""
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("name", "map", "category", "sign")]
    numbers = [(name, pa.float64()) for name in ("lowest", "highest")]
    return pa.list_(pa.struct([*texts, *numbers, ("png", pa.binary())]))


def chunk_maps(
    detector: SignDetector, found: Sequence[Square | ImageError], scored: ImageScores
) -> list[list[dict[str, Any]]]:
    """Maps of the images of a chunk, none of one that could not be read.

    Args:
        detector: the model.
        found: n squares, or why there is none.
        scored: what it says of them.
    """
    keep, bank = detector.kept_signs, detector.bank_
    deciding = deciding_signs(bank, keep, scored.similarity)
    told: list[list[dict[str, Any]]] = [[] for _ in found]
    readable = [i for i, one in enumerate(found) if not isinstance(one, ImageError)]
    for start in range(0, len(readable), detector.batch):
        rows = readable[start : start + detector.batch]
        squares = [one for i in rows if not isinstance(one := found[i], ImageError)]
        small = detector.patch_maps(detector.preprocessing.standardise(squares))
        for at, i in enumerate(rows):
            signs = _found(deciding[i], scored.decisions[i])
            for name, what, values in named_maps(bank, signs, small, at):
                grid = values.float().cpu().numpy()
                lowest, highest = extremes(grid)
                seen = {"lowest": lowest, "highest": highest, "png": as_png(grid)}
                shown = dict(zip(("map", "category", "sign"), what, strict=True))
                told[i].append({"name": f"{name}.png", **shown, **seen})
    return told


def _found(deciding: NDArray[np.intp], decisions: NDArray[np.bool_]) -> list[int | None]:
    pairs = zip(deciding.tolist(), decisions.tolist(), strict=True)
    return [sign if found else None for sign, found in pairs]


def write_maps(out: Place, shard: int, rows: pa.Table) -> pa.Table:
    """Write a shard's maps as one file, if it has any.

    Args:
        out: where the results go.
        shard: its number.
        rows: all of them, in their order.

    Returns:
        The rows without their maps.
    """
    if MAPS not in rows.column_names:
        return rows
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members(rows):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    (out / MAPS / map_file(shard)).write(buffer.getvalue())
    return rows.drop_columns([MAPS])


def members(rows: pa.Table) -> Iterator[tuple[str, bytes]]:
    """Maps by their names in the tar file, and at last the list of them."""
    index: list[Sequence[object]] = []
    for row in rows.select(["row", "file", MAPS]).to_pylist():
        file = row["file"]
        folder = f"{row['row'] + 1:06d}-{safe_name(file.rsplit('/', 1)[-1])}"
        for one in row[MAPS]:
            name = f"{folder}/{one['name']}"
            what = [one[key] for key in ("map", "category", "sign")]
            index.append((file, *what, name, one["lowest"], one["highest"]))
            yield name, one["png"]
    yield INDEX, csv_text(HEADER, index).encode()
