"""The two forms of labels in a table: one column a category, or one column of names."""

import difflib
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad.data.csvfile import CsvRow
from sdmad.errors import InputError

LABEL_COLUMNS = ("labels", "findinglabels", "label")
NORMAL_NAMES = frozenset({"normal", "nofinding", "none", "healthy"})
SEPARATOR = "|"
_TRUTH = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_UNKNOWN = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null"})
_DECIMAL_COMMA = re.compile(r"\d+,\d+")


@dataclass(frozen=True)
class Labels:
    """Labels as read from either form.

    Attributes:
        values: 1, 0 or NaN, shape ``(n, K)``, float64.
        categories: the K names.
        normal: shape ``(n,)``, bool.
        notes: remarks for the user.
        source: the columns that the labels come from, for messages.
    """

    values: NDArray[np.float64]
    categories: tuple[str, ...]
    normal: NDArray[np.bool_]
    notes: tuple[str, ...]
    source: str


def canonical_name(name: str) -> str:
    """Reduce a name to what is compared: case, spaces, underscores and hyphens do not count.

    >>> canonical_name("Pleural_Thickening") == canonical_name("pleural thickening")
    True
    """
    return re.sub(r"[\s_-]+", "", name).casefold()


def is_unknown(cell: str) -> bool:
    """Whether a cell says nothing, as other programs write it: empty, NA, n/a, nan, null."""
    return cell.casefold() in _UNKNOWN


