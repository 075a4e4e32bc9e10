"""BMAD: six sets of normal and abnormal images, three of them with masks."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from sdmad.data.sets.folders import SplitFolders, find_origin, find_top


class BMAD(SplitFolders):
    """One set of BMAD.

    Expected: ``train/good``, ``valid/{good,Ungood}`` and ``test/{good,Ungood}`` with images, or
    with ``img/`` and, for abnormal ones, ``label/``; in the liver's archive
    ``valid/img/{good,Ungood}`` and ``valid/label/Ungood``. ``val`` may stand for ``valid``, and
    ``ungood`` for ``Ungood``.

    Args:
        root: the set's folder, or a folder that holds it, such as that of the unpacked archives
            (``Brain_AD/BraTS2021_slice``).
        name: brain, liver, resc, oct2017, rsna or camelyon16 (also brats2021, chest,
            histopathology).

    Raises:
        InputError: if there is no such folder or set.
    """

    def __init__(self, root: str | os.PathLike[str], name: str) -> None:
        super().__init__(root)
        self.origin = find_origin(name)
        self.name = f"bmad-{self.origin.key}"

    @cached_property
    def top(self) -> Path:
        """The folder with the splits.

        Raises:
            InputError: if neither the root nor a folder in it has them.
        """
        mvfa = self.origin.mvfa
        names = (self.origin.key, *self.origin.folders, mvfa, f"{mvfa}_AD", f"{mvfa}-AD")
        return find_top(self.root, names, self.name)
