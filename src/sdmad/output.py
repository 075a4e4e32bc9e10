"""Writing results so that nothing is lost and nothing is left half-written."""

import contextlib
import csv
import errno
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdmad.errors import InputError, SDMADError
from sdmad.text import AS_BYTES, without_surrogates
from sdmad.unfinished import exchange, sweep, sweep_folder, unfinished_file, unfinished_folder

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextlib.contextmanager
def output_directory(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes the wanted one when all went well.

    The temporary folder is a hidden sibling. On success it is renamed into place; on any error
    and on Ctrl-C it is removed and an existing folder is left as it was.

    Args:
        path: the wanted folder; its parents are made where they lack.
        force: replace a folder that already holds something. It is swapped out only when the new
            one is complete.

    Yields:
        The folder to write into.

    Raises:
        InputError: if the path is a file, or a folder that holds something without `force`.
        SDMADError: if the system refuses to write.
    """
    target = _named(path).resolve()
    check_output(target, force)
    with contextlib.ExitStack() as end:
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target)
            work = end.enter_context(unfinished_folder(target))
            work.chmod(0o777 & ~_umask())
        with _writing(target, only_below=work):
            yield work
        check_output(target, force)
        with _writing(target):
            _swap(work, target)


def check_output(
    path: str | os.PathLike[str],
    force: bool = False,
    inputs: Iterable[str | os.PathLike[str] | None] = (),
) -> None:
    """Refuse an output folder that holds something, before any work is done.

    Args:
        path: the wanted folder.
        force: whether what it holds may be replaced.
        inputs: files and folders that are read and must not be replaced with it; None is skipped.

    Raises:
        InputError: if the path is a file, a folder that holds something without `force`, or one
            that holds an input or the current folder.
    """
    target = _named(path)
    whole = target.resolve()
    for needed in (Path.cwd(), *(Path(read) for read in inputs if read is not None)):
        if _lies_in(needed, whole):
            raise InputError(
                f"{target}: this folder is or holds {needed}, which would be lost when it is "
                "replaced; choose a folder of its own"
            )
    if target.is_dir():
        if not force and any(target.iterdir()):
            raise InputError(
                f"{target}: this folder already holds something; "
                "choose another, or replace it with --force (force=True)"
            )
    elif target.exists() or target.is_symlink():
        raise InputError(f"{target}: a file is in the way; choose another folder")


def check_output_file(path: str | os.PathLike[str], force: bool = False) -> None:
    """Refuse an output file that cannot be written or is there already, before any work is done.

    What killed runs left beside its place is removed.

    Raises:
        InputError: if the path is a folder, a device, a pipe or a socket, lies in none, or is a
            file without `force`.
    """
    target = _named(path)
    if target.is_dir():
        raise InputError(f"{target}: a folder is in the way; give the name of a file")
    _refuse_special(target)
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.absolute().parent}; make it first")
    if not force and (target.exists() or target.is_symlink()):
        raise InputError(f"{target}: exists already; choose another name, or replace it (--force)")
    sweep(target.absolute())


def _named(path: str | os.PathLike[str]) -> Path:
    """The path of an output; refused where nothing can have such a name."""
    target = Path(path)
    try:
        target.lstat()
    except ValueError:
        fault = "a null byte or a lone surrogate in it"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return target
        fault = "too long"
    else:
        return target
    raise InputError(f"{target}: a name that no file can have ({fault}); choose another")


def _refuse_special(target: Path) -> None:
    """Refuse to put a file in the place of a device, a pipe or a socket, forced or not."""
    if target.exists() and not target.is_file():
        raise InputError(
            f"{target}: a device, a pipe or a socket, which a file would replace; give another name"
        )


def user_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The user's own folder for what can be had again: ``sdmad`` where the system keeps caches.

    Raises:
        RuntimeError: if the user has no home.
    """
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = environment.get("XDG_CACHE_HOME", "")
    return Path(base or "~/.cache").expanduser() / "sdmad"


def private_folder(folder: Path) -> None:
    """Make a folder that nobody else on this machine may read, if it is not there.

    Raises:
        SDMADError: if it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SDMADError(f"{folder}: cannot be made ({error.strerror})") from error


def results_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder that results are added to, run after run, unless it is there.

    What killed runs left in it is removed.

    Raises:
        SDMADError: if a file is in the way or the system refuses.
    """
    target = _named(path)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: a file is in the way; give the name of a folder")
    with _writing(target):
        target.mkdir(parents=True, exist_ok=True)
    sweep_folder(target)
    return target


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    A byte of a file name in another encoding is written as that byte, so that names match those of
    the files (:data:`sdmad.text.AS_BYTES`).

    Raises:
        SDMADError: if the system refuses; a file that was there is unchanged.
    """
    write_bytes(path, text.encode("utf-8", errors=AS_BYTES))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, whole or not at all; never in the place of a device, a pipe or a socket.

    Raises:
        SDMADError: if the system refuses; a file that was there is unchanged.
    """
    target = _named(path).resolve()
    _refuse_special(target)
    with _writing(target), unfinished_file(target) as work:
        with os.fdopen(os.open(work, os.O_WRONLY), "wb") as file:
            file.write(content)
        work.chmod(0o666 & ~_umask())
        work.replace(target)


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed ``.npz``, whole or not at all; folders are made.

    Raises:
        SDMADError: if the system refuses; a file that was there is unchanged.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    target = _named(path)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, buffer.getvalue())


