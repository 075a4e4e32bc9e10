"""The distribution of a stream of values in bounded memory, with a bound on its error.

A summary of this kind is mergeable (Agarwal et al., Mergeable summaries, PODS 2012, after Munro
and Paterson, 1980): values are gathered in a buffer; a full buffer is sorted and thinned to a
fixed number of entries, a value with the mass that it stands for; two thinned buffers of one
level are put together and thinned to one of the next level, as a binary counter carries. Nothing
is assumed about the range of the values or their distribution, and as long as there are fewer
distinct values than entries nothing is lost: ties stay ties.

Thinning cuts the sorted entries into cells and gives the whole mass of a cell to its largest
value. The mass that is moved past any one value is then below the mass of a cell, and each
thinning adds that much to the bound. With ``C`` cells a thinning and ``L`` levels, the share of
the mass on one side of any value is right to ``(L + 1) / C``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdmad.evaluation.checks import FloatArray

Values = NDArray[np.floating]

CAPACITY = 1 << 20
"""Entries that a thinned part has at most (but for a few)."""

_TAIL_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class _Part:
    """Sorted distinct values, the mass of each, ``(n, c)``, and the mass that may be misplaced."""

    values: Values
    masses: FloatArray
    moved: FloatArray

    def __len__(self) -> int:
        return len(self.values)


class ValueSummary:
    """Values with masses, added one array at a time.

    Args:
        masses: number of masses ``c`` that each value carries; the first is a count. With one
            mass, values are counted and none is given.
        capacity: entries of a thinned part; what the error bound falls with.
    """

    def __init__(self, masses: int = 1, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._buffer = 4 * capacity if masses == 1 else capacity
        self.total: FloatArray = np.zeros(masses)
        self._waiting: list[tuple[Values, FloatArray | None]] = []
        self._size = 0
        self._levels: list[_Part | None] = []

    def add(self, values: Values, masses: FloatArray | None = None) -> None:
        """Add values.

        Args:
            values: finite, shape ``(n,)``; they are kept as they are, float32 or float64.
            masses: shape ``(n, c)``; None where values are counted.
        """
        if len(values) == 0:
            return
        self.total = self.total + (float(len(values)) if masses is None else masses.sum(axis=0))
        self._waiting.append((values, masses))
        self._size += len(values)
        if self._size >= self._buffer:
            self._flush()

    def merge(self, other: ValueSummary) -> None:
        """Add everything that another summary has seen.

        Args:
            other: a summary with as many masses; it keeps its content.
        """
        self._flush()
        for level, part in other._parts():
            self._carry(part, level)
        self.total = self.total + other.total

    def error(self) -> FloatArray:
        """The mass that may be counted on the wrong side of a value at most, ``(c,)``.

        0 while no thinning was needed.
        """
        moved: FloatArray = np.zeros_like(self.total)
        for _, part in self._parts():
            moved = moved + part.moved
        return moved

    def entries(self) -> list[tuple[Values, FloatArray]]:
        """Values, ascending in each part, and their masses ``(n, c)``; a value may come twice."""
        return [(part.values, part.masses) for _, part in self._parts()]

    def above(self, points: Values, inclusive: bool = False) -> FloatArray:
        """Mass above each point.

        Args:
            points: shape ``(m,)``.
            inclusive: count the mass at the point too.

        Returns:
            Shape ``(m, c)``.
        """
        result = np.zeros((len(points), len(self.total)))
        for _, part in self._parts():
            below = np.concatenate([np.zeros((1, result.shape[1])), part.masses.cumsum(axis=0)])
            rank = np.searchsorted(part.values, points, side="left" if inclusive else "right")
            result += below[-1] - below[rank]
        return result

    def _parts(self) -> list[tuple[int, _Part]]:
        self._flush()
        return [(level, part) for level, part in enumerate(self._levels) if part is not None]

    def _flush(self) -> None:
        if not self._waiting:
            return
        values = np.concatenate([values for values, _ in self._waiting])
        given = [masses for _, masses in self._waiting if masses is not None]
        self._waiting, self._size = [], 0
        if given:
            order = np.argsort(values, kind="stable")
            distinct = _distinct(values[order], np.concatenate(given)[order])
            part = _thin(_Part(*distinct, np.zeros_like(self.total)), self.capacity)
        else:
            values.sort()
            part = _count(values, self.capacity)
        del values, given
        self._carry(part, 0)

    def _carry(self, part: _Part, level: int) -> None:
        """Put a part on its level; two of one level become one of the next."""
        self._levels += [None] * (level + 1 - len(self._levels))
        while (other := self._levels[level]) is not None:
            self._levels[level] = None
            part = _thin(_merged(other, part), self.capacity)
            level += 1
            self._levels += [None] * (level + 1 - len(self._levels))
        self._levels[level] = part


def _merged(one: _Part, other: _Part) -> _Part:
    values = np.concatenate([one.values, other.values])
    order = np.argsort(values, kind="stable")
    masses = np.concatenate([one.masses, other.masses])[order]
    return _Part(*_distinct(values[order], masses), one.moved + other.moved)


def _distinct(ordered: Values, masses: FloatArray) -> tuple[Values, FloatArray]:
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return ordered[starts], np.add.reduceat(masses, starts, axis=0)


def _count(ordered: Values, capacity: int) -> _Part:
    """Count ascending values; the same as :func:`_thin`, by rank, where there are too many."""
    size = len(ordered)
    changes = ordered[1:] != ordered[:-1]
    if np.count_nonzero(changes) < capacity:
        last = np.append(np.flatnonzero(changes), size - 1)
        moved = 0.0
    else:
        even, tail = _cells(capacity)
        step = np.log(size) / tail
        last = np.concatenate(
            [
                np.ceil(np.arange(1, even + 1) * (size / even)).astype(np.int64) - 1,
                size - 1 - np.exp(step * np.arange(tail)).astype(np.int64),
            ]
        )
        last = np.sort(np.clip(last, 0, size - 1), kind="stable")
        last = last[np.append(True, last[1:] != last[:-1])]
        moved = float(np.diff(last, prepend=-1).max() - 1)
    masses = np.diff(last, prepend=-1).astype(np.float64)[:, None]
    return _Part(*_distinct(ordered[last], masses), np.array([moved]))


def _cells(capacity: int) -> tuple[int, int]:
    tail = int(_TAIL_SHARE * capacity)
    return capacity - tail, tail


def _thin(part: _Part, capacity: int) -> _Part:
    """Give the mass of each cell to its largest value, if there are too many entries.

    Three quarters of the cells are of equal mass, shared among the masses; a quarter is finer
    towards the largest values: there the count above a value changes by an equal factor from
    cell to cell, so that a few false positives among very many pixels are still counted well.
    """
    if len(part) <= capacity:
        return part
    total = part.masses.sum(axis=0)
    even, tail = _cells(capacity)
    cell = total * len(total) / even
    before = part.masses.cumsum(axis=0) - part.masses
    bounds = np.zeros(len(part) - 1, dtype=np.bool_)
    for column in range(len(total)):
        number = np.floor(before[:, column] / cell[column])
        bounds |= number[1:] != number[:-1]
    above = total[0] - before[:, 0]
    number = np.floor(np.log(above) / np.log(total[0]) * tail)
    bounds |= number[1:] != number[:-1]
    starts = np.concatenate([[0], np.flatnonzero(bounds) + 1])
    last = np.append(starts[1:], len(part)) - 1
    masses = np.add.reduceat(part.masses, starts, axis=0)
    moved = (masses - part.masses[last]).max(axis=0)
    return _Part(part.values[last], masses, part.moved + moved)
