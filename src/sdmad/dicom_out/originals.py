"""The images that a server has, without the results that this package made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from sdmad.data import decoders
from sdmad.data.plane import ImageError
from sdmad.dicom_out.making import DESCRIPTIONS, SOFTWARE
from sdmad.dicom_out.server import Instance, Server

_OURS = tuple(f"{SOFTWARE} {what}: " for what in DESCRIPTIONS.values())


@dataclass(frozen=True)
class Study:
    """What a study holds.

    Attributes:
        images: instances that are images, as far as the server's lists tell results apart.
        uids: of all instances.
    """

    images: tuple[Instance, ...]
    uids: frozenset[str]

    @classmethod
    def of(cls, server: Server, study: str) -> Study:
        """Ask a server.

        Raises:
            SDMADError: if it cannot be reached or does not answer.
        """
        described = server.series(study)
        ours = {uid for uid, text in described.items() if text.startswith(_OURS)}
        instances = list(server.instances(study))
        images = (one for one in instances if one.is_image and one.series not in ours)
        return cls(tuple(images), frozenset(one.uid for one in instances))


def is_original(header: Dataset, one: Instance) -> bool:
    """Whether a retrieved file is no result of this package.

    Raises:
        ImageError: if it is another image than the one that was asked for.
    """
    told = header.get("SOPInstanceUID"), header.get("StudyInstanceUID")
    if told != (one.uid, one.study):
        raise ImageError("the server gives another image than it was asked for")
    return bool(header.get("Manufacturer") != SOFTWARE)


def keep(server: Server, one: Instance, path: Path) -> bool:
    """Retrieve an image to a file that is there only once it is whole.

    Args:
        server: that has it.
        one: the image.
        path: the file; nobody else writes into its folder.

    Returns:
        Whether it is an image; no, of a result of this package, which is not kept.

    Raises:
        ImageError: if the server does not give it, gives another, or it cannot be read.
        OSError: if it cannot be written.
    """
    part = path.with_name(".part")
    try:
        server.retrieve(one, part)
        header = Dataset.from_json(decoders.ask_for("dicom_source", part, index=None)["attributes"])
        if not is_original(header, one):
            return False
        part.replace(path)
        return True
    finally:
        part.unlink(missing_ok=True)


def refusal(one: Instance, error: ImageError) -> str:
    """Why an image cannot be used, without the name of the file that it lies in meanwhile."""
    text = str(error)
    if error.path is not None:
        text = text.replace(f"{error.path}: ", "").replace(str(error.path), "the file")
    return f"instance {one.uid}: {text}"
