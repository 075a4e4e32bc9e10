"""HEIC, the pictures of telephones, through Pillow and pillow-heif, an extra of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdmad.data import pictures
from sdmad.data.plane import ImageError


@contextmanager
def opened(path: Path) -> Iterator[pictures.Opened]:
    """Open a file; without an index its primary picture is read.

    Raises:
        ImageError: if pillow-heif is not installed.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError(
            f'{path}: HEIC needs pillow-heif; install it with: pip install "sdmad[heic]"', path
        ) from None
    register_heif_opener(thumbnails=False)
    with pictures.opened(path, ("HEIF",)) as file:
        yield file
