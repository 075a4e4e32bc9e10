"""Drawing the support set: n images a category and n normal ones, from many patients."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad.choices import DrawOrder
from sdmad.data.table import LabelTable, absolute_path
from sdmad.errors import InputError
from sdmad.inputs import read_json
from sdmad.output import write_json

NORMAL = "normal"
PLENTY = 10
"""Patients a shot from which on a category has plenty: a tenth of them may leave the evaluation."""

FORMAT = "sdmad support set 1"
MAX_SUPPORT = 50_000_000
"""Bytes of a support set."""


@dataclass(frozen=True)
class SupportSet:
    """The images that a detector learns from.

    Attributes:
        indices: rows of the table, ascending.
        served: for each category, and for "normal", the rows that count as its shots.
        shots: images wanted for each category.
        seed: the draw's seed.
        notes: what a user should know, such as a category that ran short.
    """

    indices: tuple[int, ...]
    served: Mapping[str, tuple[int, ...]]
    shots: int
    seed: int
    notes: tuple[str, ...]

    def evaluation(self, table: LabelTable) -> NDArray[np.bool_]:
        """Mark the images to evaluate: the table's evaluation side without the drawn patients.

        Args:
            table: the table that the set was drawn from.

        Returns:
            Boolean mask, shape ``(n,)``.

        Raises:
            InputError: if a row of the table has an unknown split.
        """
        _, evaluation, _ = table.pools()
        keys = table.patient_keys()
        drawn = {keys[i] for i in self.indices}
        return evaluation & np.array([key not in drawn for key in keys], dtype=np.bool_)

    def patients(self, table: LabelTable) -> dict[str, int] | None:
        """How many patients the shots of each category are of; None where patients are unknown.

        Args:
            table: the table that the set was drawn from.
        """
        if table.patients is None or not any(table.patients):
            return None
        keys = table.patient_keys()
        return {name: len({keys[i] for i in rows}) for name, rows in self.served.items()}

    def patients_told(self, table: LabelTable) -> str:
        """What :meth:`patients` counts, in words; empty where patients are unknown."""
        counts = self.patients(table)
        if counts is None:
            return ""
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        return f"patients behind the shots: {said}"


def draw_support(
    table: LabelTable, shots: int, seed: int, order: DrawOrder = "round-robin"
) -> SupportSet:
    """Draw n images of each category and n normal ones.

    Patients are put in a random order, the category with the fewest patients first. Each takes one
    image of each patient before a second of any, wherever patients cost nothing or are plenty: all
    shots of one patient teach little more than that patient. Where the images that are not drawn
    are evaluated and a category has fewer than 10 patients a shot, it takes the images of one
    patient after the other, so that no patient more than needed leaves the evaluation. Only a label
    1 makes an image a shot of a category. An image with several categories counts for each; images
    that would take another category beyond `shots` are used only where no others are left.

    A drawn patient leaves the evaluation. So a patient is passed over when drawing him would
    leave any category, or the normal images, fewer than half (rounded up) of the patients that
    show it on the evaluation side. Patients who are only in the pool (where the table has splits)
    cost nothing and are never passed over. A category that runs short takes what there is, and a
    note says so.

    Args:
        table: the label table; `LabelTable.pools` says what may be drawn and what is evaluated.
        shots: images a category, 1 or more.
        seed: 0 or more. The same table, seed and order give the same draw.
        order: "patient-by-patient" empties one patient before the next always, as sdmad 0.1 did.

    Returns:
        The support set.

    Raises:
        InputError: if shots or seed are out of range, or no category gets a single image.
    """
    for name, value, least in (("shots", shots, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name} must be an integer of at least {least}, got {value!r}")
    draw = _Draw(table, int(shots), int(seed), order)
    for name in sorted(draw.members, key=lambda name: len(draw.patients_in_pool(name))):
        draw.fill(name)
    served = {name: draw.served(name) for name in draw.members}
    if not any(rows for name, rows in served.items() if name != NORMAL):
        raise InputError(
            f"{table.path}: no category has an image that can be drawn; "
            "a category needs a labelled image in the train or val rows, and images of at least "
            "two patients (two images, where patients are unknown) where the same images are drawn "
            "from and evaluated"
        )
    return SupportSet(
        tuple(sorted(draw.chosen)), served, int(shots), int(seed), tuple(draw.notes())
    )


class _Draw:
    """One draw in progress."""

    def __init__(self, table: LabelTable, shots: int, seed: int, order: DrawOrder) -> None:
        self.shots, self.spread = shots, order == "round-robin"
        self.patients_known = table.patients is not None and any(table.patients)
        self.keys = table.patient_keys()
        self.pool, evaluation, self._notes = table.pools()
        self.members: dict[str, NDArray[np.bool_]] = {
            name: table.labels[:, k] == 1 for k, name in enumerate(table.categories)
        }
        self.members[NORMAL] = table.normal
        self.shown_by = {
            name: {self.keys[i] for i in np.flatnonzero(member & evaluation)}
            for name, member in self.members.items()
        }
        self.evaluated = {self.keys[i] for i in np.flatnonzero(evaluation)}
        self.chosen: set[int] = set()
        self.lost: set[str] = set()
        generator = np.random.default_rng(seed)
        patients = list(dict.fromkeys(self.keys))
        rank = {patients[p]: r for r, p in enumerate(generator.permutation(len(patients)))}
        image_rank = generator.permutation(len(self.keys))
        self.order = sorted(
            range(len(self.keys)), key=lambda i: (rank[self.keys[i]], image_rank[i])
        )

    def patients_in_pool(self, name: str) -> set[str]:
        return {self.keys[i] for i in np.flatnonzero(self.members[name] & self.pool)}

    def served(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(i for i in self.chosen if self.members[name][i]))

    def fill(self, name: str) -> None:
        """Choose images until a category has its shots, those that overfill no other first."""
        for overfilling in (False, True):
            for i in self._candidates(name):
                if len(self.served(name)) >= self.shots:
                    return
                if (overfilling or not self._overfills(i)) and self._affordable(self.keys[i]):
                    self.chosen.add(i)
                    self.lost.add(self.keys[i])

    def _candidates(self, name: str) -> Iterator[int]:
        usable = self.members[name] & self.pool
        left = [i for i in self.order if usable[i] and i not in self.chosen]
        if not self._spreads(name):
            return iter(left)
        taken = Counter(self.keys[i] for i in self.served(name))
        turns = []  # how many images of the same patient come before each
        for i in left:
            turns.append(taken[self.keys[i]])
            taken[self.keys[i]] += 1
        return (left[place] for place in np.argsort(turns, kind="stable"))

    def _spreads(self, name: str) -> bool:
        """Whether a category takes one image of each patient before a second of any."""
        free = self.patients_in_pool(name).isdisjoint(self.evaluated)
        return self.spread and (free or len(self.shown_by[name]) >= PLENTY * self.shots)

    def _overfills(self, index: int) -> bool:
        return any(
            member[index] and len(self.served(name)) >= self.shots
            for name, member in self.members.items()
        )

    def _affordable(self, patient: str) -> bool:
        """Whether every category still keeps half of its patients without this one."""
        if patient in self.lost:
            return True
        return all(
            len(shown & self.lost) + 1 <= len(shown) // 2
            for shown in self.shown_by.values()
            if patient in shown
        )

    def _patients(self, name: str) -> set[str]:
        return {self.keys[i] for i in self.served(name)}

    def notes(self) -> list[str]:
        notes = list(self._notes)
        for name, member in self.members.items():
            got, there = len(self.served(name)), int((member & self.pool).sum())
            if got < self.shots:
                whole = "patients" if self.patients_known else "images"
                why = (
                    f"half of its {whole} are kept for the evaluation"
                    if there > got
                    else f"it has {there} in all"
                )
                notes.append(f"{name}: {got} of {self.shots} shots ({why})")
            elif self.patients_known and got > 1 and len(self._patients(name)) == 1:
                notes.append(f"{name}: all {got} shots are of one patient")
            if got > self.shots:
                notes.append(f"{name}: {got} images, for images with several findings count twice")
        return notes


def write_support(path: str | os.PathLike[str], support: SupportSet, table: LabelTable) -> None:
    """Write a draw as JSON, with file names relative to the table's folder.

    The file names make it a document to keep beside a model, not inside.

    Raises:
        SDMADError: if the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "table": table.path.name,
        "shots": support.shots,
        "seed": support.seed,
        "served": {
            name: [_relative(table, i) for i in rows] for name, rows in support.served.items()
        },
        "patients": support.patients(table),
        "notes": list(support.notes),
    }
    write_json(path, content)


