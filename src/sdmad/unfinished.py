"""What is being written: a hidden sibling under a lock, and what killed runs left of theirs.

A file or folder is written beside its place as ``.NAME.xxxxxxxx.part`` and takes the place when it
is whole. Its writer holds a lock on it. A run that is killed leaves the sibling without a lock; the
next run to the same place finds it so and removes it, and leaves alone what another still writes.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: no lock, and nothing is swept
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".part"
LONGEST_NAME = 200
"""Bytes of a place's name beside which a sibling's marks still fit."""

_TRIES = 10
_ANY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


@contextlib.contextmanager
def unfinished_folder(target: Path) -> Iterator[Path]:
    """A new folder beside a place, removed in the end unless it has taken the place.

    Raises:
        OSError: if the system refuses.
    """
    with _claimed(lambda: Path(tempfile.mkdtemp(SUFFIX, _start(target), target.parent))) as work:
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def unfinished_file(target: Path) -> Iterator[Path]:
    """A new empty file beside a place, removed in the end unless it has taken the place.

    Raises:
        OSError: if the system refuses.
    """

    def make() -> Path:
        handle, name = tempfile.mkstemp(SUFFIX, _start(target), target.parent)
        os.close(handle)
        return Path(name)

    with _claimed(make) as work:
        try:
            yield work
        finally:
            with contextlib.suppress(OSError):
                work.unlink()


def sweep(target: Path) -> None:
    """Remove what killed runs left beside a place; what cannot be removed stays."""
    start = _start(target)
    _sweep(target.parent, lambda name: name.startswith(start) and is_unfinished(name))


def sweep_folder(folder: Path) -> None:
    """Remove what killed runs left in a folder of results, of any file."""
    _sweep(folder, is_unfinished)


def is_unfinished(name: str) -> bool:
    """Whether a file or folder of this name is one that is being written, or was.

    >>> is_unfinished(".scores.csv.1a2b3c4d.part"), is_unfinished("scores.csv.part")
    (True, False)
    """
    return _ANY.fullmatch(name) is not None


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places at once, so that neither is ever missing.

    Returns:
        Whether the system can; nothing has happened where it cannot.
    """
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def _start(target: Path) -> str:
    """How the name of a place's sibling begins."""
    name = os.fsencode(target.name)
    if len(name) > LONGEST_NAME:
        return f".{hashlib.sha256(name).hexdigest()[:32]}."
    return f".{target.name}."


@contextlib.contextmanager
def _claimed(make: Callable[[], Path]) -> Iterator[Path]:
    """What was made, under a lock while it is written."""
    work, lock = make(), None
    for _ in range(_TRIES):
        lock = hold(work)
        if lock is not None or fcntl is None:
            break
        work = make()  # another run has taken the new one for a killed run's
    try:
        yield work
    finally:
        if lock is not None:
            os.close(lock)


def is_held(path: Path) -> bool:
    """Whether somebody works on a file or folder, under a `hold`; never told without locks."""
    if fcntl is None:
        return False
    handle = hold(path)
    if handle is not None:
        os.close(handle)
    return handle is None


def hold(path: Path) -> int | None:
    """Lock a file or folder; None where another has, or it is gone.

    Where the file system has no locks, the descriptor comes without one. The lock ends when the
    descriptor is closed, and with the process.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False)):  # noqa: PTH116
            return handle
    except BlockingIOError:
        pass
    except FileNotFoundError:
        pass
    except OSError:  # no locks here
        return handle
    os.close(handle)
    return None


def _sweep(folder: Path, meant: Callable[[str], bool]) -> None:
    if fcntl is None:
        return
    try:
        with os.scandir(folder) as entries:
            left = [Path(entry.path) for entry in entries if meant(entry.name)]
    except OSError:
        return
    for path in left:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a killed run's sibling; only under a lock that it cannot hold itself."""
    handle: Any = None
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    if handle is not None:
        os.close(handle)
