"""What can go wrong with fastMRI+: flipped boxes, study-level labels, volumes without a finding."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from sdmad.data.address import slice_address
from sdmad.data.headers import Header
from sdmad.data.images import read_image
from sdmad.data.integrity.problems import Problem, Verdict, listed, passed
from sdmad.data.integrity.scan import Scan
from sdmad.data.plane import ImageError
from sdmad.data.sets.base import Box, box_mask
from sdmad.data.sets.fastmri_plus import SLICES, Annotation, FastMRIPlus
from sdmad.progress import track

FLIPPED, OUTSIDE, STUDY = "flipped boxes", "boxes outside", "study-level labels"
REVIEWED, DEPTH = "reviewed without finding", "slices"
MOST_PICTURES = 300
"""Slices that are decoded to look at the boxes' orientation, spread over all volumes."""

FEWEST_VOLUMES = 8
SIGNIFICANT = 0.01


def check_fastmri(scan: Scan, data: FastMRIPlus) -> tuple[Problem, ...]:
    """All checks of fastMRI+ beyond those of every data set."""
    headers = {
        name: look.header
        for name, path in data.volumes.items()
        if (look := scan.inspections.get(path)) is not None and look.header is not None
    }
    return (
        check_orientation(data, headers),
        check_inside(data, headers),
        check_study_level(data),
        check_reviewed(data),
        check_depth(data, headers),
    )


def check_orientation(data: FastMRIPlus, headers: dict[str, Header]) -> Problem:
    """Whether the boxes fit the images as they are read, or their mirror images.

    A finding differs from what surrounds it. For each volume the contrast of its boxes with a
    narrow rim around them is compared with that of the same boxes in the images turned upside
    down; a sign test over volumes decides.
    """
    pictures = _boxed(data, headers)
    step = max(1, -(-len(pictures) // MOST_PICTURES))
    differences: dict[str, list[float]] = defaultdict(list)
    for name, index, boxes in track(pictures[::step], "looking at boxes"):
        try:
            image = read_image(slice_address(data.volumes[name], index), "full")
        except ImageError:
            continue  # the check of unreadable files names it
        shown = np.asarray(image.convert("L"), dtype=np.float64)
        for box in boxes:
            differences[name].append(_contrast(shown, box) - _contrast(shown[::-1], box))
    signs = np.sign([np.mean(values) for values in differences.values()])
    return _orientation(int((signs > 0).sum()), int((signs < 0).sum()))


def _contrast(image: NDArray[np.float64], box: Box) -> float:
    """Difference of the mean inside a box and on a rim around it, without its sign."""
    height, width = image.shape
    rim = max(2, height // 32)
    wide = Box("", box.x - rim, box.y - rim, box.width + 2 * rim, box.height + 2 * rim)
    inside = box_mask([box], (height, width))
    around = box_mask([wide], (height, width)) & ~inside
    if not inside.any() or not around.any():
        return 0.0
    return abs(float(image[inside].mean() - image[around].mean()))


def _orientation(fitting: int, mirrored: int) -> Problem:
    from scipy.stats import binomtest

    volumes = fitting + mirrored
    what = f"{fitting} of {volumes} volumes stand out more in their boxes than in mirrored"
    if volumes < FEWEST_VOLUMES:
        return passed(FLIPPED, f"{volumes} volumes with boxes; too few to judge")
    sure = binomtest(fitting, volumes).pvalue < SIGNIFICANT
    if sure and fitting > mirrored:
        return passed(FLIPPED, f"{what} ones: boxes and images agree")
    if sure:
        return Problem(
            FLIPPED,
            Verdict.FAIL,
            f"{what} ones: boxes and images are upside down to each other",
            (),
            "keep fastMRI's own volumes (sdmad flips them on reading) and fastMRI+'s own boxes; "
            "undo the flip of whichever was changed",
            mirrored,
        )
    mend = "look at a few images with their boxes before you use the masks"
    return Problem(FLIPPED, Verdict.WARN, f"{what} ones: undecided", (), mend, volumes)


def _boxed(data: FastMRIPlus, headers: dict[str, Header]) -> list[tuple[str, int, tuple[Box, ...]]]:
    """Slices with boxes, of volumes that can be read."""
    boxes: dict[tuple[str, int], list[Box]] = defaultdict(list)
    for note in data.annotations:
        header = headers.get(note.file)
        if note.box is not None and header is not None and note.slice_index < header.slices:
            boxes[note.file, note.slice_index].append(note.box)
    return [(name, index, tuple(found)) for (name, index), found in sorted(boxes.items())]


def check_inside(data: FastMRIPlus, headers: dict[str, Header]) -> Problem:
    """Boxes that leave their image: the volume has another matrix than the annotations."""
    boxed = [note for note in data.annotations if note.box is not None and note.file in headers]
    out = [note for note in boxed if _leaves(note, headers[note.file])]
    if not out:
        return passed(OUTSIDE, f"all {len(boxed)} boxes lie inside their images")
    where = listed(f"row {note.line} of brain.csv" for note in out)
    what = f"{len(out)} of {len(boxed)} boxes lie partly outside their image"
    mend = "use reconstruction_rss as fastMRI ships it (320 x 320), not resized or cropped"
    return Problem(OUTSIDE, Verdict.FAIL, what, where, mend, len(out))


def _leaves(note: Annotation, header: Header) -> bool:
    box, (height, width) = note.box, header.shape
    if box is None:
        return False
    return min(box.x, box.y) < 0 or box.x + box.width > width or box.y + box.height > height


def check_study_level(data: FastMRIPlus) -> Problem:
    """Study-level labels: they hold for the whole study and count at slice 0 only."""
    study = [note for note in data.annotations if note.study_level]
    moved = [note for note in study if note.stated_slice != 0]
    if moved:
        where = listed(f"row {note.line} of brain.csv" for note in moved)
        what = f"{len(moved)} of {len(study)} study-level labels do not stand at slice 0"
        mend = "restore brain.csv of microsoft/fastmri-plus; they are counted at slice 0"
        return Problem(STUDY, Verdict.WARN, what, where, mend, len(moved))
    return passed(STUDY, f"{len(study)}, all at slice 0; they count there and nowhere else")


def check_reviewed(data: FastMRIPlus) -> Problem:
    """Volumes on the list without a row in the table: reviewed, nothing found, normal."""
    annotated = {note.file for note in data.annotations}
    without = sum(name not in annotated for name in data.reviewed)
    return passed(
        REVIEWED, f"{without} of {len(data.reviewed)} volumes have no annotation and are normal"
    )


def check_depth(data: FastMRIPlus, headers: dict[str, Header]) -> Problem:
    """Volumes that lack a slice that was annotated."""
    lines = listed(
        f"row {note.line} of brain.csv: slice {note.slice_index}, the volume has "
        f"{headers[note.file].slices}"
        for note in data.annotations
        if note.file in headers and note.slice_index >= headers[note.file].slices
    )
    if lines:
        what = f"{len(lines)} annotations lie on slices that the volume does not have"
        mend = "download these volumes again"
        return Problem(DEPTH, Verdict.FAIL, what, lines, mend, len(lines))
    other = sum(header.slices != SLICES for header in headers.values())
    return passed(
        DEPTH, f"every annotated slice is there; {other} volumes have another number than {SLICES}"
    )