def write_csv(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Write a CSV file, whole or not at all, that no spreadsheet takes for formulas.

    A text cell that starts with = + - @, a tab or a line break gets a leading apostrophe; carriage
    returns become line feeds. Numbers are written as they are; None and NaN become empty cells.

    Args:
        path: the file.
        header: names of the columns.
        rows: one sequence of cells a row.

    Raises:
        SDMADError: if the system refuses; a file that was there is unchanged.
        ValueError: if a row's length differs from the header's.
    """
    write_text(path, csv_text(header, rows))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return what `write_csv` writes.

    Raises:
        ValueError: if a row's length differs from the header's.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_cell(name) for name in header])
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"expected {len(header)} cells, got {len(row)}: {row!r}")
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def write_json(path: str | os.PathLike[str], content: object) -> None:
    """Write strict JSON, whole or not at all; keys keep their order.

    NaN and infinities become null, lone surrogates escapes; NumPy numbers and arrays, paths and
    tuples become numbers, lists and strings.

    Raises:
        SDMADError: if the system refuses; a file that was there is unchanged.
        TypeError: if the content holds something else.
    """
    write_text(path, json_text(content) + "\n")


def json_text(content: object, indent: int | None = 2) -> str:
    """Return strict JSON as `write_json` writes it; `indent=None` puts it on one line.

    Raises:
        TypeError: if the content holds something that JSON cannot.
    """
    text = json.dumps(_plain(content), indent=indent, ensure_ascii=False, allow_nan=False)
    return without_surrogates(text)


def _lies_in(path: Path, folder: Path) -> bool:
    try:
        return path.exists() and path.resolve().is_relative_to(folder)
    except OSError:  # a hub name or a bank's name that no file can have
        return False


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    if text.startswith(_FORMULA_STARTS):
        text = f"'{text}"
    return text.replace("\r\n", "\n").replace("\r", "\n")  # a lone CR would end the row unquoted


def _plain(value: object) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


@contextlib.contextmanager
def _writing(target: Path, only_below: Path | None = None) -> Iterator[None]:
    """Turn what the system refuses into an error for the user.

    With `only_below`, errors that concern files elsewhere pass through, unless the disk is full.
    """
    try:
        yield
    except OSError as error:
        if only_below is not None and error.errno not in _DISK_FULL:
            name = error.filename
            if not isinstance(name, str) or not Path(name).is_relative_to(only_below):
                raise
        raise SDMADError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was left "
            "half-written. Free some space or choose another place"
        ) from error


def _swap(work: Path, target: Path) -> None:
    """Bring the finished folder into place; the old one is there until then."""
    if not target.is_dir():
        work.rename(target)
        return
    if exchange(work, target):  # the old one goes with the temporary folder
        return
    old = work.with_suffix(".old")
    target.rename(old)
    try:
        work.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