def all_absent(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows of labels ``(n, K)`` on which every category is absent: normal, if nothing else is told.

    >>> all_absent(np.array([[0.0, 0.0], [0.0, np.nan], [1.0, 0.0]]))
    array([ True, False, False])
    """
    return np.asarray((values == 0).all(axis=1))


def marks_findings(zeros: int, ones: int, filled: int, rows: int) -> bool:
    """Whether a column that is no category tells of images that show something else.

    It holds 1 and 0, or 1 and nothing, with some odd cells perhaps. One that holds 1 throughout
    tells nothing of a single image.

    >>> marks_findings(8, 2, 10, 10), marks_findings(0, 2, 2, 10), marks_findings(0, 10, 10, 10)
    (True, True, False)

    Args:
        zeros: cells with 0.
        ones: cells with 1.
        filled: cells with anything.
        rows: of the table.
    """
    known = zeros + ones
    return known > 0 and 2 * known >= filled and (zeros > 0 or filled < rows)


def settle_normal(values: NDArray[np.float64], declared: NDArray[np.bool_]) -> int | None:
    """Labels of rows that are declared normal become 0, in place.

    Args:
        values: 1, 0 or NaN, ``(n, K)``.
        declared: which rows show no abnormality, ``(n,)``.

    Returns:
        The first of them that has a finding; None where none has.
    """
    contradicted = np.flatnonzero(declared & (values == 1).any(axis=1))
    if contradicted.size:
        return int(contradicted[0])
    values[declared] = 0.0
    return None


def read_labels(
    path: Path,
    header: Sequence[str],
    body: Sequence[CsvRow],
    reserved: Collection[str],
    categories: Sequence[str] | None,
) -> Labels:
    """Read the labels of a table in whichever form it has.

    Args:
        path: the table, for messages.
        header: names of the columns.
        body: the rows.
        reserved: canonical names of columns that never hold labels.
        categories: wanted categories, or None to take them from the table.

    Raises:
        InputError: if a label cannot be read; names the row and the column.
    """
    wanted = None if categories is None else _check_categories(categories)
    names = [canonical_name(name) for name in header]
    for candidate in LABEL_COLUMNS:
        if candidate in names:
            if names.count(candidate) > 1:
                raise InputError(f"{path}: two columns named {candidate}; keep one of them")
            return _read_names(path, header, body, names.index(candidate), wanted)
    return _read_columns(path, header, body, reserved, wanted)


def _check_categories(categories: Sequence[str]) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for name in categories:
        key = canonical_name(name)
        if key in NORMAL_NAMES:
            raise InputError(f"category {name!r}: this name means the normal class; rename it")
        if key in seen:
            raise InputError(f"categories {seen[key]!r} and {name!r} are the same name; rename one")
        seen[key] = name
    if not seen:
        raise InputError("at least one category is needed")
    return tuple(categories)


def _read_names(
    path: Path,
    header: Sequence[str],
    body: Sequence[CsvRow],
    column: int,
    wanted: tuple[str, ...] | None,
) -> Labels:
    """One column of names separated by `|`; an empty cell is unknown throughout."""
    own = {canonical_name(name) for name in wanted or ()}
    cells = [_split_names(path, row, column, header, own) for row in body]
    categories = _names_found(path, cells) if wanted is None else wanted
    position = {canonical_name(name): k for k, name in enumerate(categories)}
    values = np.full((len(body), len(categories)), np.nan)
    normal = np.zeros(len(body), dtype=np.bool_)
    for i, (row, names) in enumerate(zip(body, cells, strict=True)):
        if not names:
            continue
        values[i] = 0.0
        for name in names:
            key = canonical_name(name)
            if key in NORMAL_NAMES:
                normal[i] = True
            elif key in position:
                values[i, position[key]] = 1.0
            else:
                where = f"{path}, row {row.line}, column {header[column]}"
                raise InputError(f"{where}: unknown label {name!r}; {_nearest(name, categories)}")
        if normal[i] and values[i].any():
            raise InputError(
                f"{path}, row {row.line}, column {header[column]}: "
                f"{body[i].cells[column]!r} is both normal and a finding; keep one of them"
            )
    notes = _no_positive_note(categories, values)
    return Labels(values, categories, normal, notes, f"column {header[column]}")


def _split_names(
    path: Path, row: CsvRow, column: int, header: Sequence[str], wanted: Collection[str]
) -> list[str]:
    cell = row.cells[column]
    if is_unknown(cell) and canonical_name(cell) not in wanted:
        return []
    names = [name.strip() for name in cell.split(SEPARATOR) if name.strip()]
    if cell and not names:
        raise InputError(f"{path}, row {row.line}, column {header[column]}: no name in {cell!r}")
    return names


def _names_found(path: Path, cells: Sequence[Sequence[str]]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for names in cells:
        for name in names:
            if canonical_name(name) not in NORMAL_NAMES:
                found.setdefault(canonical_name(name), name)
    if not found:
        raise InputError(f"{path}: no image has a finding; at least one category is needed")
    return tuple(found[key] for key in sorted(found))


def _nearest(name: str, categories: Sequence[str]) -> str:
    known = {canonical_name(known): known for known in categories}
    close = difflib.get_close_matches(canonical_name(name), known, n=1)
    hint = f"did you mean {known[close[0]]!r}? " if close else ""
    return f"{hint}known: {', '.join([*categories, 'normal'])}"


def _no_positive_note(categories: Sequence[str], values: NDArray[np.float64]) -> tuple[str, ...]:
    asked = [not np.isnan(column).all() for column in values.T]
    positives = np.nansum(values, axis=0)
    absent = [
        name
        for name, known, count in zip(categories, asked, positives, strict=True)
        if known and not count
    ]
    return (f"no image in the table has {', '.join(absent)}",) if absent else ()


def _read_columns(
    path: Path,
    header: Sequence[str],
    body: Sequence[CsvRow],
    reserved: Collection[str],
    wanted: tuple[str, ...] | None,
) -> Labels:
    """One column a category, and perhaps one for normal."""
    columns: dict[str, int] = {}
    for i, name in enumerate(header):
        key = canonical_name(name)
        key = "normal" if key in NORMAL_NAMES else key
        if not key or key in reserved:
            continue
        if key in columns:
            raise InputError(
                f"{path}: columns {header[columns[key]]!r} and {name!r} mean the same; keep one"
            )
        columns[key] = i
    normal_column = columns.pop("normal", None)
    ignored: list[int] = []
    if wanted is None:
        categories = tuple(header[i] for i in _label_columns(path, header, body, columns))
        notes: list[str] = []
    else:
        categories = wanted
        ignored = _ignored(body, columns, wanted)
        notes = _column_notes(header, columns, wanted, ignored)
    if not any(canonical_name(name) in columns for name in categories):
        raise InputError(
            f"{path}: no column for any category "
            f"({', '.join(categories) or 'a column holds 1, 0 or nothing'}) and no labels column; "
            f"found: {', '.join(header)}"
        )
    values = np.full((len(body), len(categories)), np.nan)
    for k, name in enumerate(categories):
        column = columns.get(canonical_name(name))
        if column is not None:
            values[:, k] = [_number(path, row, column, header) for row in body]
    declared = np.full(len(body), np.nan)
    if normal_column is not None:
        declared[:] = [_number(path, row, normal_column, header) for row in body]
    normal = _normal(path, body, values, declared, categories)
    if normal_column is None:
        other = np.array([any(_truth(row.cells[i]) in (1, None) for i in ignored) for row in body])
        zeros = all_absent(values)
        normal |= zeros & ~other.astype(np.bool_)
        notes += _taken_note(header, ignored, int(zeros.sum()), int((zeros & other).sum()))
    notes += _no_positive_note(categories, values)
    used = [header[columns[k]] for k in map(canonical_name, categories) if k in columns]
    return Labels(values, categories, normal, tuple(notes), f"columns {', '.join(used)}")


def _normal(
    path: Path,
    body: Sequence[CsvRow],
    values: NDArray[np.float64],
    declared: NDArray[np.float64],
    categories: Sequence[str],
) -> NDArray[np.bool_]:
    """Which rows are declared normal; the labels of these become 0, in place."""
    normal = np.asarray(declared == 1, dtype=np.bool_)
    row = settle_normal(values, normal)
    if row is not None:
        finding = categories[int(np.argmax(values[row] == 1))]
        raise InputError(
            f"{path}, row {body[row].line}: both normal and {finding} are 1; keep one of them"
        )
    return normal


def _truth(cell: str) -> float | None:
    """Read 1, 0 (in any spelling of the number), true, false, yes, no or nothing."""
    if is_unknown(cell):
        return math.nan
    word = cell.casefold()
    if word in _TRUTH:
        return _TRUTH[word]
    if _DECIMAL_COMMA.fullmatch(word):
        word = word.replace(",", ".")
    try:
        number = float(word)
    except ValueError:
        return None
    return number if number in (0.0, 1.0) else None


def _number(path: Path, row: CsvRow, column: int, header: Sequence[str]) -> float:
    value = _truth(row.cells[column])
    if value is None:
        raise InputError(
            f"{path}, row {row.line}, column {header[column]}: {row.cells[column]!r} is no label; "
            "use 1, 0 or an empty cell for unknown"
        )
    return value


def _label_columns(
    path: Path, header: Sequence[str], body: Sequence[CsvRow], columns: dict[str, int]
) -> list[int]:
    """Positions of the columns that hold labels; at least half such cells means it was meant to."""
    found = []
    for column in columns.values():
        filled = [row for row in body if row.cells[column]]
        good = [row for row in filled if _truth(row.cells[column]) is not None]
        if filled and len(good) == len(filled):
            found.append(column)
        elif filled and 2 * len(good) >= len(filled):
            bad = next(row for row in filled if _truth(row.cells[column]) is None)
            raise InputError(
                f"{path}, row {bad.line}, column {header[column]}: {bad.cells[column]!r} among "
                "labels of 1 and 0; correct it or remove the column"
            )
    return found


def _ignored(body: Sequence[CsvRow], columns: dict[str, int], wanted: Sequence[str]) -> list[int]:
    """Columns of findings that are no wanted category."""
    keys = {canonical_name(name) for name in wanted}
    found = []
    for key, i in columns.items():
        values = [_truth(row.cells[i]) for row in body if not is_unknown(row.cells[i])]
        counts = values.count(0.0), values.count(1.0), len(values), len(body)
        if key not in keys and marks_findings(*counts):
            found.append(i)
    return found


def _taken_note(
    header: Sequence[str], ignored: Sequence[int], zeros: int, taken: int
) -> tuple[str, ...]:
    """Told loudly where most of the images without a finding are kept from being normal."""
    if 2 * taken <= zeros:
        return ()
    names = ", ".join(header[i] for i in ignored)
    return (
        f"{taken} of {zeros} images without a finding do not count as normal, for a 1 or another "
        f"mark in {names}: add a column normal, or take out columns that are no findings",
    )


def _column_notes(
    header: Sequence[str], columns: dict[str, int], wanted: Sequence[str], ignored: Sequence[int]
) -> list[str]:
    notes = []
    if absent := [name for name in wanted if canonical_name(name) not in columns]:
        notes.append(
            f"no column for {', '.join(absent)}: unknown for every image not declared normal"
        )
    if ignored:
        names = ", ".join(header[i] for i in ignored)
        notes.append(
            f"columns of 1 and 0 that are no category were ignored: {names}; an image with a 1 in "
            "one of them, or a mark such as -1, counts as normal only where a column for normal "
            "says so"
        )
    return notes
