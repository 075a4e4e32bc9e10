"""Miniature data sets: phantoms on disk in the true layout of each public data set.

They stand in for data that may not be passed on, in tests and to try a command before the
download has ended. The categories take turns, so that few images suffice to have each of them on
both sides of the split.
"""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from sdmad.data.hdf5 import KEYS
from sdmad.data.sets.chestxray8 import BOX_LIST, BOX_SIDE, POOL_LIST, TEST_LIST
from sdmad.data.sets.fastmri_plus import NORMAL_FOR_AGE, SLICES, SMALL_VESSEL
from sdmad.data.sets.folders import Origin, find_origin
from sdmad.errors import InputError
from sdmad.phantoms.base import Mask, Modality
from sdmad.phantoms.cases import draw_signs, load_modality, render_case

SIZE = 96
PAPER_SLICES = (0, 5, 10)
CHEST_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
BOXED = {
    **{name: name for name in ("Atelectasis", "Effusion", "Cardiomegaly", "Pneumonia")},
    **{name: name for name in ("Pneumothorax", "Mass", "Nodule")},
    "Infiltration": "Infiltrate",
}
_STYLE = "test"
_TWO_IMAGES = 5


@dataclass(frozen=True)
class TreeCase:
    """One phantom of a tree.

    Attributes:
        image: 8-bit grey, shape ``(size, size)``.
        categories: what it shows; empty for a normal image.
        masks: for each category, where its own signs are.
        patient: number of the patient, from 0.
        pool: whether it belongs to the side that the support is drawn from.
    """

    image: NDArray[np.uint8]
    categories: tuple[str, ...]
    masks: dict[str, Mask]
    patient: int
    pool: bool


def tree_cases(modality: Modality, images: int, seed: int, size: int = SIZE) -> Iterator[TreeCase]:
    """Draw phantoms whose categories take turns.

    A round has one image of each category (every second round with a further category where the
    modality allows several) and a normal image after every third. Rounds belong to the pool
    and to the evaluation in turn; every fifth patient has a second image.

    Args:
        modality: what to draw.
        images: how many, 1 or more.
        seed: 0 or more.
        size: side in pixels, at least 96.

    Raises:
        InputError: if a number is out of range.
    """
    if images < 1 or seed < 0:
        raise InputError(f"images must be at least 1 and seed at least 0, got {images}, {seed}")
    names = sorted(modality.categories)
    turn: list[tuple[str, ...]] = []
    for number, name in enumerate(names, start=1):
        turn += [(name,), ()] if number % 3 == 0 else [(name,)]
    drawn = 0
    for patient in count():
        rng = np.random.default_rng([seed, patient, 17])
        index, place = divmod(patient, len(turn))
        categories = turn[place]
        if modality.multi_label and index % 2 and categories:
            categories = tuple(sorted({*categories, names[(place + 3) % len(names)]}))
        signs, categories = _signs(modality, categories, rng)
        anatomy = int(rng.integers(2**31))
        for _ in range(2 if patient % _TWO_IMAGES == _TWO_IMAGES - 1 else 1):
            if drawn == images:
                return
            drawn += 1
            with threadpool_limits(1):  # the pictures are small
                image, masks = render_case(
                    modality, signs, _STYLE, size, (anatomy, int(rng.integers(2**31)))
                )
            where = {name: _own(modality, name, masks, size) for name in categories}
            yield TreeCase(image, categories, where, patient, index % 2 == 0)


