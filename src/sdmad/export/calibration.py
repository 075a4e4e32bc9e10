"""Images to calibrate an int8 graph on, or to check any graph with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad.data.images import content_hash
from sdmad.data.listing import list_images
from sdmad.data.preprocessing import Preprocessing
from sdmad.data.table import read_label_table
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.progress import track

MOST = 128
"""So many images are enough to find the range of every activation."""

TABLES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class GivenImages:
    """Images that the user gave, and whether the model learnt from them.

    Attributes:
        files: at most :data:`MOST`; the support images alone where there are any.
        support: whether they are support images.
        note: what a person should know of the choice.
    """

    files: tuple[Path, ...]
    support: bool
    note: str


def choose(given: Path, detector: SignDetector) -> GivenImages:
    """Find the support images among those given; without any, take the first of all.

    Args:
        given: a folder of images, one image or a label table.
        detector: fitted; it holds hashes of its support images, not the images.

    Raises:
        ImageError: if an image cannot be read.
        InputError: if there is no image.
    """
    files = _files(given, detector)
    wanted = set(detector.support_hashes_)
    support: list[Path] = []
    for file in track(files, "looking for support images"):
        if content_hash(file) in wanted:
            support.append(file)
            if len(support) == len(wanted):
                break
    chosen = (support or files)[:MOST]
    if support:
        note = f"{len(chosen)} of the model's {len(wanted)} support images are in {given}"
    else:
        note = (
            f"none of the {len(files)} images of {given} is a support image of this model; the "
            f"first {len(chosen)} are taken, and should be of the same kind"
        )
    return GivenImages(tuple(chosen), bool(support), note)


def _files(given: Path, detector: SignDetector) -> list[Path]:
    if given.is_file() and given.suffix.lower() in TABLES:
        return list(read_label_table(given, detector.categories).files)
    if not given.exists():
        raise InputError(f"{given}: no such file or folder")
    return list_images([given])


def squares(files: tuple[Path, ...], preprocessing: Preprocessing) -> list[NDArray[np.float32]]:
    """Images as the tower's graph takes them: ``(3, S, S)``, brightness from 0 to 255.

    Raises:
        ImageError: if one cannot be read.
    """
    found = []
    for file in files:
        square = preprocessing.square(file).astype(np.float32)
        planes = np.broadcast_to(square, (3, *square.shape)) if square.ndim == 2 else None
        found.append(
            np.ascontiguousarray(planes if planes is not None else square.transpose(2, 0, 1))
        )
    return found
