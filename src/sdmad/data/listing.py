"""Finding the image files in folders, by their names or else by their content."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sdmad.data.address import file_of, is_file, is_there
from sdmad.data.formats import HEAD, recognise
from sdmad.errors import InputError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".heic", ".heif"}
    | {".dcm", ".dicom", ".nii", ".nii.gz", ".h5", ".hdf5"}
)
"""File-name endings (lower case) that make a file an image before a look into it."""

MOST_KINDS = 5
"""Kinds of files passed over that are named."""

_PICTURE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|II\*\0|MM\0\*|II\+\0|MM\0\+|GIF8[79]a|RIFF....WEBP"
    rb"|BM....\0\0\0\0|P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s"
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    re.DOTALL,
)
"""How files of `sdmad.data.images.FORMATS` begin."""


def list_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List image files from files and folders.

    Folders are searched with their subfolders. There a file counts that has an image's suffix, or
    whose first bytes are those of an image, whatever its name. HDF5 files count by their suffix
    alone, for most of them hold no images. Hidden files and folders are skipped, and a folder
    reached twice through links is read once. Files and slices (``scan.nii.gz#80``) that are named
    directly are kept whatever they hold.

    What is passed over in a folder is told in a warning: how many files, and of which kinds.

    Args:
        paths: files, addresses and folders.

    Returns:
        Paths in the order given, each folder's files sorted by path, no path twice.

    Raises:
        InputError: if a path does not exist, a folder cannot be listed or holds no image.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not is_there(file_of(path)):
            raise InputError(f"{path}: no such file or folder")
        inside = _images_below(path) if path.is_dir() else [path]
        found.update(dict.fromkeys(inside))
    return list(found)


def walk(
    root: Path, on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below a root with its files, sorted; hidden ones are left out.

    Links are followed; a folder that is reached twice is given once.

    Args:
        root: where to begin.
        on_error: called where a folder cannot be listed; without it that folder is left out.
    """
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(root, followlinks=True, onerror=on_error):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(name for name in files if not name.startswith("."))


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name, or else by its first bytes."""
    if path.name.lower().endswith(tuple(SUFFIXES)):
        return True
    if path.name.upper() == "DICOMDIR" or not is_file(path):  # a pipe would be waited for
        return False
    try:
        kind = recognise(path)
        if kind != "picture":
            return kind in ("dicom", "nifti", "tiff", "heif")
        with path.open("rb") as file:
            return _PICTURE.match(file.read(HEAD)) is not None
    except OSError:
        return False


def _images_below(folder: Path) -> list[Path]:
    def stop(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot list this folder ({error.strerror})") from error

    images: list[Path] = []
    others: Counter[str] = Counter()
    for place, names in walk(folder, stop):
        for name in names:
            path = Path(place, name)
            if is_image(path):
                images.append(path)
            else:
                others[path.suffix.lower() or "without a suffix"] += 1
    passed = f"files that are no images by name or content: {_kinds(others)}"
    if not images:
        raise InputError(
            f"{folder}: no image in this folder" + (f"; it holds {passed}" if others else "")
        )
    if others:
        total = sum(others.values())
        warnings.warn(f"{folder}: {total} passed over, {passed}", stacklevel=3)
    return sorted(images, key=lambda file: file.parts)


def _kinds(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {kind}" for kind, count in ordered[:MOST_KINDS]]
    rest = sum(count for _, count in ordered[MOST_KINDS:])
    return ", ".join(shown + ([f"{rest} of other kinds"] if rest else []))