def _signs(
    modality: Modality, categories: tuple[str, ...], rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Signs of the categories; of the first alone where they cannot stand together."""
    try:
        return draw_signs(modality, categories, rng), categories
    except ValueError:
        return draw_signs(modality, categories[:1], rng), categories[:1]


def _own(modality: Modality, name: str, masks: dict[str, Mask], size: int) -> Mask:
    own = [masks[sign] for sign in modality.categories[name].own if sign in masks]
    return np.logical_or.reduce([np.zeros((size, size), dtype=np.bool_), *own])


def write_chestxray8_tree(folder: Path, images: int = 40, seed: int = 0, size: int = SIZE) -> Path:
    """Write chest phantoms as the NIH lays out ChestX-ray8.

    Args:
        folder: where to; made where it lacks.
        images: how many; from 36 every category is on both sides.
        seed: 0 or more.
        size: side in pixels.

    Returns:
        The folder, for `sdmad.data.sets.ChestXray8`.
    """
    follow_up: dict[int, int] = {}
    rows: list[str] = []
    boxes: list[str] = []
    lists: dict[bool, list[str]] = {True: [], False: []}
    for i, case in enumerate(tree_cases(load_modality("chest"), images, seed, size)):
        visit = follow_up.get(case.patient, 0)
        follow_up[case.patient] = visit + 1
        name = f"{case.patient + 1:08d}_{visit:03d}.png"
        part = folder / f"images_{1 + (2 * i) // images:03d}" / "images"
        part.mkdir(parents=True, exist_ok=True)
        Image.fromarray(case.image).save(part / name)
        labels = "|".join(case.categories) or "No Finding"
        rows.append(f"{name},{labels},{visit},{case.patient + 1},57,M,PA,2682,2749,0.143,0.143")
        lists[case.pool].append(name)
        if not case.pool:
            boxes += _chest_boxes(name, case, BOX_SIDE / size)
    _write_lines(folder / "Data_Entry_2017_v2020.csv", [CHEST_HEADER, *rows])
    _write_lines(folder / BOX_LIST, [BOX_HEADER, *boxes])
    _write_lines(folder / POOL_LIST, lists[True])
    _write_lines(folder / TEST_LIST, lists[False])
    return folder


def _chest_boxes(name: str, case: TreeCase, scale: float) -> list[str]:
    lines = []
    for category, mask in case.masks.items():
        if category in BOXED and mask.any():
            x, y, width, height = (scale * edge for edge in _bounds(mask))
            lines.append(f"{name},{BOXED[category]},{x},{y},{width},{height}")
    return lines


def write_oct17_tree(folder: Path, images: int = 32, seed: int = 0, size: int = SIZE) -> Path:
    """Write OCT phantoms as Kermany's archive lays them out, with ``val``.

    The first image of each class in the pool goes to ``val``.

    Args:
        folder: where to.
        images: how many; from 12 every class is in all three folders.
        seed: 0 or more.
        size: side in pixels.

    Returns:
        The folder, for `sdmad.data.sets.OCT17`.
    """
    for split in ("train", "test", "val"):
        for name in ("CNV", "DME", "DRUSEN", "NORMAL"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
    number: dict[int, int] = {}
    in_val: dict[str, int] = {}
    for case in tree_cases(load_modality("oct"), images, seed, size):
        name = case.categories[0].upper() if case.categories else "NORMAL"
        number[case.patient] = number.get(case.patient, 0) + 1
        val = case.pool and in_val.setdefault(name, case.patient) == case.patient
        split = "val" if val else "train" if case.pool else "test"
        file = f"{name}-{1_000_000 + case.patient}-{number[case.patient]}.jpeg"
        Image.fromarray(case.image).save(folder / split / name / file, quality=90)
    return folder


def write_fastmri_plus_tree(
    folder: Path, volumes: int = 24, seed: int = 0, size: int = SIZE
) -> Path:
    """Write brain phantoms as fastMRI volumes with the annotations of fastMRI+.

    Slices 0, 5 and 10 of a volume show its findings; the others repeat the nearest of these.
    Volumes are stored upside down, as fastMRI's are against the annotations. A fifth of the
    volumes carries only another finding ("Mass"), one "Normal for age", and one normal volume is
    not in the table of annotations at all.

    Args:
        folder: where to.
        volumes: how many; from 16 every category has two.
        seed: 0 or more.
        size: side in pixels.

    Returns:
        The folder, for `sdmad.data.sets.FastMRIPlus`.

    Raises:
        InputError: if h5py is not installed.
    """
    import h5py

    (folder / "multicoil_val").mkdir(parents=True, exist_ok=True)
    (folder / "Annotations").mkdir(exist_ok=True)
    cases = {s: tree_cases(load_modality("brain"), volumes, seed + s, size) for s in PAPER_SLICES}
    rows: list[list[object]] = []
    names = []
    for i in range(volumes):
        name = f"file_brain_AXFLAIR_200_{6_000_000 + i}"
        names.append(name)
        shown = {s: next(cases[s]) for s in PAPER_SLICES}
        stack = [shown[min(PAPER_SLICES, key=lambda s: abs(s - k))].image for k in range(SLICES)]
        with h5py.File(folder / "multicoil_val" / f"{name}.h5", "w") as file:
            volume = np.stack(stack).astype(np.float32)[:, ::-1] * np.float32(1e-6)
            file.create_dataset(KEYS[0], data=volume)
            file.attrs["patient_id"] = uuid.UUID(int=seed * 1_000_003 + shown[0].patient).hex
            file.attrs["acquisition"] = "AXFLAIR"
            file.attrs["max"] = float(volume.max())
        rows += _annotations(name, i, shown)
    _write_lines(folder / "Annotations" / "brain_file_list.csv", names)
    with (folder / "Annotations" / "brain.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["file", "slice", "study_level", "x", "y", "width", "height", "label"])
        writer.writerows(rows)
    return folder


def _annotations(name: str, number: int, shown: dict[int, TreeCase]) -> list[list[object]]:
    rows: list[list[object]] = []
    for index, case in shown.items():
        for category, mask in case.masks.items():
            if category == SMALL_VESSEL:
                if index == 0:
                    rows.append([name, 0, "Yes", "", "", "", "", f"Global label: {SMALL_VESSEL}"])
            elif mask.any():
                rows.append([name, index, "No", *_bounds(mask), category])
        if not case.categories and number % 2:
            size = len(case.image)
            rows.append([name, index, "No", size // 4, size // 4, size // 4, size // 4, "Mass"])
    if not shown[0].categories and number % 4 == 0:
        rows.append([name, 0, "Yes", "", "", "", "", NORMAL_FOR_AGE])
    return rows


def write_bmad_tree(
    folder: Path, name: str, images: int = 32, seed: int = 0, size: int = SIZE
) -> Path:
    """Write phantoms as BMAD lays out one of its sets, each set's own way.

    Brain phantoms also stand in for the liver, chest phantoms for the tissue sections.

    Args:
        folder: where to.
        name: the set.
        images: how many.
        seed: 0 or more.
        size: side in pixels.

    Returns:
        The folder, for `sdmad.data.sets.BMAD`.

    Raises:
        InputError: if BMAD has no such set.
    """
    origin = find_origin(name)
    valid = "valid" if origin.key in ("brain", "liver", "camelyon16") else "val"
    abnormal = "ungood" if origin.key in ("liver", "resc") else "Ungood"
    turned = origin.key == "liver"
    normal = 0
    for i, case in enumerate(tree_cases(_modality(origin), images, seed, size)):
        side = abnormal if case.categories else "good"
        if case.pool and not case.categories:
            normal += 1
            if normal % 2 == 0:  # the first normal image goes to valid, the second to train
                _write_picture(folder / "train" / "good", None, origin, i, case)
                continue
        split = folder / (valid if case.pool else "test")
        pictures = split / "img" / side if turned else split / side / "img"
        masks = split / "label" / side if turned else split / side / "label"
        _write_picture(pictures, masks if origin.masks else None, origin, i, case)
    return folder


def write_mvfa_tree(
    folder: Path, name: str, images: int = 32, seed: int = 0, size: int = SIZE
) -> Path:
    """Write phantoms as MVFA arranges a class of BMAD, with few-shot lists.

    The lists go to ``fewshot_seed/<Class>/`` below the folder, for as many shots as there are.

    Args:
        folder: where to.
        name: the class.
        images: how many.
        seed: 0 or more.
        size: side in pixels.

    Returns:
        The folder, for `sdmad.data.sets.MVFA`.

    Raises:
        InputError: if BMAD has no such set.
    """
    origin = find_origin(name)
    top = folder / f"{origin.mvfa}_AD"
    valid: dict[str, list[str]] = {"n": [], "a": []}
    for i, case in enumerate(tree_cases(_modality(origin), images, seed, size)):
        part = top / ("valid" if case.pool else "test") / ("Ungood" if case.categories else "good")
        masks = part / "anomaly_mask" if origin.masks and case.categories else None
        file = _write_picture(part / "img", masks, origin, i, case)
        if case.pool:
            valid["a" if case.categories else "n"].append(file)
    lists = folder / "fewshot_seed" / origin.mvfa
    lists.mkdir(parents=True, exist_ok=True)
    for shots in (2, 4, 8, 16):
        if min(map(len, valid.values())) >= shots:
            lines = [f"{side}-0: {' '.join(files[:shots])}" for side, files in valid.items()]
            (lists / f"{shots}-shot.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _write_picture(
    pictures: Path, masks: Path | None, origin: Origin, number: int, case: TreeCase
) -> str:
    """Write an image, and its mask where it gets one; returns the file name."""
    file = _file_name(origin, number, case)
    pictures.mkdir(parents=True, exist_ok=True)
    Image.fromarray(case.image).save(pictures / file)
    if masks is not None:
        masks.mkdir(parents=True, exist_ok=True)
        nothing = np.zeros(case.image.shape, dtype=np.bool_)
        mask = np.logical_or.reduce([nothing, *case.masks.values()])
        Image.fromarray(mask.astype(np.uint8) * 255).save(masks / file)
    return file


def _file_name(origin: Origin, number: int, case: TreeCase) -> str:
    """A file name of the form that the set's own have."""
    if origin.key == "brain":
        return f"{case.patient:05d}_{60 + number % 40}.png"
    if origin.key in ("liver", "resc"):
        return f"{1 + case.patient}_{number}.png"
    if origin.key == "oct2017":
        return f"{(case.categories or ('normal',))[0].upper()}-{9000 + case.patient}-{number}.jpeg"
    if origin.key == "rsna":
        kind = "Lung_Opacity_" if case.categories else "Normal-"
        return f"{kind}{uuid.UUID(int=number)}.png"
    return f"{1000 + number}.png"


def _modality(origin: Origin) -> Modality:
    names = {"resc": "oct", "oct2017": "oct", "rsna": "chest", "camelyon16": "chest"}
    return load_modality(names.get(origin.key, "brain"))


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """x, y, width and height of what a mask marks."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
