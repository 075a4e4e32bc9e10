"""Finding the files that a table names, also where another machine has spelt them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdmad.data.address import file_of, is_file, split_slice
from sdmad.data.listing import SUFFIXES

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_ENDINGS = sorted(SUFFIXES, key=len, reverse=True)


@dataclass(frozen=True)
class _Listing:
    """What lies in a folder: whether each name is a file, and names by a looser spelling."""

    names: Mapping[str, bool]
    loose: Mapping[str, tuple[str, ...]]


class Folders:
    """Which files there are; each folder is listed once, however many files are asked for."""

    def __init__(self) -> None:
        self._known: dict[Path, _Listing | None] = {}

    def has(self, path: Path) -> bool:
        """Whether there is a regular file of this name."""
        listing = self._listing(path.parent)
        return is_file(path) if listing is None else listing.names.get(path.name, False)

    def nearest(self, folder: Path, name: str, file: bool) -> str | None:
        """The one entry that differs from a name by case, or by a suffix that the name lacks.

        Args:
            folder: where it lies.
            name: as it was spelt.
            file: whether it is a file; else a folder.
        """
        listing = self._listing(folder)
        if listing is None:
            return None
        if listing.names.get(name) is file:
            return name
        near = [n for n in listing.loose.get(name.casefold(), ()) if listing.names[n] is file]
        return near[0] if len(near) == 1 else None

    def _listing(self, folder: Path) -> _Listing | None:
        if folder not in self._known:
            self._known[folder] = _list(folder)
        return self._known[folder]


def _list(folder: Path) -> _Listing | None:
    """None where the folder is missing or cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = {entry.name: not entry.is_dir() and entry.is_file() for entry in entries}
    except (OSError, ValueError):
        return None
    loose: dict[str, tuple[str, ...]] = {}
    for name in names:
        key = name.casefold()
        ending = next((e for e in _ENDINGS if key.endswith(e) and key != e), "")
        for one in {key, key.removesuffix(ending)}:
            loose[one] = (*loose.get(one, ()), name)
    return _Listing(names, loose)


class FileFinder:
    """Turns the names in a table into addresses.

    A name is taken to the letter where there is such a file. Else backslashes divide folders, case
    does not count, and an image's suffix may lack, wherever that leaves exactly one file.

    Args:
        folder: what names are relative to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folders = Folders()
        self._respelt = 0
        self._example = ""

    def __call__(self, name: str) -> Path:
        """The absolute address of a name; of one that is not found, the name to the letter."""
        address = Path(os.path.normpath(self.folder / name))
        if self._folders.has(file_of(address)):
            return address
        found = self._other_spelling(name)
        if found is None:
            return address
        self._respelt += 1
        self._example = self._example or f"{name} as {found.name}"
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how files were found."""
        if not self._respelt:
            return ()
        return (
            f"{self._respelt} files were found under another spelling (backslashes, case or no "
            f"suffix): {self._example}",
        )

    def _other_spelling(self, name: str) -> Path | None:
        text, mark = split_slice(name.replace("\\", "/"))
        whole = Path(os.path.normpath(self.folder / text))
        base = self.folder if whole.is_relative_to(self.folder) else whole.parent
        *folders, last = whole.relative_to(base).parts or ("",)
        for folder in folders:
            near = self._folders.nearest(base, folder, file=False)
            if near is None:
                return None
            base /= near
        near = self._folders.nearest(base, last, file=True)
        return None if near is None else base / f"{near}{mark}"


def why_missing(address: Path, folder: Path) -> str:
    """What is wrong with an address that is not there, as far as its name tells; else "".

    Args:
        address: as :class:`FileFinder` gave it.
        folder: what names are relative to.
    """
    name = address.relative_to(folder) if address.is_relative_to(folder) else address
    windows = _WINDOWS.match(str(name))
    return ", which is a path of another machine, under Windows" if windows else ""
