"""What a check says: a verdict, what was found, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path

from sdmad.data.table import LabelTable

MOST_PLACES = 100
"""Places that a finding names at most; its count tells how many there are."""


class Verdict(StrEnum):
    """PASS: nothing to mend. WARN: read it before you use the data. FAIL: mend it first."""

    PASS = auto()
    WARN = auto()
    FAIL = auto()


@dataclass(frozen=True)
class Problem:
    """What one check found.

    Attributes:
        check: short name of the check.
        verdict: PASS, WARN or FAIL.
        what: what was found, in a sentence.
        where: places, at most `MOST_PLACES`: rows of the table, or files below the root. Never a
            patient's id.
        mend: what to do about it; "" where there is nothing to do.
        count: how many images, files, rows or patients are concerned.
    """

    check: str
    verdict: Verdict
    what: str
    where: tuple[str, ...] = ()
    mend: str = ""
    count: int = 0


@dataclass(frozen=True)
class Count:
    """How many images a category has in a split.

    Attributes:
        split: the split; "all" for the whole table.
        name: a category, "normal", "images", "patients", or what else was published.
        found: counted here.
        published: what was published; None where nothing was.
    """

    split: str
    name: str
    found: int
    published: int | None = None


@dataclass(frozen=True)
class Report:
    """All findings on one data set.

    Attributes:
        data_set: its name.
        root: its folder or table, or the address of an archive.
        images: how many images its table has.
        findings: one or more a check.
        counts: images by split and category.
        notes: remarks on how the table was read.
    """

    data_set: str
    root: Path | str
    images: int
    findings: tuple[Problem, ...]
    counts: tuple[Count, ...] = field(default=())
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether no check failed."""
        return all(finding.verdict is not Verdict.FAIL for finding in self.findings)

    def finding(self, check: str) -> Problem:
        """The finding of one check.

        Raises:
            KeyError: if that check was not made.
        """
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(check)

    def content(self) -> Mapping[str, object]:
        """The report for JSON."""
        return {
            "data_set": self.data_set,
            "root": self.root,
            "images": self.images,
            "whole": self.whole,
            "findings": [_plain(finding) for finding in self.findings],
            "counts": [vars(count) for count in self.counts],
            "notes": self.notes,
        }


def passed(check: str, what: str) -> Problem:
    """A finding with nothing to mend."""
    return Problem(check, Verdict.PASS, what)


def listed(places: Iterable[str]) -> tuple[str, ...]:
    """The first places of many."""
    found: list[str] = []
    for place in places:
        if len(found) == MOST_PLACES:
            break
        found.append(place)
    return tuple(found)


def placer(table: LabelTable) -> Callable[[int], str]:
    """How to name a place: the row of the table, or the file where there is no table."""
    if table.path.is_dir():
        return lambda row: below(table.files[row], table.path)
    return lambda row: f"row {table.rows[row]}"


def below(path: Path, root: Path) -> str:
    """A path relative to the root where it lies below it."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def together(places: Sequence[str]) -> str:
    """Places that belong together.

    >>> together(["row 3", "row 8"]), together(["a.png", "b.png", "c.png", "d.png"])
    ('rows 3, 8', 'a.png, b.png, c.png and 1 more')
    """
    shown = ", ".join(places[:3])
    if all(place.startswith("row ") for place in places):
        shown = "rows " + shown.replace("row ", "")
    return shown + (f" and {len(places) - 3} more" if len(places) > 3 else "")


def _plain(finding: Problem) -> Mapping[str, object]:
    return {**vars(finding), "verdict": finding.verdict.value.upper()}
