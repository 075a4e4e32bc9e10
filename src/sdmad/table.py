"""A table of finished cells: for the terminal, Markdown, CSV and the report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Literal

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from sdmad.errors import InputError

MISSING = "n/a"
"""What a cell says where a number is not defined."""

_NUMBERS = re.compile(r"[-+±\d.,\[\]% ]*|n/a")
_MARKDOWN_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\|`*_<>[]#$~!&"})


@dataclass(frozen=True)
class Table:
    """A table of finished cells.

    Attributes:
        title: what the table shows, in a few words.
        header: column names; the first column names the row.
        rows: cells, each row as long as the header.
        caption: how to read it; may be empty.

    Raises:
        InputError: if a row is longer or shorter than the header.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise InputError(
                    f"table {self.title!r}, row {number}: expected {len(self.header)} cells, "
                    f"got {len(row)}"
                )

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown, every mark in a cell escaped."""
        lines = [f"### {escaped(self.title)}", ""]
        lines.append("| " + " | ".join(escaped(cell) for cell in self.header) + " |")
        lines.append("| --- |" + "".join(map(self._rule, range(1, len(self.header)))))
        lines += ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in self.rows]
        if self.caption:
            lines += ["", escaped(self.caption)]
        return "\n".join(lines) + "\n"

    def _rule(self, column: int) -> str:
        return " ---: |" if self._is_numeric(column) else " --- |"

    def _is_numeric(self, column: int) -> bool:
        return all(_NUMBERS.fullmatch(row[column]) for row in self.rows)

    def write_csv(self, path: Path) -> None:
        """Write the header and the rows as CSV, guarded against formulas.

        Args:
            path: the file to write.
        """
        from sdmad.output import write_csv  # which needs NumPy, and a terminal does not

        write_csv(path, list(self.header), [list(row) for row in self.rows])

    def rich(self) -> RichTable:
        """Return the table for a terminal; no cell is read as markup."""
        table = RichTable(
            title=Text(self.title, style="bold"),
            caption=Text(self.caption) if self.caption else None,
            box=box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
        )
        for number, name in enumerate(self.header):
            side: Literal["left", "right"] = "right" if self._is_numeric(number) else "left"
            table.add_column(Text(name), justify=side, overflow="fold")
        for row in self.rows:
            table.add_row(*[Text(cell) for cell in row])
        return table


def escaped(text: str) -> str:
    r"""Text on one line of Markdown, every mark in it escaped.

    >>> print(escaped("a *b*"))
    a \*b\*
    """
    return " ".join(text.split()).translate(_MARKDOWN_MARKS)


def percent(value: float) -> str:
    """Write a share as a percentage with one decimal, without the sign.

    Args:
        value: between 0 and 1, or NaN.

    >>> percent(0.5748)
    '57.5'
    """
    return MISSING if isnan(value) else f"{100 * value:.1f}"
