"""A repository on the hub: what it holds at one revision, and its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants

from sdmad.backbones.hub import NOT_FETCHED, why_not
from sdmad.errors import ModelError, WeightsMissingError
from sdmad.inputs import file_hash

MOST_FILES = 10_000
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: bytes, and its SHA-256 where the hub tells it."""

    size: int
    sha256: str | None


@dataclass(frozen=True)
class Repository:
    """What a repository holds at one commit.

    Attributes:
        name: ``OWNER/NAME``.
        revision: the commit.
        licence: as the repository tells it; "" where it does not.
        files: those that are in no folder, by name.
    """

    name: str
    revision: str
    licence: str
    files: Mapping[str, RemoteFile]

    def file(self, name: str, most: int | None = None) -> Path:
        """A file, downloaded into the hub's cache, whole and as the hub tells it.

        Args:
            name: of the file.
            most: bytes above which it is refused.

        Raises:
            WeightsMissingError: if the hub does not give it, or gives something else.
        """
        told = self.files[name]
        if most is not None:
            self.check_size(name, most)
        try:
            path = Path(_api().hf_hub_download(self.name, name, revision=self.revision))
        except NOT_FETCHED as error:
            raise WeightsMissingError(
                f"{self.name}: {name} was not downloaded: {why_not(self.name, error)}"
            ) from error
        size = path.stat().st_size
        if size != told.size or (told.sha256 and file_hash(path) != told.sha256):
            raise WeightsMissingError(
                f"{self.name}: {name} is not what the hub tells of it (of {told.size:,} bytes came "
                f"{size:,}); remove {path.resolve()} and fetch again"
            )
        return path

    def check_size(self, name: str, most: int) -> None:
        """Refuse a file that is larger than any of its kind.

        Raises:
            ModelError: if it is.
        """
        size = self.files[name].size
        if size > most:
            raise ModelError(f"{self.name}: {name} has {size:,} bytes, which no such file has")


def look_up(name: str, revision: str | None = None) -> Repository:
    """What a repository holds, at a branch, a tag or a commit.

    Raises:
        WeightsMissingError: if the hub does not tell; says what is missing.
        ModelError: if what it tells is no repository's.
    """
    try:
        told = _api().model_info(name, revision=revision, files_metadata=True)
    except NOT_FETCHED as error:
        raise WeightsMissingError(f"{name}: {why_not(name, error)}") from error
    siblings = told.siblings or []
    if not _COMMIT.fullmatch(str(told.sha)) or len(siblings) > MOST_FILES:
        raise ModelError(f"{name}: what {constants.ENDPOINT} tells of it is no repository's")
    files = {
        file.rfilename: RemoteFile(file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in siblings
        if "/" not in file.rfilename and not file.rfilename.startswith(".")
    }
    return Repository(name, str(told.sha), _licence(told), files)


def _api() -> HfApi:
    return HfApi(endpoint=constants.ENDPOINT)


def _licence(told: Any) -> str:
    """What the card's head says, else the hub's tag."""
    card = told.card_data
    values = [card.get(key) for key in ("license", "license_name", "license_link")] if card else []
    if not any(values):
        values = [t.removeprefix("license:") for t in told.tags or [] if t.startswith("license:")]
    return ", ".join(str(value)[:200] for value in values if value)
