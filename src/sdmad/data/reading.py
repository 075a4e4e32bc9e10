"""One reader a format, and the one place where its errors become an `ImageError`.

A reader is a module with ``opened(path)``, a context that gives a `sdmad.data.plane.Opened`. What
is wrong with a file it says itself, as an ImageError; whatever else a library raises is caught
here, logged at debug level without its message, which may quote values of the file, and told as one
line with the file's name.
"""

from __future__ import annotations

import logging
import stat
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from sdmad.data.formats import Format, recognise
from sdmad.data.plane import ImageError, Opened, damaged
from sdmad.errors import InputError
from sdmad.processes import nearly_spent

NAMES: dict[Format, str] = {
    **{"dicom": "DICOM", "nifti": "NIfTI", "hdf5": "HDF5", "tiff": "TIFF", "heif": "HEIC"}
}

SHOWN_NAME = 200
"""Characters of a name that no file can have that an error shows."""

TOO_MUCH_MEMORY = "takes more memory to read than it may"

_log = logging.getLogger(__name__)


def check_file(path: Path) -> int:
    """Refuse what is no regular file, and an empty one; nothing is opened.

    Returns:
        Its length in bytes.

    Raises:
        ImageError: says which it is.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file", path) from None
    except (OSError, ValueError) as error:  # too long a name, a null byte in it
        name, why = repr(str(path)), getattr(error, "strerror", None) or str(error)
        short = name if len(name) <= SHOWN_NAME else f"{name[:SHOWN_NAME]}..."
        raise ImageError(f"{short}: cannot be read ({why})", path) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path}: a folder, not an image file", path)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: not a regular file (a device, a pipe or a socket)", path)
    if status.st_size == 0:
        raise ImageError(f"{path}: empty file (0 bytes); copy or export it again", path)
    return status.st_size


def kind_of(path: Path) -> Format:
    """Check that it is a file that can be opened, and recognise its format.

    Raises:
        ImageError: if it cannot be opened, or is a compressed file of another kind.
    """
    check_file(path)
    with boundary(path):
        kind = recognise(path)
    if kind == "gzip":
        raise ImageError(f"{path}: a compressed file that holds no NIfTI; unpack it first", path)
    return kind


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open an image file of any format by its reader.

    Raises:
        ImageError: if it cannot be read, here or by what is asked of it inside.
    """
    kind = kind_of(path)
    with boundary(path, NAMES.get(kind, "")):
        module = {"picture": "pictures"}.get(kind, kind)
        with import_module(f"sdmad.data.{module}").opened(path) as file:
            yield file


@contextmanager
def boundary(path: Path | None, kind: str = "") -> Iterator[None]:
    """Turn whatever goes wrong with a file into an ImageError without values of the file.

    Args:
        path: the file; None for an image from memory.
        kind: of file, for the error; "" where it is not known.

    Raises:
        ImageError: as raised inside, or that the file is damaged, may not be read, or takes more
            memory than there is.
    """
    name = "" if path is None else f"{path}: "
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except PermissionError:
        raise ImageError(f"{name}cannot be read (permission denied)", path) from None
    except MemoryError:
        raise ImageError(f"{name}{TOO_MUCH_MEMORY}; crop or reduce it", path) from None
    except BaseException as error:  # some decoders in Rust raise no Exception
        log_unknown(name, error)
        what = f"a damaged {kind} file, or one cut short" if kind else "damaged or cut short"
        if nearly_spent():
            raise ImageError(
                f"{name}{what}, or {TOO_MUCH_MEMORY}; export it again, or reduce it", path
            ) from None
        raise damaged(path, what) from None


def log_unknown(name: str, error: BaseException) -> None:
    """Log what a library raised, where and of which type; not its message."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.debug("%s%s\n%s", name, type(error).__name__, where)
