"""The tables behind the pages of results, of the comparison and of shots: CSV files, keys in front.

A cell "71.3 ± 1.7 [68.8, 73.7]" takes four columns. What is stored is read back as it was: the
pages and the remarks' test know no other figures.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from benchmarks.made_with import is_current
from sdmad.output import write_csv
from sdmad.table import MISSING, Table

NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?"
SPREAD = re.compile(rf"({NUMBER})(?: ± ({NUMBER}))?(?: \[({NUMBER}), ({NUMBER})\])?")
PARTS = ("deviation", "low", "high")


@dataclass(frozen=True)
class Kind:
    """What is alike in the tables of one CSV file.

    Attributes:
        name: of the file, without its ending.
        keys: what tells its tables apart.
        signed: whether its figures are differences, written with their sign.
        thousands: whether large numbers are written with commas.
        turned: whether the rows of the file are the columns of the table.
    """

    name: str
    keys: tuple[str, ...] = ()
    signed: bool = False
    thousands: bool = False
    turned: bool = False


SYSTEMS = Kind("systems", ("modality", "bank", "shots"))
CATEGORIES = Kind("categories", ("modality", "bank", "shots"))
DIFFERENCES = Kind("differences", ("modality", "bank", "shots"), signed=True)
MEANS = Kind("means", ("bank", "shots"))
PRETRAINING = Kind("pretraining")
RANKING = Kind("ranking", ("modality", "shots"))
DECISIONS = Kind("decisions", ("modality", "shots"))
COMPARED_CATEGORIES = Kind("categories", ("modality", "shots"), turned=True)
PEERS = Kind("peers", ("modality", "shots"), signed=True)
ADDED_LOSS = Kind("added-loss", ("modality", "shots"), signed=True)
COMPARED_MEANS = Kind("means", ("shots",))
COSTS = Kind("costs", ("modality", "shots"), thousands=True)
SETTLED = Kind("settled", ("modality",))
SHOT_FIGURES = Kind("figures", ("images", "shots"))
SHOT_GAPS = Kind("differences", ("images", "shots"), signed=True)
SHOT_PARTS = Kind("parts", ("images",))

Keys = tuple[str, ...]
Stored = dict[Keys, Table]
"""Tables of one kind, by the values of their keys."""


def store(folder: Path, kind: Kind, tables: Iterable[tuple[Keys, Table]]) -> None:
    """Write the tables of one kind to their file, one after the other.

    Args:
        folder: where the file goes.
        kind: of which kind they are; all of them have the same columns.
        tables: each with the values of its keys.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = [(keys, turned(table) if kind.turned else table) for keys, table in tables]
    header = shown[0][1].header
    assert {table.header for _, table in shown} == {header}
    cells = [[_split(cell) for cell in row] for _, table in shown for row in table.rows]
    wide = [any(len(row[column]) > 1 for row in cells) for column in range(len(header))]
    names: list[str] = list(kind.keys)
    for name, spread in zip(header, wide, strict=True):
        names += [name, *(f"{name}: {part}" for part in PARTS)] if spread else [name]
    keys = [list(keys) for keys, table in shown for _ in table.rows]
    rows = [
        key + [part for pair in zip(row, wide, strict=True) for part in _pad(*pair)]
        for key, row in zip(keys, cells, strict=True)
    ]
    write_csv(folder / f"{kind.name}.csv", names, rows)


def load(folder: Path, kind: Kind) -> Stored:
    """Read the tables of one kind back; they have no title and no caption."""
    with (folder / f"{kind.name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    parts = {f"{name}: {part}" for name in rows[0] for part in PARTS}
    header = tuple(name for name in rows[0] if name not in kind.keys and name not in parts)
    found: dict[Keys, list[tuple[str, ...]]] = {}
    for row in rows:
        cells = tuple(_joined(row, name, kind, number) for number, name in enumerate(header))
        found.setdefault(tuple(row[key] for key in kind.keys), []).append(cells)
    tables = {keys: Table("", header, tuple(body)) for keys, body in found.items()}
    return {keys: turned(t) if kind.turned else t for keys, t in tables.items()}


def kept_tables(folder: Path, kind: Kind, without: Sequence[str]) -> Stored:
    """What is stored of a study's other parts, and was made with what there is now.

    Args:
        folder: of the CSV files.
        kind: of which kind.
        without: the parts, first of the keys, that are made again.
    """
    if not (folder / f"{kind.name}.csv").exists():
        return {}
    found = load(folder, kind)
    return {
        keys: table
        for keys, table in found.items()
        if keys[0] not in without and is_current(folder, keys[0])
    }


def column(table: Table, name: str) -> list[str]:
    """The cells below a name."""
    place = table.header.index(name)
    return [row[place] for row in table.rows]


def figure_of(cell: str) -> float:
    """The mean that a cell begins with."""
    found = SPREAD.fullmatch(cell)
    assert found is not None
    return float(found[1].replace(",", ""))


def interval_of(cell: str) -> tuple[float, float]:
    """The ends of the interval that a cell ends with; not numbers where it has none."""
    found = SPREAD.fullmatch(cell)
    low, high = found.group(3, 4) if found else (None, None)
    return float(low or "nan"), float(high or "nan")


def turned(table: Table) -> Table:
    """Rows as columns."""
    header, *rows = zip(table.header, *table.rows, strict=True)
    return Table(table.title, header, tuple(rows), table.caption)


def split_means(table: Table, metrics: Sequence[str]) -> list[tuple[Keys, Table]]:
    """A table of cells "70.4 / 82.4 / 32.1" under "clean, 1 shot" as a table a bank and shots."""
    found = []
    for column, title in enumerate(table.header[1:], 1):
        bank, shots = re.fullmatch(r"(\w+), (\d+) shots?", title).groups()
        rows = tuple((row[0], *row[column].split(" / ")) for row in table.rows)
        found.append(((bank, shots), Table("", (table.header[0], *metrics), rows)))
    return found


def join_means(tables: Stored) -> dict[str, list[str]]:
    """Each row's cells "70.4 / 82.4 / 32.1", one a table, by the row's name."""
    found: dict[str, list[str]] = {}
    for table in tables.values():
        for name, *cells in table.rows:
            found.setdefault(name, []).append(" / ".join(cells))
    return found


def _split(cell: str) -> list[object]:
    """A text as it is; a figure as a number, with its deviation and interval where it has them."""
    if cell == MISSING:
        return [None]
    found = SPREAD.fullmatch(cell)
    if not found:
        return [cell]
    parts = [None if part is None else _number(part) for part in found.groups()]
    return parts if any(part is not None for part in parts[1:]) else parts[:1]


def _number(text: str) -> float:
    """As a number, which a CSV file holds without a guard."""
    return float(text) if "." in text else int(text.replace(",", ""))


def _pad(cell: list[object], spread: bool) -> list[object]:
    return [*cell, *[None] * (1 + len(PARTS) - len(cell))] if spread else cell


def _joined(row: dict[str, str], name: str, kind: Kind, column: int) -> str:
    """A table's cell from its columns; the first cell names the row."""

    def number(text: str) -> str:
        if column == 0 or not re.fullmatch(NUMBER, text):
            return text
        if kind.thousands:
            return f"{Decimal(text):,}"
        return f"{Decimal(text):+}" if kind.signed else text

    value, deviation, low, high = (
        row.get(part) for part in (name, *(f"{name}: {part}" for part in PARTS))
    )
    text = number(value) if value else MISSING
    text += f" ± {deviation}" if deviation else ""
    return text + (f" [{number(low)}, {number(high)}]" if low else "")
