"""OCT-17 (Kermany 2018): retinal OCT, one class an image, the patient in the file name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from sdmad.data.sets.base import DataSet, first_there, list_pictures, subfolder
from sdmad.data.table import LabelTable
from sdmad.errors import InputError

CATEGORIES = ("CNV", "DME", "DRUSEN")
NORMAL = "NORMAL"
SPLITS = ("train", "val", "test")
PLACES = ("", "OCT2017", "OCT2017 ", "CellData/OCT", "OCT")
"""Where the archives of Kaggle and of Mendeley Data put the three folders."""
_NAME = re.compile(r"(CNV|DME|DRUSEN|NORMAL)-(\d+)-\d+", re.IGNORECASE)


class OCT17(DataSet):
    """Kermany's OCT images: ``train``, ``test`` and, in some releases, ``val``.

    Each holds ``CNV/ DME/ DRUSEN/ NORMAL/`` with files ``CNV-<patient>-<number>.jpeg``. ``val``
    belongs to the pool that the support is drawn from.

    Args:
        root: the folder that holds ``train`` and ``test``, or the unpacked archive around it.
    """

    name = "oct17"

    def _read(self) -> LabelTable:
        top = self._top()
        files, splits, classes = [], [], []
        for split in SPLITS:
            folder = subfolder(top, split)
            if folder is None:
                continue
            for name in (*CATEGORIES, NORMAL):
                part = subfolder(folder, name)
                if part is None:
                    raise InputError(
                        f"{folder}: no folder {name}; each of train, test and val holds "
                        f"{', '.join((*CATEGORIES, NORMAL))}. Unpack the archive again"
                    )
                pictures = list_pictures(part)
                files += pictures
                splits += [split] * len(pictures)
                classes += [name] * len(pictures)
        if not files:
            raise InputError(f"{top}: no image in train, test or val; unpack the archive again")
        found = np.array(classes)
        return LabelTable(
            path=top,
            files=tuple(files),
            rows=tuple(range(1, len(files) + 1)),
            labels=np.stack([found == name for name in CATEGORIES], axis=1).astype(np.float64),
            categories=CATEGORIES,
            normal=found == NORMAL,
            patients=tuple(
                oct_patient(file, name) for file, name in zip(files, classes, strict=True)
            ),
            splits=tuple(splits),
        )

    def _top(self) -> Path:
        for place in PLACES:
            if (self.root / place / "train").is_dir():
                return self.root / place
        first_there(self.root, ["train"], "OCT-17 has train/ and test/ with a folder a class")
        raise InputError(f"{self.root}/train: not a folder; unpack the archive again")


def oct_patient(file: str | os.PathLike[str], folder: str) -> str:
    """The patient that Kermany's file name states.

    Args:
        file: such as ``CNV-1016042-1.jpeg``.
        folder: the class whose folder the file lies in.

    Raises:
        InputError: if the name has another form or states another class.

    >>> oct_patient("CNV-1016042-1.jpeg", "CNV")
    '1016042'
    """
    path = Path(file)
    found = _NAME.match(path.name)
    if found is None:
        raise InputError(
            f"{path}: the name is not of the form {folder}-<patient>-<number>; "
            "restore the name of the download or remove the file"
        )
    if found[1].upper() != folder.upper():
        raise InputError(
            f"{path}: lies in {folder} but its name says {found[1]}; "
            "move it back, or unpack the archive again"
        )
    return found[2]
