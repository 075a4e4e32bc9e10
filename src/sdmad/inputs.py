"""Reading small files that a stranger may have made: regular ones, of bounded size."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from sdmad.errors import InputError, SDMADError


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
