"""ChestX-ray8 (ChestX-ray14) of the NIH: 112,120 chest X-rays, 14 findings, several an image."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from sdmad.data.csvfile import CsvRow, read_csv
from sdmad.data.headers import read_header
from sdmad.data.labels import canonical_name
from sdmad.data.sets.base import (
    Box,
    DataSet,
    Mask,
    box_masks,
    first_there,
    list_pictures,
    read_lines,
    subfolder,
)
from sdmad.data.table import LabelTable, parse_label_table
from sdmad.errors import InputError

CATEGORIES = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia"),
    *("Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening"),
    "Hernia",
)
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
POOL_LIST, TEST_LIST = "train_val_list.txt", "test_list.txt"
BOX_LIST = "BBox_List_2017.csv"
BOX_SPELLING = {"infiltrate": "infiltration"}
BOX_SIDE = 1024
"""Side in pixels of the images that the boxes were drawn on."""


class ChestXray8(DataSet):
    """The NIH's chest X-rays with their official split by patient.

    Expected below the root: ``Data_Entry_2017_v2020.csv`` or ``Data_Entry_2017.csv``,
    ``train_val_list.txt``, ``test_list.txt``, and the images in ``images/`` or in
    ``images_001/images/`` to ``images_012/images/``. ``BBox_List_2017.csv`` may lack.

    Masks are the boxes of the 880 images that have some, filled; a "No Finding" image has an
    empty mask, every other image none.

    Args:
        root: the data set's folder.
    """

    name = "chestxray8"

    @property
    def has_masks(self) -> bool:
        """Whether the list of boxes is there."""
        return (self.root / BOX_LIST).is_file()

    @cached_property
    def pictures(self) -> Mapping[str, Path]:
        """Every image on the disk, by file name; the first of two with one name."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for path in list_pictures(folder):
                found.setdefault(path.name, path)
        return found

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """The folders that hold images.

        Raises:
            InputError: if there is none.
        """
        children = sorted(child for child in self.root.iterdir() if child.is_dir())
        parts = [child for child in children if child.name.casefold().startswith("images")]
        folders = tuple(subfolder(part, "images") or part for part in parts)
        if not folders:
            raise InputError(
                f"{self.root}: no folder images or images_001; unpack the image archives here"
            )
        return folders

    @cached_property
    def boxes(self) -> Mapping[int, tuple[Box, ...]]:
        """The boxes of each image that has some, in pixels of the 1024 x 1024 original.

        Keys are indices into the table.

        Raises:
            InputError: if the list names an image or a finding that the table does not know.
        """
        path = self.root / BOX_LIST
        header, body = read_csv(path)
        columns = [_box_column(path, header, name) for name in _BOX_COLUMNS]
        position = {file.name: i for i, file in enumerate(self.table.files)}
        known = {canonical_name(name): name for name in CATEGORIES}
        boxes: dict[int, list[Box]] = defaultdict(list)
        for row in body:
            name, label, *numbers = (row.cells[column] for column in columns)
            if name not in position:
                raise InputError(
                    f"{path}, row {row.line}: {name} is not in {self.table.path.name}; "
                    "remove the row, or get both files from one release"
                )
            key = canonical_name(label)
            category = known.get(BOX_SPELLING.get(key, key))
            if category is None:
                raise InputError(
                    f"{path}, row {row.line}: unknown finding {label!r}; known: "
                    f"{', '.join(CATEGORIES)}"
                )
            boxes[position[name]].append(Box(category, *_box_numbers(path, row, numbers)))
        return {row: tuple(found) for row, found in boxes.items()}

    def _mask(self, row: int) -> Mask | None:
        planes = self._category_masks(row)
        return None if planes is None else np.any(planes, axis=0)

    def _category_masks(self, row: int) -> Mask | None:
        boxes = self.boxes.get(row, ())
        if not boxes and not self.table.normal[row]:
            return None
        height, width = read_header(self.table.files[row]).shape
        right, down = width / BOX_SIDE, height / BOX_SIDE
        scaled = [
            Box(box.category, box.x * right, box.y * down, box.width * right, box.height * down)
            for box in boxes
        ]
        return box_masks(scaled, CATEGORIES, (height, width))

    def _read(self) -> LabelTable:
        path = first_there(
            self.root, TABLES, "the label table of the NIH download belongs beside the images"
        )
        elsewhere = self.folders[0]
        table = parse_label_table(
            path, CATEGORIES, lambda name: self.pictures.get(name) or elsewhere / name
        )
        table = replace(table, splits=self._splits(table))
        if lacking := len(table) - sum(file.name in self.pictures for file in table.files):
            note = f"{lacking} of {len(table)} images of {path.name} are not on the disk"
            table = replace(table, notes=(*table.notes, note))
        return table

    def _splits(self, table: LabelTable) -> tuple[str, ...]:
        position = {file.name: i for i, file in enumerate(table.files)}
        splits = [""] * len(table)
        for name, split in ((POOL_LIST, "train"), (TEST_LIST, "test")):
            path = first_there(
                self.root, [name], "the official split of the NIH download belongs here"
            )
            for line, file in read_lines(path):
                row = position.get(file)
                if row is None:
                    raise InputError(
                        f"{path}, row {line}: {file} is not in {table.path.name}; "
                        "remove the line, or get both files from one release"
                    )
                if splits[row] not in ("", split):
                    raise InputError(
                        f"{path}, row {line}: {file} is in {POOL_LIST} too; keep one of them"
                    )
                splits[row] = split
        without = [row for row, split in enumerate(splits) if not split]
        if without:
            raise InputError(
                f"{table.path}, row {table.rows[without[0]]}: "
                f"{table.files[without[0]].name} is neither in {POOL_LIST} nor in {TEST_LIST} "
                f"({len(without)} such images); download the lists again"
            )
        return tuple(splits)


_BOX_COLUMNS = ("imageindex", "findinglabel", "bbox[x", "y", "w", "h]")


def _box_column(path: Path, header: tuple[str, ...], wanted: str) -> int:
    names = [canonical_name(name) for name in header]
    if wanted not in names:
        raise InputError(
            f"{path}: no column for {wanted}; the header must be "
            "'Image Index,Finding Label,Bbox [x,y,w,h]', found: " + ", ".join(header)
        )
    return names.index(wanted)


def _box_numbers(path: Path | os.PathLike[str], row: CsvRow, cells: list[str]) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all() or min(numbers) < 0:
        raise InputError(
            f"{path}, row {row.line}: a box needs x, y, width and height in pixels, "
            f"got {', '.join(cells)}"
        )
    return numbers
