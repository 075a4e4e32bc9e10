"""fastMRI+ (brain): radiologists' boxes on slices of fastMRI's HDF5 volumes."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from sdmad.data.address import file_of, slice_address
from sdmad.data.csvfile import CsvRow, read_csv
from sdmad.data.headers import read_header, volume_patient
from sdmad.data.labels import canonical_name
from sdmad.data.listing import walk
from sdmad.data.sets.base import Box, DataSet, Mask, box_masks, first_there, read_lines
from sdmad.data.table import LabelTable
from sdmad.errors import InputError

SMALL_VESSEL = "Small vessel chronic white matter ischemic change"
CATEGORIES = (
    *("Craniotomy", "Posttreatment change", "Nonspecific lesion", "Dural thickening"),
    *("Enlarged ventricles", SMALL_VESSEL),
)
"""The paper's six; the table calls the last one ``Global label: Small vessel ...``."""

NORMAL_FOR_AGE = "Normal for age"
OTHER_LABELS = (
    *("Absent septum pellucidum", "Colpocephaly", "Craniectomy", "Craniectomy with Cranioplasty"),
    *("Edema", "Encephalomalacia", "Extra-axial collection", "Extra-axial mass"),
    *("Global Ischemia", "Global white matter disease"),
    *("Innumerable bilateral focal brain lesions", "Intraventricular substance"),
    *("Lacunar infarct", "Likely cysts", "Mass", "Motion artifact"),
    *("Nonspecific white matter lesion", NORMAL_FOR_AGE, "Normal variant"),
    *("Paranasal sinus opacification", "Pineal cyst", "Possible artifact"),
    *("Possible demyelinating disease", "Resection cavity"),
)
"""What else the radiologists marked (Annotations/brain.csv of microsoft/fastmri-plus)."""

SLICES = 16
ANNOTATIONS = ("Annotations/brain.csv", "brain.csv")
FILE_LISTS = ("Annotations/brain_file_list.csv", "brain_file_list.csv")
GLOBAL = "globallabel:"
Population = Literal["all", "abnormal"]


@dataclass(frozen=True)
class Annotation:
    """One row of the annotations.

    Attributes:
        line: where it stands in the CSV.
        file: the volume, without ending.
        slice_index: the slice that it belongs to, from 0; 0 for a study-level label.
        stated_slice: the slice that the table states.
        study_level: whether it speaks of the whole study.
        label: the finding.
        box: where it is; None at study level.
    """

    line: int
    file: str
    slice_index: int
    stated_slice: int
    study_level: bool
    label: str
    box: Box | None


