"""The data sets: one form for all of them, by name."""

from __future__ import annotations

import os

from sdmad.data.sets.base import Box, DataSet
from sdmad.data.sets.bmad import BMAD
from sdmad.data.sets.chestxray8 import ChestXray8
from sdmad.data.sets.fastmri_plus import FastMRIPlus
from sdmad.data.sets.folders import ORIGINS
from sdmad.data.sets.mvfa import MVFA
from sdmad.data.sets.oct17 import OCT17
from sdmad.data.sets.table_data import TableData
from sdmad.errors import InputError

__all__ = [
    "BMAD",
    "DATA_SETS",
    "MVFA",
    "OCT17",
    "Box",
    "ChestXray8",
    "DataSet",
    "FastMRIPlus",
    "TableData",
    "open_data_set",
]

DATA_SETS = (
    *(ChestXray8.name, OCT17.name, FastMRIPlus.name),
    *(f"bmad-{origin.key}" for origin in ORIGINS),
    *(f"mvfa-{origin.key}" for origin in ORIGINS),
    TableData.name,
)
"""The names that `open_data_set` knows."""


def open_data_set(
    name: str, root: str | os.PathLike[str], slice_index: int | None = None
) -> DataSet:
    """Open a data set by its name; nothing but the folder is looked at yet.

    Args:
        name: one of `DATA_SETS`; BMAD's sets and MVFA's classes answer to their other names too,
            such as ``mvfa-Retina_RESC``.
        root: the data set's folder; the label table for "table".
        slice_index: the slice of fastmri-plus, 0 where not given; no other data set has one.

    Raises:
        InputError: if there is no such data set or folder, or a slice where there is none.

    >>> open_data_set("chestxray", ".")
    Traceback (most recent call last):
        ...
    sdmad.errors.InputError: no data set 'chestxray'; did you mean 'chestxray8'?
    """
    name = name.casefold()
    key, _, part = name.partition("-")
    if key == "fastmri":
        if part != "plus":
            raise _unknown(name)
        return FastMRIPlus(root, slice_index or 0)
    if slice_index is not None:
        raise InputError(f"{name} has no slices; only {FastMRIPlus.name} has")
    if part and key in ("bmad", "mvfa"):
        return BMAD(root, part) if key == "bmad" else MVFA(root, part)
    if name == ChestXray8.name:
        return ChestXray8(root)
    if name == OCT17.name:
        return OCT17(root)
    if name == TableData.name:
        return TableData(root)
    raise _unknown(name)


def _unknown(name: str) -> InputError:
    import difflib

    close = difflib.get_close_matches(name, DATA_SETS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(DATA_SETS)}"
    return InputError(f"no data set {name!r}; {hint}")
