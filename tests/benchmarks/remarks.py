"""What tests of remarks need: the bullets of a page, and figures to hold them against."""

import re
from itertools import pairwise
from pathlib import Path

from sdmad.table import Table

DOCS = Path(__file__).parents[2] / "docs"
NAMED = re.compile(r"Eq\. \d|F1|fastMRI\+|\d px")
"""Numbers in a text that are names, and measure nothing."""


def bullets(page, heading):
    """The bullets below a heading, by their words in bold, each on one line."""
    text = (DOCS / page).read_text(encoding="utf-8")
    part = re.split(r"\n#+ |\n\*Made with ", text.partition(f" {heading}\n")[2])[0]
    found = [" ".join(one.split()) for one in re.split(r"\n- ", f"\n{part}")[1:]]
    return {re.match(r"\*\*(.*?)\*\*", one)[1]: one for one in found}


def check(text, *parts):
    """Every part stands in the text, and the text has no figure outside of them."""
    for part in parts:
        assert part in text
    for part in parts:
        text = text.replace(part, " ")
    assert not re.findall(r"\d+", NAMED.sub("", text)), text


def parse(cell):
    """Mean, deviation, low and high of a cell; None where it has none."""
    found = re.fullmatch(
        r"([-+\d.]+)(?: ± ([\d.]+))?(?: \[([-+\d.]+), ([-+\d.]+)\])?", cell
    ).groups()
    return tuple(None if part is None else float(part) for part in found)


class Figures:
    """The means of a table's cells, by row and column."""

    def __init__(self, table):
        self.table = table
        self.rows = [row[0] for row in table.rows]

    def cell(self, row, column):
        """A cell, by the whole name of its row, or its beginning where that is enough."""
        found = [r for r in self.table.rows if r[0] == row]
        (one,) = found or [r for r in self.table.rows if r[0].startswith(row)]
        return one[self.table.header.index(column)]

    def __call__(self, row, column):
        return parse(self.cell(row, column))[0]

    def interval(self, row, column):
        """The ends of the 95% interval."""
        return parse(self.cell(row, column))[2:]

    def column(self, name, without=()):
        """Each row's figure where it has one, by its name."""
        known = (r for r in self.rows if self.cell(r, name) != "n/a" and r not in without)
        return {row: self(row, name) for row in known}

    def ranked(self, name, without=()):
        """Names of the rows, the largest figure first."""
        column = self.column(name, without)
        return sorted(column, key=column.get, reverse=True)


def holds_zero(interval):
    """Whether an interval holds 0."""
    return interval[0] <= 0 <= interval[1]


def falls(values):
    """Whether each value is below the one before."""
    return all(a > b for a, b in pairwise(values))


def tables(page):
    """The tables of a page by the headings above them: ``("brain", "All signs")``."""
    found, above = {}, {}
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        if mark := re.match(r"(##+) (.+)", line):
            above = {level: name for level, name in above.items() if level < len(mark[1])}
            above[len(mark[1])] = mark[2]
        elif above and line.startswith("| "):
            cells = [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]
            if not set(line) <= set("|-: "):
                found.setdefault(tuple(above.values()), []).append(tuple(cells))
    return {names: Table(names[-1], rows[0], tuple(rows[1:])) for names, rows in found.items()}