def read_support(path: str | os.PathLike[str], table: LabelTable) -> SupportSet:
    """Read a draw that `write_support` wrote, for the same table.

    Raises:
        InputError: if the file is damaged, names an image or a category that the table does not
            have, or an image that the table does not label so.
    """
    content = read_json(Path(path), MAX_SUPPORT)
    if content.get("format") != FORMAT:
        raise InputError(f'{path}: not a support set: it must hold "format": "{FORMAT}"')
    shots, seed, served = (content.get(key) for key in ("shots", "seed", "served"))
    notes = content.get("notes", [])
    if type(shots) is not int or type(seed) is not int or not isinstance(served, dict):
        raise InputError(f"{path}: shots and seed must be integers and served a mapping")
    position = {file: i for i, file in enumerate(table.files)}
    rows = {
        name: tuple(sorted(_row(path, table, position, name, file) for file in _names(path, files)))
        for name, files in served.items()
    }
    indices = tuple(sorted({i for chosen in rows.values() for i in chosen}))
    if not indices:
        raise InputError(f"{path}: names no image")
    return SupportSet(indices, rows, shots, seed, tuple(_names(path, notes)))


def _names(path: str | os.PathLike[str], value: object) -> Sequence[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise InputError(f"{path}: expected a list of names, got {value!r}")


def _relative(table: LabelTable, index: int) -> str:
    file = table.files[index]
    folder = table.folder
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def _row(
    path: str | os.PathLike[str],
    table: LabelTable,
    position: Mapping[Path, int],
    name: str,
    file: str,
) -> int:
    index = position.get(absolute_path(table.folder / file))
    if index is None:
        raise InputError(f"{path}: {file} is not in {table.path}")
    if name != NORMAL and name not in table.categories:
        raise InputError(
            f"{path}: {name!r} is no category of the table ({', '.join(table.categories)})"
        )
    labelled = (
        table.normal[index]
        if name == NORMAL
        else (table.labels[index, table.categories.index(name)] == 1)
    )
    if not labelled:
        raise InputError(
            f"{path}: {file} is not labelled {name} in {table.path}, row {table.rows[index]}"
        )
    return index
