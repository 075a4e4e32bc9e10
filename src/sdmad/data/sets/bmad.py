"""BMAD: six sets of normal and abnormal images, three of them with masks."""

from __future__ import annotations

from sdmad.data.sets.folders import SplitFolders


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

    family = "bmad"

    @property
    def folder_names(self) -> tuple[str, ...]:
        """What its folder is called in the wild."""
        mvfa = self.origin.mvfa
        return (self.origin.key, *self.origin.folders, mvfa, f"{mvfa}_AD", f"{mvfa}-AD")
