"""Phantoms on disk: written in the form that any user's data has, read with their exact masks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from sdmad.data.csvfile import read_csv
from sdmad.data.headers import read_header
from sdmad.data.sets.base import Mask
from sdmad.data.sets.table_data import TableData
from sdmad.output import output_directory, write_csv
from sdmad.phantoms.base import Modality
from sdmad.phantoms.cases import Case, draw_cases
from sdmad.progress import track

TRAIN_SHARE = 0.3


def write_phantoms(
    modality: Modality,
    folder: Path,
    images: int,
    seed: int,
    style: str = "test",
    size: int = 128,
    force: bool = False,
) -> Path:
    """Write ``images/*.png``, ``masks/<image>/<sign>.png`` and ``labels.csv``.

    The table's columns are ``file``, ``patient``, ``split`` (about three patients in ten are
    ``train``), ``labels`` (separated by ``|``, ``normal`` where there is none) and ``signs``.

    Args:
        modality: what to draw.
        folder: where to; written under a temporary name and renamed.
        images: how many.
        seed: any integer from 0.
        style: an acquisition style.
        size: side in pixels.
        force: replace what the folder holds.

    Returns:
        The path of ``labels.csv``.

    Raises:
        InputError: if a value is out of range, or the folder holds something.
        SDMADError: if it cannot be written.
    """
    cases = draw_cases(modality, images, seed, style, size)
    with output_directory(folder, force) as work:
        (work / "images").mkdir()
        (work / "masks").mkdir()
        rows = [_write_case(work, index, case) for index, case in _numbered(cases, images)]
        write_csv(work / "labels.csv", ["file", "patient", "split", "labels", "signs"], rows)
    return folder / "labels.csv"


def _numbered(cases: Iterator[Case], images: int) -> Iterator[tuple[int, Case]]:
    for index in track(range(images), "drawing phantoms"):
        yield index, next(cases)


def _write_case(work: Path, index: int, case: Case) -> list[object]:
    name = f"{index:06d}"
    Image.fromarray(case.image).save(work / "images" / f"{name}.png")
    if case.masks:
        (work / "masks" / name).mkdir()
    for sign, mask in case.masks.items():
        picture = Image.fromarray(mask.astype(np.uint8) * 255)
        picture.convert("1").save(work / "masks" / name / f"{sign}.png")
    split = "train" if _share(case.patient) < TRAIN_SHARE else "test"
    labels = "|".join(case.categories) or "normal"
    return [f"images/{name}.png", f"P{case.patient:06d}", split, labels, "|".join(case.signs)]


def _share(patient: int) -> float:
    """A fixed pseudo-random number in [0, 1) for each patient."""
    return float(np.random.default_rng([patient, 20261]).random())


class PhantomData(TableData):
    """What :func:`write_phantoms` wrote; a phantom's masks are exact.

    Args:
        root: the folder with ``labels.csv``, ``images/`` and ``masks/``.
        modality: whose phantoms they are.

    Raises:
        InputError: if there is no such folder, or no table in it.
    """

    def __init__(self, root: str | os.PathLike[str], modality: Modality) -> None:
        super().__init__(root, tuple(modality.categories))
        self.name, self.modality = f"phantom-{modality.name}", modality

    @cached_property
    def signs(self) -> tuple[tuple[str, ...], ...]:
        """The signs that each image shows, in the table's order."""
        header, rows = read_csv(self.root / "labels.csv")
        column = header.index("signs")
        return tuple(tuple(filter(None, row.cells[column].split("|"))) for row in rows)

    def _category_masks(self, row: int) -> Mask:
        """Of each category that the image shows, every sign of it; a shared sign is of each."""
        shown = self.table.labels[row] == 1
        height, width = read_header(self.table.files[row]).shape
        planes = np.zeros((len(shown), height, width), dtype=np.bool_)
        for k in np.flatnonzero(shown):
            category = self.modality.categories[self.table.categories[k]]
            for sign in {*category.own, *category.shared}.intersection(self.signs[row]):
                planes[k] |= self.sign_mask(row, sign)
        return planes

    def sign_mask(self, row: int, sign: str) -> Mask:
        """Where one sign is; all false where the image does not show it, ``(H, W)``.

        Args:
            row: index into the table.
            sign: a name of the modality's signs.
        """
        image = self.table.files[row]
        path = self.root / "masks" / image.stem / f"{sign}.png"
        if sign not in self.signs[row]:
            with Image.open(image) as picture:
                return np.zeros((picture.height, picture.width), dtype=np.bool_)
        with Image.open(path) as mask:
            return np.asarray(mask.convert("L")) > 0
