"""A user's own images: a label table, with masks where there are any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdmad.data.address import file_of, is_folder, is_there
from sdmad.data.headers import read_header
from sdmad.data.sets.base import DataSet, Mask, list_pictures, read_mask
from sdmad.data.table import LabelTable, absolute_path, parse_label_table
from sdmad.errors import InputError

TABLE = "labels.csv"
MASKS = "masks"


class TableData(DataSet):
    """Images and labels in a CSV file, as `sdmad.data.table.read_label_table` reads them.

    A folder ``masks`` beside the table may hold masks: ``masks/<image>/*.png``, where
    ``<image>`` is the image's file name without ending; `sdmad phantom` writes them so, one a
    sign. An image's mask is their union.

    Args:
        path: the CSV file, or a folder that holds ``labels.csv``.
        categories: names and order of the categories, as in a sign bank; None takes them from the
            table.

    Raises:
        InputError: if there is no such file.
    """

    name = "table"

    def __init__(
        self, path: str | os.PathLike[str], categories: Sequence[str] | None = None
    ) -> None:
        self.categories = categories
        path = absolute_path(path)
        self.path = path / TABLE if is_folder(path) else path
        if not is_there(self.path):
            raise InputError(
                f"{self.path}: no such file; give the label table or the folder with {TABLE}"
            )
        super().__init__(self.path.parent)

    @property
    def has_masks(self) -> bool:
        """Whether there is a folder of masks."""
        return (self.root / MASKS).is_dir()

    def _read(self) -> LabelTable:
        return parse_label_table(self.path, self.categories)

    def _mask(self, row: int) -> Mask | None:
        file = self.table.files[row]
        shape = read_header(file).shape
        folder: Path = self.root / MASKS / file_of(file).stem
        if self.table.normal[row]:
            return np.zeros(shape, dtype=np.bool_)
        if not folder.is_dir():
            return None
        parts = [read_mask(path, shape) for path in list_pictures(folder)]
        return np.logical_or.reduce(parts) if parts else None
