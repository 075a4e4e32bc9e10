"""BMAD's six sets in the arrangement of MVFA, with its few-shot lists."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from sdmad.data.sets.folders import SplitFolders, find_origin, find_top


class MVFA(SplitFolders):
    """One class of BMAD as MVFA arranges it.

    Expected: ``<Class>_AD/{valid,test}/{good,Ungood}/img``, masks in ``Ungood/anomaly_mask``.
    The support comes from ``valid`` (`sdmad.data.mvfa_lists` reads MVFA's few-shot lists), the
    evaluation is on ``test``.

    Args:
        root: the folder that holds ``<Class>_AD``, or that folder.
        name: Brain, Liver, Retina_RESC, Retina_OCT2017, Chest or Histopathology.

    Raises:
        InputError: if there is no such folder or class.
    """

    needed = ("valid", "test")

    def __init__(self, root: str | os.PathLike[str], name: str) -> None:
        super().__init__(root)
        self.origin = find_origin(name)
        self.name = f"mvfa-{self.origin.key}"

    @cached_property
    def top(self) -> Path:
        """The folder with the splits.

        Raises:
            InputError: if neither the root nor a folder in it has them.
        """
        return find_top(self.root, (f"{self.origin.mvfa}_AD",), self.name)
