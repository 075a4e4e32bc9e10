"""What may be told of a file: its name on pages, never where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sdmad.data.address import split_slice
from sdmad.data.images import ImageError
from sdmad.text import readable


def without_place(message: str, address: str, name: str) -> str:
    """A message with an image's name in the place of its path.

    >>> without_place("/data/smith/1.dcm: damaged", "/data/smith/1.dcm#3", "DICOM 0f3a")
    'DICOM 0f3a: damaged'
    """
    file, _ = split_slice(address)
    for path in (address, file):
        for said in (repr(path), readable(path), path):
            message = message.replace(said, name)
    return message


@contextmanager
def by_name(address: str, name: str) -> Iterator[None]:
    """Tell what is wrong with an image by its name alone.

    Raises:
        ImageError: as raised inside, without the path.
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(without_place(str(error), address, name)) from None
