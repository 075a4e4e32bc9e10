"""Reading a delimited text file into named cells with the line each row stands on."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from sdmad.errors import InputError
from sdmad.inputs import read_bytes

MAX_TABLE = 1 << 28
"""Bytes of a table, more than a million rows."""

_DELIMITERS = (",", ";", "\t")
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?[ ,;\t]*(?=[\r\n]|$)', re.IGNORECASE)


@dataclass(frozen=True)
class CsvRow:
    """One row of a table: the line it starts on (the header is line 1) and its cells."""

    line: int
    cells: tuple[str, ...]


def read_csv(path: Path) -> tuple[tuple[str, ...], list[CsvRow]]:
    """Read a table in UTF-8, separated by commas, semicolons or tabs.

    A byte-order mark and any line endings are accepted, blank lines skipped, and spaces around
    cells removed. The separator is the one that occurs most often in the header, or that a line
    ``sep=;`` above it names, as spreadsheets write it.

    Args:
        path: the file.

    Returns:
        The header's names and the rows below it, each as long as the header; a row may leave out
        the cells of unnamed columns at the end.

    Raises:
        InputError: if the file is missing, no regular file, too large, empty, not UTF-8 text, holds
            NUL bytes or an unclosed or over-long field, has no row, or a row's length differs from
            the header's (but for empty cells and unnamed columns at the end).
    """
    text, delimiter = _separator(path, _decode(path))
    rows: list[CsvRow] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            cells = tuple(field.strip() for field in fields)
            if any(cells):
                rows.append(CsvRow(line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, row {line}: cannot be read as CSV ({error}); look for an unclosed quote"
        ) from error
    if not rows:
        raise _empty(path)
    header, body = rows[0].cells, rows[1:]
    if not body:
        raise InputError(f"{path}: no rows below the header")
    return header, [_fit(path, row, header) for row in body]


def _separator(path: Path, text: str) -> tuple[str, str]:
    """The table without a line that names its separator, and the separator."""
    if named := _SEPARATOR_LINE.match(text):
        if named[1] not in _DELIMITERS:
            raise InputError(
                f"{path}, row 1: {named[1]!r} is no separator that is read; save the table with "
                "commas, semicolons or tabs"
            )
        return text[named.end() :], named[1]  # its line break stays, so that rows keep their lines
    header = next((line for line in text.splitlines() if line.strip()), "")
    return text, max(_DELIMITERS, key=header.count)


def _decode(path: Path) -> str:
    data = read_bytes(path, MAX_TABLE)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path}: encoded as UTF-16; save it as CSV in UTF-8")
    if (nul := data.find(b"\0")) >= 0:
        row = data.count(b"\n", 0, nul) + 1
        raise InputError(f"{path}, row {row}: holds a NUL byte; not a CSV text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, row {row}: not UTF-8 text (byte 0x{data[error.start]:02x}); "
            "save it as CSV in UTF-8"
        ) from error
    if not text.strip():
        raise _empty(path)
    return text


def _empty(path: Path) -> InputError:
    return InputError(f"{path}: empty; a header line and one row an image are needed")


def _fit(path: Path, row: CsvRow, header: tuple[str, ...]) -> CsvRow:
    """Drop empty cells beyond the header, add those of unnamed columns; refuse other lengths."""
    width, length = len(header), len(row.cells)
    if any(header[length:]) or any(row.cells[width:]):
        raise InputError(
            f"{path}, row {row.line}: {length} fields, but the header has {width}; "
            "put a field that contains the separator in double quotes"
        )
    if length == width:
        return row
    return CsvRow(row.line, (*row.cells[:width], *[""] * (width - length)))
