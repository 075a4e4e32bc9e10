"""BMAD's six sets in the arrangement of MVFA, with its few-shot lists."""

from __future__ import annotations

from sdmad.data.sets.folders import SplitFolders


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

    family = "mvfa"
    needed = ("valid", "test")

    @property
    def folder_names(self) -> tuple[str, ...]:
        """What its folder is called."""
        return (f"{self.origin.mvfa}_AD",)
