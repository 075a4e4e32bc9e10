"""Folder trees of normal and abnormal images: what BMAD and MVFA's arrangement share."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from sdmad.data.headers import read_header
from sdmad.data.labels import canonical_name
from sdmad.data.sets.base import DataSet, Mask, list_pictures, read_mask, subfolder
from sdmad.data.table import LabelTable
from sdmad.errors import InputError

ABNORMAL = "abnormal"
SIDES = ("good", "Ungood")
SPLIT_FOLDERS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
MASK_FOLDERS = ("label", "anomaly_mask")
_MOST_NESTED = 4


@dataclass(frozen=True)
class Origin:
    """One of BMAD's six sets.

    Attributes:
        key: the short name here.
        folders: what its folder is called in the wild, in BMAD's releases and code.
        mvfa: the class in MVFA's arrangement.
        masks: whether the set was published with masks.
        patient: takes a file name without ending to its patient, "" for one that does not tell;
            None where none does.
        anew: whether every split numbers its patients from 1.
    """

    key: str
    folders: tuple[str, ...]
    mvfa: str
    masks: bool
    patient: Callable[[str], str] | None = None
    anew: bool = False


def first_number(stem: str) -> str:
    """The patient of names like ``00124_60`` (BraTS case and slice).

    >>> first_number("00124_60")
    '00124'
    """
    return stem.split("_")[0]


def second_number(stem: str) -> str:
    """The patient of names like ``CNV-6294785-1`` (Kermany); "" for other names.

    >>> second_number("CNV-6294785-1")
    '6294785'
    """
    parts = stem.split("-")
    return parts[1] if len(parts) == 3 else ""


def volume_number(stem: str) -> str:
    """The volume of names like ``4_487`` (volume and slice); "" for other names.

    >>> volume_number("4_487"), volume_number("487")
    ('4', '')
    """
    found = re.fullmatch(r"(\d+)_\d+", stem)
    return found[1] if found else ""


ORIGINS = (
    Origin("brain", ("brats2021", "BraTS2021_slice"), "Brain", True, first_number),
    Origin("liver", ("hist_DIY",), "Liver", True, volume_number, anew=True),
    Origin("resc", ("RESC_average",), "Retina_RESC", True, volume_number, anew=True),
    Origin("oct2017", (), "Retina_OCT2017", False, second_number),
    Origin("rsna", ("chest", "Chest-RSNA", "Chest_RSNA"), "Chest", False),
    Origin("camelyon16", ("camelyon16_256", "histopathology"), "Histopathology", False),
)
"""Slices of one number in a split of Liver or RESC, good and Ungood ones, are of one volume. RSNA's
and Camelyon's names tell no patient: the one's images come from ChestX-ray14, whose patients have
several, the other's are patches of slides."""


def find_origin(name: str) -> Origin:
    """One of the six sets by any of its names.

    Raises:
        InputError: if there is no such set.

    >>> find_origin("Histopathology").key
    'camelyon16'
    """
    wanted = canonical_name(name)
    for origin in ORIGINS:
        if wanted in map(canonical_name, (origin.key, *origin.folders, origin.mvfa)):
            return origin
    raise InputError(f"BMAD has no set {name!r}; it has {', '.join(o.key for o in ORIGINS)}")


def find_top(root: Path, names: tuple[str, ...], data_set: str) -> Path:
    """The folder with the splits: the root itself, or one of some folders nested in it.

    Raises:
        InputError: if neither is so.
    """
    level = [root]
    for _ in range(_MOST_NESTED):
        for folder in level:
            if subfolder(folder, "test") is not None:
                return folder
        level = [
            inside
            for folder in level
            for name in (*names, "train")
            if (inside := subfolder(folder, name)) is not None
        ]
    splits = ", ".join(" or ".join(names) for names in SPLIT_FOLDERS.values())
    raise InputError(
        f"{root}: neither this folder nor {' or '.join(names)} in it holds the folders {splits} "
        f"with {' and '.join(SIDES)} of {data_set}"
    )


