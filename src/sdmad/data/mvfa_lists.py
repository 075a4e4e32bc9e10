"""MVFA's few-shot lists, read as they are into a support set."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

from sdmad.data.fewshot import NORMAL, SupportSet
from sdmad.data.table import LabelTable, absolute_path
from sdmad.errors import InputError
from sdmad.inputs import read_text

VALID_SPLITS = frozenset({"val", "valid", "validation"})
_LINE = re.compile(r"([na])-(\d+):(?:\s|$)")
_SIDES = {"n": "normal", "a": "abnormal"}
_MOST_BYTES = 1 << 20


def read_mvfa_support(
    path: str | os.PathLike[str], table: LabelTable, number: int = 0
) -> SupportSet:
    """Read a list of MVFA as the support set of a table.

    A list holds lines ``n-0: file file ...`` (normal) and ``a-0: file file ...`` (abnormal), in
    either order; names are looked up among the table's ``valid`` images, or among all where the
    table has no split. An abnormal image counts for each category that the table gives it.

    Args:
        path: such as ``fewshot_seed/Brain/4-shot.txt``.
        table: the table of `MVFA`, of `BMAD`, or of the same images elsewhere.
        number: which pair of lines; MVFA's lists hold one, number 0. It becomes the set's seed.

    Returns:
        The support set; `shots` is the number of abnormal images.

    Raises:
        InputError: if the list has not these lines, names an image twice, or one that the table
            does not have or labels otherwise.
    """
    path = absolute_path(path)
    lines = _read_lines(path, number)
    by_name: dict[str, dict[str, list[int]]] = {side: defaultdict(list) for side in lines}
    for i, file in enumerate(table.files):
        if table.splits is None or table.splits[i] in VALID_SPLITS:
            abnormal = bool((table.labels[i] == 1).any())
            if abnormal or table.normal[i]:
                by_name["a" if abnormal else "n"][file.name].append(i)
    rows = {
        side: tuple(_row(path, table, by_name, side, line, name) for name in names)
        for side, (line, names) in lines.items()
    }
    served = {
        category: tuple(sorted(i for i in rows["a"] if table.labels[i, k] == 1))
        for k, category in enumerate(table.categories)
    }
    served[NORMAL] = tuple(sorted(rows["n"]))
    indices = tuple(sorted((*rows["a"], *rows["n"])))
    return SupportSet(indices, served, len(rows["a"]), number, _notes(path, rows))


def _read_lines(path: Path, number: int) -> dict[str, tuple[int, list[str]]]:
    """The line and the names of both sides."""
    text = read_text(path, _MOST_BYTES)
    found: dict[str, tuple[int, list[str]]] = {}
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        head = _LINE.match(content.strip())
        if head is None:
            raise InputError(
                f"{path}, row {line}: a line must begin with n-0: or a-0: and name files, "
                f"got {content.strip()[:40]!r}"
            )
        if int(head[2]) != number:
            continue
        if head[1] in found:
            raise InputError(f"{path}, row {line}: a second line {head[0].strip()} keep one")
        names = content.strip()[head.end() :].split()
        if repeated := {name for name in names if names.count(name) > 1}:
            raise InputError(f"{path}, row {line}: names {min(repeated)} twice; remove one")
        found[head[1]] = (line, names)
    for side in _SIDES:
        if not found.get(side, (0, []))[1]:
            raise InputError(
                f"{path}: no line '{side}-{number}: file ...' with {_SIDES[side]} images"
            )
    return found


def _row(
    path: Path,
    table: LabelTable,
    by_name: dict[str, dict[str, list[int]]],
    side: str,
    line: int,
    name: str,
) -> int:
    rows = by_name[side].get(name, [])
    where = f"{path}, row {line}"
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise InputError(
            f"{where}: {name} stands {len(rows)} times among the {_SIDES[side]} images of "
            f"{table.path}; rename one of them"
        )
    other = "a" if side == "n" else "n"
    if name in by_name[other]:
        raise InputError(
            f"{where}: {name} is listed as {_SIDES[side]}, but {table.path} has it as "
            f"{_SIDES[other]}; is this the list of another class?"
        )
    raise InputError(
        f"{where}: {name} is not among the valid {_SIDES[side]} images of {table.path}; "
        "is this the list of another class?"
    )


def _notes(path: Path, rows: dict[str, tuple[int, ...]]) -> tuple[str, ...]:
    counts = len(rows["n"]), len(rows["a"])
    if counts[0] == counts[1]:
        return ()
    return (f"{path.name}: {counts[0]} normal and {counts[1]} abnormal images",)
