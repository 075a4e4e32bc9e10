"""Phantoms on disk as a data set: labels, splits, and exact masks of every sign."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from sdmad.data.csvfile import read_csv
from sdmad.data.sets.base import DataSet, Mask
from sdmad.data.table import LabelTable, read_label_table
from sdmad.phantoms.base import Modality


class PhantomData(DataSet):
    """What :func:`~sdmad.phantoms.dataset.write_phantoms` wrote.

    Args:
        root: the folder with ``labels.csv``, ``images/`` and ``masks/``.
        modality: whose phantoms they are.

    Raises:
        InputError: if there is no such folder.
    """

    def __init__(self, root: str | os.PathLike[str], modality: Modality) -> None:
        super().__init__(root)
        self.name, self.modality = f"phantom-{modality.name}", modality

    @property
    def has_masks(self) -> bool:
        """True: a phantom's masks are exact."""
        return True

    @cached_property
    def signs(self) -> tuple[tuple[str, ...], ...]:
        """The signs that each image shows, in the table's order."""
        header, rows = read_csv(self.root / "labels.csv")
        column = header.index("signs")
        return tuple(tuple(filter(None, row.cells[column].split("|"))) for row in rows)

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

    def _mask(self, row: int) -> Mask | None:
        with Image.open(self.table.files[row]) as picture:
            whole = np.zeros((picture.height, picture.width), dtype=np.bool_)
        for sign in self.signs[row]:
            whole |= self.sign_mask(row, sign)
        return whole

    def _read(self) -> LabelTable:
        return read_label_table(Path(self.root) / "labels.csv", tuple(self.modality.categories))
