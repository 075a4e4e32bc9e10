"""What each table is made on: the real data set, or phantoms that stand in for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sdmad.data.address import file_of, is_file, slice_address
from sdmad.data.labels import canonical_name
from sdmad.data.sets.base import DataSet
from sdmad.data.sets.chestxray8 import ChestXray8
from sdmad.data.sets.fastmri_plus import CATEGORIES as BRAIN_CATEGORIES
from sdmad.data.sets.fastmri_plus import SLICES, FastMRIPlus
from sdmad.data.sets.oct17 import OCT17
from sdmad.errors import InputError
from sdmad.signs import SignBank
from sdmad.studies.material import Material, Say, phantom_data

PHANTOM = "phantom"
PHANTOM_IMAGES = {"chest": 400, "oct": 240, "brain": 240}
PHANTOM_SEED = 4000
STYLES = {0: "pretraining", 5: "validation", 10: "test"}
"""The styles of the brain phantoms that stand in for the paper's slices."""


@dataclass(frozen=True)
class TablePart:
    """One part of a table of the paper: on what it is made, and how it is judged.

    Attributes:
        part: of the paper's table: ``"slice 5"``, or empty.
        name: for file names.
        material: images, and the bank with the data set's categories in its order.
        columns: how many of the first categories the paper's tables may have counted.
        populations: which images are judged: ``all``, or ``abnormal`` too.
    """

    part: str
    name: str
    material: Material
    columns: tuple[int, ...]
    populations: tuple[str, ...]


Parts = Callable[[str, Path, Say], tuple[TablePart, ...]]
"""Reads a data set's folder, or ``phantom``; phantoms are kept in the second folder."""


def chest_xrays(data: str, work: Path, say: Say) -> tuple[TablePart, ...]:
    """ChestX-ray8 with its official split.

    Args:
        data: the data set's folder, or ``phantom``.
        work: where phantoms are kept.
        say: told what is being done.
    """
    if data == PHANTOM:
        return (_phantoms("", "chest", "test", work, say),)
    return (_part("", "chestxray8", SignBank.load("chestxray8"), ChestXray8(data)),)


def retinas(data: str, work: Path, say: Say) -> tuple[TablePart, ...]:
    """OCT-17, support from train, evaluation on test; arguments as in :func:`chest_xrays`."""
    if data == PHANTOM:
        return (_phantoms("", "oct", "test", work, say),)
    return (_part("", "oct17", SignBank.load("oct17"), OCT17(data)),)


def brains(
    data: str, work: Path, say: Say, slices: Sequence[int] = tuple(STYLES)
) -> tuple[TablePart, ...]:
    """Slices of fastMRI+, or brain phantoms of three styles.

    Small vessel change is a study-level label recorded at slice 0: at the others the sixth column
    is 0 throughout, and the tables are made with and without it.

    Args:
        data: the data set's folder, or ``phantom``.
        work: where phantoms are kept.
        say: told what is being done.
        slices: which of 0, 5 and 10.
    """
    found: list[TablePart] = []
    for index in slices:
        part = f"slice {index}"
        if data == PHANTOM:
            found.append(_phantoms(part, "brain", STYLES[index], work, say))
        else:
            slices_of = FastMRIPlus(data, index, "all", BRAIN_CATEGORIES)
            name, bank = f"fastmri-plus-slice{index}", SignBank.load("fastmri_plus")
            found.append(_part(part, name, bank, slices_of))
        total = len(BRAIN_CATEGORIES)
        columns = (total,) if index == 0 else (total - 1, total)
        found[-1] = replace(found[-1], columns=columns, populations=("abnormal", "all"))
    return tuple(found)


def volume_slices(data: str, work: Path, say: Say) -> tuple[Path, ...]:
    """The sixteen slices of the first normal volume; of phantoms, sixteen normal images.

    Args:
        data: the data set's folder, or ``phantom``.
        work: where phantoms are kept.
        say: told what is being done.

    Raises:
        InputError: if there is no normal image, or none whose file is there.
    """
    if data == PHANTOM:
        table = _phantoms("slice 10", "brain", STYLES[10], work, say).material.table
    else:
        table = FastMRIPlus(data, 0).table
    there = [
        file
        for file, normal in zip(table.files, table.normal, strict=True)
        if normal and is_file(file_of(file))
    ]
    if not there:
        raise InputError(f"{data}: no normal image whose file is there")
    if data == PHANTOM:
        return tuple(there[:SLICES])
    return tuple(slice_address(file_of(there[0]), index) for index in range(SLICES))


def _part(part: str, name: str, bank: SignBank, data: DataSet) -> TablePart:
    material = Material(data, _in_order(bank, data.table.categories))
    return TablePart(part, name, material, (len(data.table.categories),), ("all",))


def _in_order(bank: SignBank, categories: Sequence[str]) -> SignBank:
    """The bank with a data set's categories, in its order."""
    known = {canonical_name(name): signs for name, signs in bank.categories.items()}
    lacking = [name for name in categories if canonical_name(name) not in known]
    if lacking:
        raise InputError(f"bank {bank.name!r} has no signs for {', '.join(lacking)}")
    signs = {name: known[canonical_name(name)] for name in categories}
    return SignBank(bank.name, bank.modality, bank.normal, signs)


def _phantoms(part: str, modality: str, style: str, work: Path, say: Say) -> TablePart:
    data = phantom_data(modality, work, PHANTOM_IMAGES[modality], PHANTOM_SEED, style, say)
    return _part(part, f"{modality}-{style}", SignBank.load(modality), data)
