"""Maps on disk: what ``sdmad predict --maps`` writes beside the scores."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sdmad.data.address import parse_address
from sdmad.data.formats import recognise
from sdmad.detector.base import resize_map
from sdmad.detector.maps import HIGHEST, LOWEST, PatchMaps, sign_index
from sdmad.detector.sign_detector import SignDetector
from sdmad.output import output_directory, write_bytes, write_csv
from sdmad.progress import track
from sdmad.reporting.predictions import Prediction
from sdmad.signs import SignBank

INDEX = "maps.csv"
HEADER = ("file", "map", "category", "sign", "written", "lowest", "highest")
WHITE = 65535
NAME_LENGTH = 40


def write_maps(
    detector: SignDetector, rows: Sequence[Prediction], folder: Path, force: bool = False
) -> None:
    """Write the maps of judged images into a folder, with ``maps.csv`` that lists them.

    An image has a folder, numbered in the images' order and named after its file. It holds the
    anomaly map, a map a category, and for each found category that of its deciding sign: 16-bit
    PNG, black -2 and white 2 (:func:`as_png`), or, where the image is a slice of a NIfTI file, a
    NIfTI file of the values themselves in that slice's place in space. All have the image's size.

    Args:
        detector: what judged them.
        rows: images and what was found.
        folder: written under a temporary name and renamed.
        force: replace what the folder holds.

    Raises:
        InputError: if the backbone gives no maps, or the folder holds something.
        ImageError: if an image can no longer be read.
        SDMADError: if something cannot be written.
    """
    with output_directory(folder, force) as work:
        index: list[Sequence[object]] = []
        for number in track(range(len(rows)), "writing maps"):
            row = rows[number]
            place = work / f"{number + 1:06d}-{safe_name(row.file.name)}"
            place.mkdir()
            small, shape = detector.image_maps(row.file)
            for name, told, values in named_maps(detector.bank_, _found(detector, row), small, 0):
                large = resize_map(values, shape)
                written = _write(place / name, row.file, large)
                place_of_map = written.relative_to(work).as_posix()
                index.append((row.file, *told, place_of_map, *extremes(large)))
        write_csv(work / INDEX, HEADER, index)


def _found(detector: SignDetector, row: Prediction) -> list[int | None]:
    """Of each category that was found the deciding sign's number among all signs."""
    return [
        sign_index(detector.bank_, k, entry.deciding_sign.sentence) if entry.found else None
        for k, entry in enumerate(row.explanation.categories)
    ]


def named_maps(
    bank: SignBank, found: Sequence[int | None], maps: PatchMaps, row: int
) -> Iterator[tuple[str, tuple[str, str, str], Tensor]]:
    """The name of each map of an image, what ``maps.csv`` says of it, its values on the grid.

    Args:
        bank: the signs.
        found: of each category the deciding sign's number among all signs; None if not found.
        maps: of n images.
        row: which of them.
    """
    yield "anomaly", ("anomaly", "", ""), maps.anomaly[row]
    for k, (category, sign) in enumerate(zip(bank.names, found, strict=True)):
        name = f"{k + 1:02d}-{safe_name(category)}"
        yield f"category-{name}", ("category", category, ""), maps.categories[row, k]
        if sign is not None:
            yield f"sign-{name}", ("sign", category, bank.sentences[sign]), maps.signs[row, sign]


def extremes(values: NDArray[np.float32]) -> tuple[float, float]:
    """The lowest and the highest value of a map, as ``maps.csv`` says them."""
    return round(float(values.min()), 6), round(float(values.max()), 6)


def _write(path: Path, image: Path, values: NDArray[np.float32]) -> Path:
    file, index = parse_address(image)
    if recognise(file) == "nifti":
        from sdmad.data.nifti_maps import like_slice

        path = path.with_name(f"{path.name}.nii.gz")
        write_bytes(path, like_slice(file, index, values))
    else:
        path = path.with_name(f"{path.name}.png")
        write_bytes(path, as_png(values))
    return path


def as_png(values: NDArray[np.float32]) -> bytes:
    """A map ``(H, W)`` as 16-bit grey PNG: 0 is -2, 65535 is 2, linear between.

    >>> from PIL import Image
    >>> png = as_png(np.array([[-2, 0], [0.5, 2]], np.float32))
    >>> np.asarray(Image.open(io.BytesIO(png))).tolist()
    [[0, 32768], [40959, 65535]]
    """
    share = (values.astype(np.float64) - LOWEST) / (HIGHEST - LOWEST)
    grey = np.rint(np.clip(share, 0, 1) * WHITE).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()


def safe_name(name: str) -> str:
    """A part of a file name that every file system takes.

    >>> safe_name("scan.nii.gz#80"), safe_name("../Größe 3.png"), safe_name("?")
    ('scan-nii-gz-80', 'Gr-e-3-png', 'x')
    """
    safe = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")
    return safe[:NAME_LENGTH].rstrip("-") or "x"
