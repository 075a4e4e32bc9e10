"""What every data set gives: a label table, images read on demand, masks where there are any."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdmad.data import decoders
from sdmad.data.address import file_of, is_file
from sdmad.data.headers import read_header
from sdmad.data.images import read_image
from sdmad.data.table import LabelTable, absolute_path
from sdmad.errors import InputError
from sdmad.inputs import read_text

Mask = NDArray[np.bool_]
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""File-name endings (lower case) of the images in the data sets' folders."""


MAX_LIST = 1 << 26
"""Bytes of a list of names."""


@dataclass(frozen=True)
class Box:
    """A finding's box, in pixels of the image as `read_image` gives it.

    Attributes:
        category: the finding, as the data set's table calls it.
        x: left edge, from the image's left.
        y: upper edge, from the image's top.
        width: to the right.
        height: downwards.
    """

    category: str
    x: float
    y: float
    width: float
    height: float


class DataSet(ABC):
    """A data set as it lies on the disk; nothing is read before it is asked for.

    Args:
        root: the data set's folder.

    Attributes:
        name: the name that `open_data_set` knows.
        root: absolute path of the folder.

    Raises:
        InputError: if there is no such folder.
    """

    name: str

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = absolute_path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; give the folder of the data set")

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def table(self) -> LabelTable:
        """Categories, labels, patients and official split of every image.

        Raises:
            InputError: if a table, a list or a folder is missing or contradicts another.
        """
        table = self._read()
        if not any(is_file(file_of(file)) for file in table.files):
            raise InputError(
                f"{table.path}: none of its {len(table)} images is there; "
                f"looked for {table.files[0]}"
            )
        return table

    @property
    def has_masks(self) -> bool:
        """Whether the data set says of some image where its anomaly is."""
        return False

    def image(self, row: int) -> Image.Image:
        """Read one image.

        Args:
            row: index into the table.

        Raises:
            ImageError: if it cannot be read.
        """
        return read_image(self.table.files[row])

    def mask(self, row: int) -> Mask | None:
        """Say where the anomalies of one image are.

        Args:
            row: index into the table.

        Returns:
            Boolean array of the image's shape ``(H, W)``, true where an anomaly of the table's
            categories is; all false for a normal image. None where the data set does not say.

        Raises:
            InputError: if the mask is missing, damaged or of another size than its image.
        """
        if not self.has_masks:
            return None
        return self._mask(row)

    def category_masks(self, row: int) -> Mask | None:
        """Say where each category of one image is.

        Args:
            row: index into the table.

        Returns:
            Boolean ``(K, H, W)``, a plane a category of the table, all false for one that the image
            does not show or whose place nobody knows; its union is :meth:`mask`. None where the
            data set does not tell the categories apart.

        Raises:
            InputError: as :meth:`mask`.
        """
        if not self.has_masks:
            return None
        return self._category_masks(row)

    @abstractmethod
    def _read(self) -> LabelTable:
        """Read the tables and folders."""

    def _mask(self, row: int) -> Mask | None:
        """Read a mask, of a data set that has some."""
        raise NotImplementedError(f"{self.name}, row {row}")

    def _category_masks(self, row: int) -> Mask | None:
        """Read the masks of the categories, of a data set that has masks; None: not told apart."""
        del row
        return None


def box_mask(boxes: Iterable[Box], shape: tuple[int, int]) -> Mask:
    """Fill boxes, every pixel that one touches.

    Args:
        boxes: in pixels; what lies outside the image is cut off.
        shape: the image's ``(H, W)``.

    >>> box_mask([Box("Mass", 1, 0, 1.5, 1)], (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    mask = np.zeros(shape, dtype=np.bool_)
    for box in boxes:
        top, left = (max(0, int(np.floor(edge))) for edge in (box.y, box.x))
        bottom, right = (
            max(0, int(np.ceil(edge))) for edge in (box.y + box.height, box.x + box.width)
        )
        mask[top:bottom, left:right] = True
    return mask


def box_masks(boxes: Iterable[Box], categories: Sequence[str], shape: tuple[int, int]) -> Mask:
    """Fill boxes, a plane a category, ``(K, H, W)``.

    Args:
        boxes: in pixels, of these categories.
        categories: K names.
        shape: the image's ``(H, W)``.
    """
    boxes = tuple(boxes)
    return np.stack(
        [box_mask((box for box in boxes if box.category == name), shape) for name in categories]
    )


def read_mask(path: Path, shape: tuple[int, int]) -> Mask:
    """Read a mask image (`sdmad.data.masks`): every value but 0 is set.

    Args:
        path: the mask.
        shape: ``(H, W)`` of the image that it belongs to.

    Raises:
        InputError: if the mask is missing, damaged, of another size or can be understood in two
            ways.
    """
    header = read_header(path)
    if header.shape != shape:
        raise InputError(
            f"{path}: the mask has {header.shape[1]} x {header.shape[0]} pixels, its image "
            f"{shape[1]} x {shape[0]}; unpack the data set again"
        )
    return np.asarray(decoders.ask_for_pixels("mask", path), dtype=np.bool_)


def first_there(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of some files or folders that exists.

    Raises:
        InputError: if none does; says what was expected where.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    expected = " or ".join(names)
    raise InputError(f"{root}: no {expected} here; {what}")


def list_pictures(folder: Path) -> list[Path]:
    """Image files that lie directly in a folder, hidden ones left out, sorted by name."""
    return [
        Path(entry.path)
        for entry in sorted(_entries(folder), key=lambda entry: entry.name)
        if not entry.name.startswith(".")
        and entry.name.lower().endswith(PICTURE_ENDINGS)
        and entry.is_file()
    ]


def subfolder(folder: Path, name: str) -> Path | None:
    """A folder inside another, whatever the case of its letters; None where there is none."""
    wanted = name.casefold()
    found = sorted(
        entry.name
        for entry in _entries(folder)
        if entry.name.strip().casefold() == wanted and entry.is_dir()
    )
    return folder / found[0] if found else None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that hold something, with their numbers from 1.

    Raises:
        InputError: if the file cannot be read or is no UTF-8 text.
    """
    text = read_text(path, MAX_LIST)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(f"{folder}: cannot list this folder ({error.strerror})") from error
