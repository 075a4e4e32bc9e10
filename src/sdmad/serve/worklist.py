"""The images that a server lists: those of a folder, a label table or a DICOMweb server."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sdmad.data.address import is_file, parse_address
from sdmad.data.formats import recognise
from sdmad.data.listing import list_images
from sdmad.data.table import LabelTable, absolute_path, read_label_table
from sdmad.errors import InputError
from sdmad.serve.compute.alike import Support
from sdmad.serve.fetching import IMAGES, Fetching
from sdmad.serve.house import House
from sdmad.serve.storage import images
from sdmad.serve.storage.images import Listed
from sdmad.text import readable, without_surrogates

LONGEST = 255


def find(house: House) -> list[Listed]:
    """The images that there are; nothing is written.

    Raises:
        SDMADError: if they or the support images cannot be read, or the server that has them cannot
            be reached.
    """
    settings = house.settings
    if settings.support is not None:
        house.support = Support(read_label_table(settings.support, house.categories or None))
    if settings.table is not None:
        table = read_label_table(settings.table, house.categories or None)
        return of_table(table, settings.show_names)
    if settings.images is not None:
        return of_folder(settings.images, settings.show_names)
    if settings.dicomweb is not None:
        house.fetching = Fetching(settings.dicomweb, settings.beside(IMAGES))
        return of_studies(house.fetching.kept(), settings.show_names)
    return []


def fill(house: House, listed: Sequence[Listed]) -> None:
    """Take over the images that there are.

    Raises:
        SDMADError: if the folder for those of a DICOMweb server cannot be made.
    """
    if house.fetching is not None:
        house.fetching.make_folder()
    with house.storage.writing() as session:
        images.register(session, listed)
        images.expect(session, house.model)
    house.storage.look_around()


@contextmanager
def growing(house: House) -> Iterator[None]:
    """Fetch a DICOMweb server's images, and list them, until the server ends."""
    fetching: Fetching | None = house.fetching
    if fetching is None:
        yield
        return

    def told(paths: list[Path]) -> None:
        with house.storage.writing() as session:
            images.add(session, of_studies(paths, house.settings.show_names))
            images.expect(session, house.model)
        if house.behind is not None:
            house.behind.look()

    house.metrics.watch(
        "sdmad_studies_waiting",
        "Studies of the DICOMweb server whose images are not all fetched.",
        lambda: fetching.waiting,
    )
    fetching.start(told)
    try:
        yield
    finally:
        fetching.stop()


def of_studies(files: Sequence[Path], show_names: bool) -> list[Listed]:
    """Fetched images; those of one study count as one patient's."""
    return [Listed(str(file), name_of(str(file), show_names), file.parent.name) for file in files]


def of_folder(folder: Path, show_names: bool) -> list[Listed]:
    """The images of a folder and its subfolders."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --images takes a folder of images")
    found = [os.fspath(absolute_path(path)) for path in list_images([folder])]
    return [Listed(address, name_of(address, show_names)) for address in found]


def of_table(table: LabelTable, show_names: bool) -> list[Listed]:
    """The images of a label table, with its labels."""
    nobody = ("",) * len(table)
    listed = []
    for i, path in enumerate(table.files):
        row = zip(table.categories, table.labels[i].tolist(), strict=True)
        listed.append(
            Listed(
                os.fspath(path),
                name_of(os.fspath(path), show_names),
                (table.patients or nobody)[i][:LONGEST],
                (table.splits or nobody)[i],
                {name: None if math.isnan(value) else value for name, value in row},
                bool(table.normal[i]),
            )
        )
    return listed


def name_of(address: str, show_names: bool) -> str:
    """What pages call an image: the file's name, or of a DICOM file, whose name and folder may be
    a patient's, letters that tell nothing.
    """  # noqa: D205
    path, _ = parse_address(address)
    if not show_names and _may_name_patient(path):
        return "DICOM " + hashlib.sha256(os.fsencode(address)).hexdigest()[:8]
    return readable(without_surrogates(Path(address).name))[:LONGEST]


def _may_name_patient(path: Path) -> bool:
    if path.suffix.lower() in (".dcm", ".dicom", ""):
        return True
    try:
        return is_file(path) and recognise(path) == "dicom"
    except OSError:
        return True
