"""What each table is made on: the real data set, or phantoms that stand in for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sdmad.data.address import file_of, slice_address
from sdmad.data.labels import canonical_name
from sdmad.data.sets.chestxray8 import ChestXray8
from sdmad.data.sets.fastmri_plus import CATEGORIES as BRAIN_CATEGORIES
from sdmad.data.sets.fastmri_plus import SLICES, FastMRIPlus
from sdmad.data.sets.oct17 import OCT17
from sdmad.data.table import LabelTable, read_label_table
from sdmad.errors import InputError
from sdmad.phantoms.cases import load_modality
from sdmad.phantoms.files import write_phantoms
from sdmad.signs import SignBank

PHANTOM = "phantom"
PHANTOM_IMAGES = {"chest": 400, "oct": 240, "brain": 240}
PHANTOM_SEED = 4000
STYLES = {0: "pretraining", 5: "validation", 10: "test"}
"""The styles of the brain phantoms that stand in for the paper's slices."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Material:
    """Images with labels, and the bank that describes their categories.

    Attributes:
        part: of the paper's table: ``"slice 5"``, or empty.
        name: for file names.
        bank: whose categories are the table's.
        table: labels, patients and splits.
        columns: how many of the first categories the paper's tables may have counted.
        populations: which images are judged: ``all``, or ``abnormal`` too.
    """

    part: str
    name: str
    bank: SignBank
    table: LabelTable
    columns: tuple[int, ...]
    populations: tuple[str, ...]


def chest_xrays(data: str, work: Path, say: Say) -> tuple[Material, ...]:
    """ChestX-ray8 with its official split.

    Args:
        data: the data set's folder, or ``phantom``.
        work: where phantoms are kept.
        say: told what is being done.
    """
    if data == PHANTOM:
        return (_phantoms("", "chest", "test", work, say),)
    return (_material("", "chestxray8", SignBank.load("chestxray8"), ChestXray8(data).table),)


def retinas(data: str, work: Path, say: Say) -> tuple[Material, ...]:
    """OCT-17, support from train, evaluation on test; arguments as in :func:`chest_xrays`."""
    if data == PHANTOM:
        return (_phantoms("", "oct", "test", work, say),)
    return (_material("", "oct17", SignBank.load("oct17"), OCT17(data).table),)


def brains(
    data: str, work: Path, say: Say, slices: Sequence[int] = tuple(STYLES)
) -> tuple[Material, ...]:
    """Slices of fastMRI+, or brain phantoms of three styles.

    Small vessel change is a study-level label recorded at slice 0: at the others the sixth column
    is 0 throughout, and the tables are made with and without it.

    Args:
        data: the data set's folder, or ``phantom``.
        work: where phantoms are kept.
        say: told what is being done.
        slices: which of 0, 5 and 10.
    """
    found = []
    for index in slices:
        part = f"slice {index}"
        if data == PHANTOM:
            material = _phantoms(part, "brain", STYLES[index], work, say)
        else:
            table = FastMRIPlus(data, index, "all", BRAIN_CATEGORIES).table
            bank = SignBank.load("fastmri_plus")
            material = _material(part, f"fastmri-plus-slice{index}", bank, table)
        total = len(BRAIN_CATEGORIES)
        columns = (total,) if index == 0 else (total - 1, total)
        found.append(replace(material, columns=columns, populations=("abnormal", "all")))
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
        table = _phantoms("slice 10", "brain", STYLES[10], work, say).table
    else:
        table = FastMRIPlus(data, 0).table
    there = [
        file
        for file, normal in zip(table.files, table.normal, strict=True)
        if normal and file_of(file).is_file()
    ]
    if not there:
        raise InputError(f"{data}: no normal image whose file is there")
    if data == PHANTOM:
        return tuple(there[:SLICES])
    return tuple(slice_address(file_of(there[0]), index) for index in range(SLICES))


def _material(part: str, name: str, bank: SignBank, table: LabelTable) -> Material:
    return Material(part, name, _in_order(bank, table), table, (len(table.categories),), ("all",))


def _in_order(bank: SignBank, table: LabelTable) -> SignBank:
    """The bank with the table's categories, in the table's order."""
    known = {canonical_name(name): signs for name, signs in bank.categories.items()}
    lacking = [name for name in table.categories if canonical_name(name) not in known]
    if lacking:
        raise InputError(f"bank {bank.name!r} has no signs for {', '.join(lacking)}")
    signs = {name: known[canonical_name(name)] for name in table.categories}
    return SignBank(bank.name, bank.modality, bank.normal, signs)


def _phantoms(part: str, modality: str, style: str, work: Path, say: Say) -> Material:
    name = f"{modality}-{style}"
    folder = work / "phantoms" / name
    images = PHANTOM_IMAGES[modality]
    if not (folder / "labels.csv").is_file():
        say(f"drawing {images} phantoms: {modality}, {style} style")
        write_phantoms(load_modality(modality), folder, images, PHANTOM_SEED, style, force=True)
    bank = SignBank.load(modality)
    return _material(part, name, bank, read_label_table(folder / "labels.csv", bank.names))
