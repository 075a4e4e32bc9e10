"""Rows without a file, files without a row, files that cannot be read, masks that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sdmad.data.integrity.problems import Problem, Verdict, below, listed, passed
from sdmad.data.integrity.scan import Scan, inspect
from sdmad.data.listing import is_image, walk
from sdmad.data.sets.base import PICTURE_ENDINGS, DataSet, list_pictures
from sdmad.data.sets.chestxray8 import ChestXray8
from sdmad.data.sets.fastmri_plus import FastMRIPlus
from sdmad.data.sets.folders import SplitFolders
from sdmad.data.sets.table_data import MASKS, TableData

MISSING, UNLISTED, UNREADABLE, MASK = "missing files", "unlisted files", "unreadable", "masks"
_NOT_DATA = frozenset({".txt", ".csv", ".md", ".json", ".yaml", ".html", ".pdf"})


def check_missing(scan: Scan) -> Problem:
    """Rows whose file is not there."""
    gone = [row for row, file in enumerate(scan.files) if scan.inspections[file].missing]
    if not gone:
        return passed(MISSING, "every row has its file")
    where = listed(f"{below(scan.files[row], scan.data.root)}" for row in gone)
    what = f"{len(gone)} of {len(scan.files)} images have no file"
    mend = "download or unpack the part that holds them, or remove their rows"
    return Problem(MISSING, Verdict.FAIL, what, where, mend, len(gone))


def check_unreadable(scan: Scan) -> Problem:
    """Files that are empty, cut short or no image, and slices that a volume does not have."""
    root = scan.data.root
    bad = [
        f"{below(file, root)}: {look.error.removeprefix(f'{file}: ')}"
        for file, look in scan.inspections.items()
        if look.error and not look.missing
    ]
    for row, index in enumerate(scan.slices):
        header = scan.header(row)
        if header is not None and index is not None and index >= header.slices:
            bad.append(f"{below(scan.files[row], root)}: {header.slices} slices, no slice {index}")
    if not bad:
        return passed(UNREADABLE, "every header can be read and no PNG or JPEG is cut short")
    what = f"{len(bad)} of {len(scan.inspections)} files cannot be read"
    mend = "copy or download them again"
    return Problem(UNREADABLE, Verdict.FAIL, what, listed(bad), mend, len(bad))


def check_unlisted(scan: Scan) -> Problem:
    """Files that no row of the table names."""
    data = scan.data
    if isinstance(data, FastMRIPlus):
        extra = sum(name not in data.reviewed for name in data.volumes)
        return passed(UNLISTED, f"{extra} volumes here were not reviewed and are left out")
    if isinstance(data, ChestXray8 | TableData):
        known = set(scan.files)
        strays = [path for path in _pictures(data) if path not in known]
        mend = "add rows to the table, or remove the files"
    else:
        strays = list(_odd_files(data))
        mend = "remove them, or finish the download that left them"
    if not strays:
        return passed(UNLISTED, "every image belongs to a row")
    where = listed(below(path, data.root) for path in strays)
    what = f"{len(strays)} files belong to no image of the data set"
    return Problem(UNLISTED, Verdict.WARN, what, where, mend, len(strays))


def _pictures(data: ChestXray8 | TableData) -> Iterator[Path]:
    """Every picture that lies where the data set's images lie."""
    if isinstance(data, ChestXray8):
        for folder in data.folders:
            yield from list_pictures(folder)
        return
    for folder, files in walk(data.root):
        if MASKS not in folder.relative_to(data.root).parts:
            yield from filter(is_image, (folder / name for name in files))


def _odd_files(data: DataSet) -> Iterator[Path]:
    """Files that are no images in the folders that hold the images."""
    for folder in sorted({file.parent for file in data.table.files}):
        for path in sorted(folder.iterdir()):
            usual = path.name.startswith(".") or path.suffix.lower() in _NOT_DATA
            if path.is_file() and not usual and not path.name.lower().endswith(PICTURE_ENDINGS):
                yield path


def check_masks(scan: Scan) -> Problem | None:
    """Abnormal images without a mask, masks without an image or of another size."""
    data = scan.data
    if not isinstance(data, SplitFolders):
        return None
    abnormal = [row for row in range(len(data)) if not data.table.normal[row]]
    if not data.has_masks:
        if not data.origin.masks:
            return None
        what = f"{data.name} has masks, but no folder of masks is here"
        mend = "unpack the masks (label or anomaly_mask beside img)"
        return Problem(MASK, Verdict.FAIL, what, (), mend, len(abnormal))
    masks = {data.mask_file(row): row for row in abnormal}
    there = {path for folder in {mask.parent for mask in masks} for path in list_pictures(folder)}
    wrong = [f"{below(p, data.root)}: missing" for p in masks if p not in there]
    wrong += [f"{below(p, data.root)}: no image of this name" for p in sorted(there - set(masks))]
    wrong += _sizes(scan, [(p, row) for p, row in masks.items() if p in there])
    if not wrong:
        return passed(MASK, f"{len(masks)} abnormal images, each with a mask of its size")
    mend = "unpack images and masks again from one archive"
    what = f"{len(wrong)} masks are missing, belong to no image or have another size"
    return Problem(MASK, Verdict.FAIL, what, listed(wrong), mend, len(wrong))


def _sizes(scan: Scan, masks: Sequence[tuple[Path, int]]) -> Iterator[str]:
    for path, row in masks:
        image, mask = scan.header(row), inspect(path)
        name = below(path, scan.data.root)
        if mask.header is None:
            yield f"{name}: {mask.error.removeprefix(f'{path}: ')}"
        elif image is not None and mask.header.shape != image.shape:
            yield f"{name}: {_size(mask.header.shape)} px, its image {_size(image.shape)}"


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"