class SplitFolders(DataSet):
    """Images under ``<split>/<good or Ungood>``, with or without masks.

    The images lie directly there or in ``img/``, the masks in ``label/`` or ``anomaly_mask/``
    beside it under the image's name; or side and kind change places, as in BMAD's liver:
    ``<split>/img/<side>`` and ``<split>/label/<side>``. One category, "abnormal".
    """

    family: ClassVar[str]
    needed: tuple[str, ...] = ("train", "valid", "test")

    def __init__(self, root: str | os.PathLike[str], name: str) -> None:
        super().__init__(root)
        self.origin = find_origin(name)
        self.name = f"{self.family}-{self.origin.key}"

    @property
    @abstractmethod
    def folder_names(self) -> tuple[str, ...]:
        """What the folder with the splits may be called."""

    @cached_property
    def top(self) -> Path:
        """The folder with the splits.

        Raises:
            InputError: if neither the root nor a folder in it has them.
        """
        return find_top(self.root, self.folder_names, self.name)

    @property
    def has_masks(self) -> bool:
        """Whether a folder of masks belongs to the abnormal images."""
        return bool(self.mask_folders)

    @cached_property
    def mask_folders(self) -> Mapping[Path, Path]:
        """The folder of masks of each folder of abnormal images that has one."""
        found: dict[Path, Path] = {}
        for split in self._splits().values():
            images, masks = _side(split, SIDES[1])
            if images is not None and masks is not None:
                found[images] = masks
        return found

    def mask_file(self, row: int) -> Path:
        """Where the mask of an abnormal image belongs.

        Args:
            row: index into the table.
        """
        file = self.table.files[row]
        beside = file.parent.parent / MASK_FOLDERS[0]
        return self.mask_folders.get(file.parent, beside) / file.name

    def _splits(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for split, names in SPLIT_FOLDERS.items():
            for name in names:
                folder = subfolder(self.top, name)
                if folder is not None:
                    found.setdefault(split, folder)
        return found

    def _read(self) -> LabelTable:
        splits = self._splits()
        for split in self.needed:
            if split not in splits:
                raise InputError(
                    f"{self.top}: no folder {' or '.join(SPLIT_FOLDERS[split])}; "
                    f"{self.name} has {', '.join(self.needed)}. Unpack the archive again"
                )
        files: list[Path] = []
        marks: list[tuple[str, bool]] = []
        for split, folder in splits.items():
            for side in SIDES:
                images, _ = _side(folder, side)
                if images is None:
                    if split == "train" and side == SIDES[1]:
                        continue
                    raise InputError(f"{folder}: no folder {side}; unpack the archive again")
                pictures = list_pictures(images)
                files += pictures
                marks += [(split, side == SIDES[1])] * len(pictures)
        if not files:
            raise InputError(f"{self.top}: no image in {', '.join(splits)}")
        abnormal = np.array([mark for _, mark in marks], dtype=np.bool_)
        return LabelTable(
            path=self.top,
            files=tuple(files),
            rows=tuple(range(1, len(files) + 1)),
            labels=abnormal[:, None].astype(np.float64),
            categories=(ABNORMAL,),
            normal=~abnormal,
            patients=self._patients(files, [split for split, _ in marks]),
            splits=tuple(split for split, _ in marks),
        )

    def _patients(self, files: Sequence[Path], splits: Sequence[str]) -> tuple[str, ...] | None:
        if self.origin.patient is None:
            return None
        found = [self.origin.patient(file.stem) for file in files]
        if self.origin.anew:
            found = [who and f"{split} {who}" for who, split in zip(found, splits, strict=True)]
        return tuple(found)

    def _mask(self, row: int) -> Mask | None:
        file = self.table.files[row]
        shape = read_header(file).shape
        if self.table.normal[row]:
            return np.zeros(shape, dtype=np.bool_)
        return read_mask(self.mask_file(row), shape)


def _side(split: Path, side: str) -> tuple[Path | None, Path | None]:
    """The folder of one side's images and that of its masks, either way round."""
    part = subfolder(split, side)
    if part is not None:
        masks = (subfolder(part, name) for name in MASK_FOLDERS)
        return subfolder(part, "img") or part, next(filter(None, masks), None)
    images, labels = subfolder(split, "img"), subfolder(split, MASK_FOLDERS[0])
    if images is None:
        return None, None
    return subfolder(images, side), None if labels is None else subfolder(labels, side)
