"""Reading small files that a stranger may have made: regular ones, of bounded size."""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sdmad.errors import InputError, SDMADError

Result = TypeVar("Result")

PANIC = "PanicException"
MOST_QUOTED = 300


def read_bytes(path: Path, most: int, kind: type[SDMADError] = InputError) -> bytes:
    """Read a whole file.

    Args:
        path: the file.
        most: bytes above which it is refused before it is read.
        kind: class of the error.

    Raises:
        SDMADError: of that class, if there is no regular file of this name, it is too large, or
            the system refuses.
    """
    check_regular(path, most, kind)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)  # it may have grown since
    except OSError as error:
        raise _refused(path, error, kind) from error
    if len(content) > most:
        raise _too_large(path, most, kind)
    return content


def read_text(path: Path, most: int, kind: type[SDMADError] = InputError) -> str:
    """Read a whole file of UTF-8 text, with or without a byte-order mark.

    Raises:
        SDMADError: as `read_bytes`, or if it is no UTF-8 text; names the line.
    """
    content = read_bytes(path, most, kind)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise kind(f"{path}, line {line}: not UTF-8 text; save it as UTF-8") from error


def read_json(path: Path, most: int, kind: type[SDMADError] = InputError) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises:
        SDMADError: as `read_bytes`, or if it is no JSON, or holds no object.
    """
    content = read_bytes(path, most, kind)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise kind(f"{path} is not readable JSON ({error})") from error
    if not isinstance(found, dict):
        raise kind(f"{path} is not readable JSON (it holds no object)")
    return found


def file_hash(path: Path, kind: type[SDMADError] = InputError) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        SDMADError: of that class, if it is no regular file or cannot be read.
    """
    check_regular(path, None, kind)
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _refused(path, error, kind) from error


def check_regular(path: Path, most: int | None = None, kind: type[SDMADError] = InputError) -> None:
    """Refuse what is no regular file, such as a device or a pipe, which may never end.

    Args:
        path: the file.
        most: bytes above which it is too large; None for any size.
        kind: class of the error.

    Raises:
        SDMADError: of that class, if it is missing, no regular file or too large.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _refused(path, error, kind) from error
    if stat.S_ISDIR(status.st_mode):
        raise kind(f"{path}: a folder; give the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise kind(f"{path}: not a regular file, but a device, a pipe or a socket")
    if most is not None and status.st_size > most:
        raise _too_large(path, most, kind)


def _too_large(path: Path, most: int, kind: type[SDMADError]) -> SDMADError:
    return kind(f"{path}: larger than {most:,} bytes, which no file of this kind is")


def _refused(path: Path, error: Exception, kind: type[SDMADError]) -> SDMADError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return kind(f"{path}: no such file")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return kind(f"{path}: cannot be read ({reason})")


@contextmanager
def bounded(what: str, kind: type[SDMADError], *told: type[SDMADError]) -> Iterator[None]:
    """The one boundary around the readers of a stranger's file: whatever they raise is one line.

    It is logged at debug level with its traceback.

    >>> with bounded("a.json is not usable", InputError):
    ...     {}["size"]
    Traceback (most recent call last):
    ...
    sdmad.errors.InputError: a.json is not usable (KeyError: 'size')

    Args:
        what: what to say before the reader's own words.
        kind: class of the error.
        told: this package's own errors that are told so too; others pass as they are.

    Raises:
        SDMADError: of that class.
    """
    try:
        yield
    except SDMADError as error:
        if not isinstance(error, told):
            raise
        raise kind(f"{what} ({error})") from error
    except BaseException as error:
        # A mistake inside a Rust library is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        logging.getLogger("sdmad").debug("%s", what, exc_info=error)
        reason = " ".join(str(error).split())[:MOST_QUOTED]
        plain = reason and (type(error) is Exception or isinstance(error, OSError))
        name = "" if plain else f"{type(error).__name__}: "
        raise kind(f"{what} ({name}{reason})") from error


class TooLate(Exception):  # noqa: N818  # it is told as an error of this package
    """Some work took longer than it may."""


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Do something in a thread of its own, and leave it alone when its time is up.

    Raises:
        TooLate: if the time is up; and whatever the work raises.
    """
    done: queue.SimpleQueue[Callable[[], Result]] = queue.SimpleQueue()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            done.put(lambda error=error: _raise(error))  # type: ignore[misc]
        else:
            done.put(lambda: result)

    threading.Thread(target=run, daemon=True).start()
    try:
        outcome = done.get(timeout=seconds)
    except queue.Empty:
        raise TooLate from None
    return outcome()


def _raise(error: BaseException) -> Any:
    raise error