class FastMRIPlus(DataSet):
    """One slice of every volume that the radiologists of fastMRI+ reviewed.

    Expected below the root: ``Annotations/brain.csv`` and ``Annotations/brain_file_list.csv`` of
    microsoft/fastmri-plus (or both directly in the root), and the ``*.h5`` volumes of fastMRI
    anywhere, such as in ``multicoil_val/``.

    An image is normal if its volume was reviewed and carries no annotation at the slice, or only
    "Normal for age". One that carries only other findings is 0 for every category and not normal.
    Small vessel change is a study-level label, recorded at slice 0: elsewhere there are five
    categories unless all six are asked for; the sixth is then 0 throughout.

    The boxes were drawn on images flipped upside down against the HDF5 file; `read_image` flips
    likewise, so boxes and masks fit the image as it is read. The patient is the id in the HDF5
    file, or the volume where that lacks. There is no official split.

    Args:
        root: the folder with annotations and volumes.
        slice_index: 0 to 15; the paper uses 0, 5 and 10.
        population: "all" reviewed volumes, or the "abnormal" only: those with at least one of the
            six categories. The latter has no normal image to draw a support set from.
        categories: which of `CATEGORIES`, in which order; None for the slice's own.

    Raises:
        InputError: if an argument is out of range.
    """

    name = "fastmri-plus"

    def __init__(
        self,
        root: str | os.PathLike[str],
        slice_index: int = 0,
        population: Population = "all",
        categories: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(root)
        if not 0 <= slice_index < SLICES:
            raise InputError(f"slice must be 0 to {SLICES - 1}, got {slice_index}")
        if population not in ("all", "abnormal"):
            raise InputError(f"population must be all or abnormal, got {population!r}")
        if categories is not None and not (categories and set(categories) <= set(CATEGORIES)):
            raise InputError(f"categories must be some of {', '.join(CATEGORIES)}")
        self.slice_index = slice_index
        self.population = population
        self.categories = categories or (CATEGORIES if slice_index == 0 else CATEGORIES[:-1])

    @property
    def has_masks(self) -> bool:
        """True: findings that are not of study level have boxes."""
        return True

    @cached_property
    def volumes(self) -> Mapping[str, Path]:
        """Every HDF5 file below the root, by its name without ending; the first of two."""
        found: dict[str, Path] = {}
        for folder, files in walk(self.root):
            for name in files:
                if name.endswith(".h5"):
                    found.setdefault(name.removesuffix(".h5"), folder / name)
        return found

    @cached_property
    def reviewed(self) -> Mapping[str, int]:
        """The reviewed volumes, with the line on which each is listed.

        Raises:
            InputError: if the list is missing.
        """
        path = first_there(
            self.root, FILE_LISTS, "the list of reviewed volumes comes with microsoft/fastmri-plus"
        )
        listed: dict[str, int] = {}
        for line, name in read_lines(path):
            listed.setdefault(name.removesuffix(".h5"), line)
        if not listed:
            raise InputError(f"{path}: empty; download the list again")
        return listed

    @cached_property
    def annotations(self) -> tuple[Annotation, ...]:
        """Every row of ``brain.csv``.

        Raises:
            InputError: if the table is missing, names a volume that is not on the list or a label
                that fastMRI+ does not have, or a number cannot be read.
        """
        path = first_there(
            self.root, ANNOTATIONS, "the annotations come with microsoft/fastmri-plus"
        )
        header, body = read_csv(path)
        names = [canonical_name(name) for name in header]
        lacking = [name for name in _COLUMNS if name not in names]
        if lacking:
            raise InputError(
                f"{path}: no column {', '.join(lacking)}; the header must be "
                f"file,slice,study_level,x,y,width,height,label, found: {', '.join(header)}"
            )
        columns = [names.index(name) for name in _COLUMNS]
        return tuple(
            self._annotation(path, row, [row.cells[column] for column in columns]) for row in body
        )

    def _annotation(self, path: Path, row: CsvRow, cells: list[str]) -> Annotation:
        file, index, study, label, *numbers = cells
        where = f"{path}, row {row.line}"
        file = file.removesuffix(".h5")
        if file not in self.reviewed:
            raise InputError(
                f"{where}: {file} is not in the list of reviewed volumes; "
                "get both files from one release"
            )
        study_level = study.casefold() == "yes"
        if not index.isdigit() or int(index) >= SLICES:
            raise InputError(f"{where}: slice must be 0 to {SLICES - 1}, got {index!r}")
        name = _known_label(where, label)
        box = None if study_level else Box(name, *_numbers(where, numbers))
        stated = int(index)
        belongs = 0 if study_level else stated
        return Annotation(row.line, file, belongs, stated, study_level, name, box)

    @cached_property
    def abnormal(self) -> frozenset[str]:
        """Volumes with at least one of the six categories at the slice."""
        return frozenset(
            note.file
            for note in self.annotations
            if note.slice_index == self.slice_index and note.label in CATEGORIES
        )

    @cached_property
    def boxes(self) -> Mapping[int, tuple[Box, ...]]:
        """The boxes of the table's categories on each image that has some, by index."""
        position = {_volume(file): row for row, file in enumerate(self.table.files)}
        boxes: dict[int, list[Box]] = defaultdict(list)
        for note in self.annotations:
            shown = note.slice_index == self.slice_index and note.label in self.categories
            if shown and note.box is not None and note.file in position:
                boxes[position[note.file]].append(note.box)
        return {row: tuple(found) for row, found in boxes.items()}

    def _mask(self, row: int) -> Mask | None:
        planes = self._category_masks(row)
        return None if planes is None else np.any(planes, axis=0)

    def _category_masks(self, row: int) -> Mask | None:
        boxes = self.boxes.get(row, ())
        if not boxes and not self.table.normal[row]:
            return None
        return box_masks(boxes, self.categories, read_header(self.table.files[row]).shape)

    def _read(self) -> LabelTable:
        found: dict[str, set[str]] = defaultdict(set)
        for note in self.annotations:
            if note.slice_index == self.slice_index:
                found[note.file].add(note.label)
        names = [
            name for name in self.reviewed if self.population == "all" or name in self.abnormal
        ]
        addresses = [
            slice_address(self.volumes.get(name, self.root / f"{name}.h5"), self.slice_index)
            for name in names
        ]
        labels = [[float(c in found[name]) for c in self.categories] for name in names]
        return LabelTable(
            path=first_there(self.root, FILE_LISTS, ""),
            files=tuple(addresses),
            rows=tuple(self.reviewed[name] for name in names),
            labels=np.array(labels, dtype=np.float64).reshape(len(names), len(self.categories)),
            categories=self.categories,
            normal=np.array([found[name] <= {NORMAL_FOR_AGE} for name in names], dtype=np.bool_),
            patients=tuple(
                volume_patient(file_of(file)) or name
                for name, file in zip(names, addresses, strict=True)
            ),
            splits=None,
            notes=self._notes(names),
        )

    def _notes(self, names: list[str]) -> tuple[str, ...]:
        notes = []
        if lacking := sum(name not in self.volumes for name in names):
            notes.append(f"{lacking} of {len(names)} reviewed volumes are not on the disk")
        if SMALL_VESSEL in self.categories and self.slice_index:
            notes.append(
                f"{SMALL_VESSEL}: a study-level label, recorded at slice 0 only; "
                f"0 for every image of slice {self.slice_index}"
            )
        return tuple(notes)


_COLUMNS = ("file", "slice", "studylevel", "label", "x", "y", "width", "height")
_KNOWN = {canonical_name(name).removeprefix(GLOBAL): name for name in (*CATEGORIES, *OTHER_LABELS)}


def _volume(address: Path) -> str:
    return file_of(address).name.removesuffix(".h5")


def _known_label(where: str, label: str) -> str:
    key = canonical_name(label).removeprefix(GLOBAL)
    if key not in _KNOWN:
        close = difflib.get_close_matches(key, _KNOWN, n=1)
        hint = f"did you mean {_KNOWN[close[0]]!r}?" if close else "is this the table of the brain?"
        raise InputError(f"{where}: unknown label {label!r}; {hint}")
    return _KNOWN[key]


def _numbers(where: str, cells: list[str]) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all() or min(numbers[2:]) < 0:
        raise InputError(
            f"{where}: a box needs x, y, width and height in pixels, got {', '.join(cells)}"
        )
    return numbers
