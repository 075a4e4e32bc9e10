"""What every phantom modality shares: its description, drawing helpers and acquisition styles.

A modality is a module that gives one :class:`Modality`. Its ``render`` draws the anatomy and
the requested signs in floating point, with one exact mask a sign; everything that a scanner or
an export does to the picture afterwards (noise, blur, bias field, contrast, crop, padding) is
an :class:`AcquisitionStyle` and lives in ``acquisition.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Render = Callable[[np.random.Generator, Sequence[str], int, str], tuple[Image, dict[str, Mask]]]


@dataclass(frozen=True)
class Category:
    """An anomaly category and the signs that it shows.

    Attributes:
        own: signs that belong to this category alone; each image draws at least one of them.
        shared: signs that other categories may show too; each is drawn with probability .4.
    """

    own: tuple[str, ...]
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Modality:
    """One kind of phantom.

    Attributes:
        name: short name, such as ``"brain"``.
        title: what a person would call it, such as ``"brain MRI"``.
        views: for each view, the signs that can be drawn in it; the first view is the one
            that data sets show, the others occur in pretraining only.
        categories: category name to its signs.
        unseen: signs that are never drawn for pretraining.
        excludes: pairs of signs that cannot stand in one image (they would hide each other).
        multi_label: whether one image may carry several categories.
        without: effects of an acquisition that would belie this modality's wordings.
        render: ``(rng, signs, size, view) -> (image, masks)``. ``image`` is float32 in [0, 1],
            shape ``(size, size)``, or ``(size, size, 3)`` in red, green and blue; ``masks`` has
            one boolean mask of shape ``(size, size)`` for each requested sign, true exactly
            where the sign changed the picture.
    """

    name: str
    title: str
    views: Mapping[str, tuple[str, ...]]
    categories: Mapping[str, Category]
    unseen: frozenset[str]
    render: Render
    excludes: frozenset[frozenset[str]] = field(default_factory=frozenset)
    multi_label: bool = True
    without: frozenset[str] = frozenset()

    @property
    def signs(self) -> tuple[str, ...]:
        """All sign primitives that the main view can show."""
        return next(iter(self.views.values()))

    @property
    def main_view(self) -> str:
        """The view that data sets show."""
        return next(iter(self.views))

    def unseen_categories(self) -> tuple[str, ...]:
        """Categories whose own signs were all kept from pretraining."""
        return tuple(n for n, c in self.categories.items() if set(c.own) <= self.unseen)


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Image, Image]:
    """Row and column coordinates in [-1, 1], pixel centres, each of shape ``(size, size)``."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    y.flags.writeable = x.flags.writeable = False
    return y, x


@lru_cache(maxsize=64)
def _interpolation(cells: int, size: int) -> Any:
    position = np.linspace(0, cells, size, dtype=np.float32)
    low = np.minimum(position.astype(int), cells - 1)
    t = position - low
    t = t * t * (3 - 2 * t)
    matrix = np.zeros((size, cells + 1), np.float32)
    matrix[np.arange(size), low] = 1 - t
    matrix[np.arange(size), low + 1] += t
    return matrix


def smooth_noise(
    rng: np.random.Generator, size: int, cells: int, across: int | None = None
) -> Image:
    """Smooth random field of zero mean and about unit deviation, ``cells`` bumps down.

    Value noise on a lattice of ``cells + 1`` rows and ``across + 1`` columns (as many as rows
    when not given), interpolated as two matrix products, which is far quicker than filtering
    white noise. Its shape is ``(size, size)``.
    """
    across = cells if across is None else across
    lattice = rng.standard_normal((cells + 1, across + 1), dtype=np.float32)
    down, right = _interpolation(cells, size), _interpolation(across, size)
    return np.asarray(down @ lattice @ right.T * 1.4, dtype=np.float32)


@lru_cache(maxsize=64)
def _bumps(size: int, cells: int) -> NDArray[np.float32]:
    position = np.linspace(0, cells, size, dtype=np.float32)[:, None]
    matrix = np.exp(-((position - np.arange(cells + 1, dtype=np.float32)) ** 2) / 0.72)
    return np.asarray(matrix / np.sqrt((matrix**2).sum(1, keepdims=True)), dtype=np.float32)


def wave(rng: np.random.Generator, size: int, cells: int) -> NDArray[np.float32]:
    """Smooth random curve of zero mean and unit deviation, shape ``(size,)``."""
    return np.asarray(_bumps(size, cells) @ rng.standard_normal(cells + 1, np.float32), np.float32)
