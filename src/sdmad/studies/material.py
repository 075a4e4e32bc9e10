"""What studies are made on: a data set with its bank, the auxiliary set, phantoms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sdmad.baselines.registry import Auxiliary
from sdmad.data.address import file_of, is_file
from sdmad.data.sets import open_data_set
from sdmad.data.sets.base import DataSet, Mask
from sdmad.data.table import LabelTable
from sdmad.errors import InputError
from sdmad.phantoms.cases import MODALITIES, STUDIED, draw_cases, load_modality
from sdmad.phantoms.files import PhantomData, write_phantoms
from sdmad.signs import SignBank

Say = Callable[[str], None]
PHANTOM_SEED, AUXILIARY_SEED = 6000, 7000
PHANTOM_IMAGES, AUXILIARY_IMAGES = 300, 150
BANKS = {
    "chestxray8": "chestxray8",
    "oct17": "oct17",
    "fastmri-plus": "fastmri_plus",
    "brain": "bmad_brain",
    "liver": "bmad_liver",
    "resc": "bmad_resc",
    "rsna": "bmad_chest",
    "camelyon16": "bmad_histopathology",
    "oct2017": "bmad_oct2017",
}
"""The bank of each data set; of BMAD and MVFA by the set's own name."""

ANATOMY = {"chest": ("chest", "rsna"), "oct": ("oct", "resc"), "brain": ("fastmri", "brain")}
"""Words in a data set's name that tell which phantoms show the same anatomy."""


@dataclass(frozen=True)
class Material:
    """A data set and the bank that describes its categories.

    Attributes:
        data: images, labels and masks.
        bank: whose categories are the columns, in the bank's order.
        images: how many images of each other modality the auxiliary set has.
    """

    data: DataSet
    bank: SignBank
    images: int = AUXILIARY_IMAGES

    @cached_property
    def table(self) -> LabelTable:
        """The data set's table with the bank's categories in the bank's order."""
        return self.data.table.ordered(self.bank.names)

    def mask(self, row: int) -> Mask | None:
        """Where one image is abnormal, as :meth:`.Detector.fit` takes it.

        Args:
            row: index into the table.

        Returns:
            Boolean ``(K, H, W)`` in the bank's order where the data set tells the categories apart,
            else ``(H, W)``; None where it says nothing.
        """
        planes = self.data.category_masks(row)
        if planes is None:
            return self.data.mask(row)
        return planes[self.data.table.columns(self.bank.names)]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of labels, splits, patients, and of the images' names and sizes, 64 hex digits.

        The images' content is left out: to read a large set takes hours.
        """
        found = hashlib.sha256(self.table.digest().encode() + self.table.normal.tobytes())
        files = (file_of(file) for file in self.table.files)
        sizes = [file.stat().st_size if is_file(file) else None for file in files]
        found.update(repr(sizes).encode())
        return found.hexdigest()

    @property
    def modality(self) -> str:
        """The phantom modality that shows the same anatomy; empty where none does."""
        name = self.data.name
        found = [m for m, words in ANATOMY.items() if any(word in name for word in words)]
        return next((m for m in MODALITIES if name == f"phantom-{m}"), next(iter(found), ""))

    @cached_property
    def auxiliary(self) -> Auxiliary:
        """Phantoms of the other studied modalities, with masks."""
        others = [name for name in STUDIED if name != self.modality]
        drawn = [
            (load_modality(name).title, case)
            for name in others
            for case in draw_cases(load_modality(name), self.images, AUXILIARY_SEED, "pretraining")
        ]
        titles, cases = zip(*drawn, strict=True)
        masks = []
        for case in cases:
            mask = np.zeros(case.image.shape[:2], dtype=np.bool_)
            for one in case.masks.values():
                mask |= one
            masks.append(mask)
        return Auxiliary(
            tuple(case.image for case in cases),
            np.array([bool(case.categories) for case in cases]),
            tuple(masks),
            tuple(titles),
        )


def open_material(
    name: str,
    root: Path | None,
    bank: str | None,
    work: Path,
    say: Say,
    images: int = PHANTOM_IMAGES,
) -> Material:
    """Open what ``--data`` names.

    Args:
        name: ``phantom-`` and a phantom modality, or what
            :func:`~sdmad.data.sets.open_data_set` knows.
        root: the data set's folder; not for phantoms.
        bank: a bank instead of the data set's own.
        work: where phantoms are kept.
        say: told what is being done.
        images: how many phantoms.

    Raises:
        InputError: if there is no such data set or bank, or the root is missing.
    """
    kind, _, part = name.partition("-")
    if kind == "phantom":
        phantoms = phantom_data(part, work, images, PHANTOM_SEED, "test", say)
        return Material(phantoms, SignBank.load(bank or part))
    if root is None:
        raise InputError(f"--data {name} needs --root, the data set's folder")
    data = open_data_set(name, root)
    own = BANKS.get(data.name) or BANKS.get(data.name.partition("-")[2])
    if bank is None and own is None:
        raise InputError(f"--data {name} needs --signs, a bank with its categories")
    return Material(data, SignBank.load(bank or own or ""))


def phantom_data(
    name: str, work: Path, images: int, seed: int, style: str, say: Say
) -> PhantomData:
    """Phantoms of a modality, drawn unless they are there.

    Args:
        name: a phantom modality.
        work: where phantoms are kept, in a folder named after all that they depend on.
        images: how many.
        seed: of what is drawn.
        style: of the acquisition.
        say: told when they are drawn.

    Raises:
        InputError: if there is no such modality or style.
        SDMADError: if they cannot be written.
    """
    modality = load_modality(name)
    folder = work / "phantoms" / f"{name}-{style}-{images}-{seed}"
    if not (folder / "labels.csv").is_file():
        say(f"drawing {images} phantoms of {modality.title}, {style} style")
        write_phantoms(modality, folder, images, seed, style, force=True)
    return PhantomData(folder, modality)
