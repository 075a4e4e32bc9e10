"""Files here and elsewhere: a path, or ``PROTOCOL://...``, which fsspec reads and writes."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sdmad.errors import InputError, SDMADError
from sdmad.export.runtime import require
from sdmad.output import write_bytes
from sdmad.unfinished import is_unfinished, sweep_folder

WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"})
"""Protocols where a file is there as soon as all of it is."""

PROTOCOLS = WHOLE | {"file", "sftp", "ssh", "http", "https"}
"""Those that are read. A chain of them (``simplecache::s3://...``) is not."""

EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Protocols whose package comes with an extra of this one."""

LEFT = timedelta(hours=1)
"""Age at which what is half-written elsewhere is taken for a killed run's: no lock tells it."""

TRIES = 4
"""How often a place is asked before the run ends."""

PAUSE = 1.0
"""Seconds before it is asked again; twice as many each time."""

_CHAIN = re.compile(r"[a-z0-9+]+::|.*::[a-z0-9+]+:/", re.DOTALL)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*):/{1,2}(?!/)(.*)", re.DOTALL)


@dataclass(frozen=True, order=True)
class Place:
    """A file or folder, wherever it is.

    Attributes:
        address: an absolute path, or ``PROTOCOL://...`` without a slash at its end.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.address}/{name}")

    @property
    def protocol(self) -> str:
        """``file`` of a path."""
        found = _ADDRESS.fullmatch(self.address)
        return found[1] if found else "file"

    @property
    def is_local(self) -> bool:
        """Whether it is a path on this machine."""
        return self.protocol == "file"

    @property
    def name(self) -> str:
        """The last part."""
        return self.address.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Place:
        """The folder that holds it."""
        return Place(self.address.rsplit("/", 1)[0])

    def opened(self) -> tuple[Any, str]:
        """The file system that holds it, and its path there.

        Raises:
            InputError: if the package that reads its protocol is not installed.
        """
        require("ray", "fsspec")
        from fsspec import filesystem, get_filesystem_class

        try:
            kind = get_filesystem_class(self.protocol)  # by name: "::" in an address is no chain
            system = filesystem(self.protocol, **kind._get_kwargs_from_urls(self.address))
        except (ImportError, ValueError) as error:
            extra = EXTRAS.get(self.protocol)
            mend = f"pip install 'sdmad[{extra}]'" if extra else str(error)
            raise InputError(f"{self}: {self.protocol} cannot be read here: {mend}") from error
        return system, str(system._strip_protocol(self.address))

    def is_folder(self) -> bool:
        """Whether there is such a folder, or anything below such a prefix."""
        with reaching(self):
            system, path = self.opened()
            return bool(system.isdir(path))

    def is_there(self) -> bool:
        """Whether there is such a file or folder."""
        with reaching(self):
            system, path = self.opened()
            return bool(system.exists(path))

    def read(self, start: int = 0, size: int | None = None) -> bytes:
        """A file's bytes, or some of them.

        Raises:
            FileNotFoundError: if there is no such file.
            SDMADError: if the place does not answer.
        """
        with reaching(self):
            system, path = self.opened()
            end = None if size is None else start + size
            try:
                return bytes(system.cat_file(path, start=start or None, end=end))
            except Exception:
                if end is not None and system.size(path) == 0:  # some refuse any part of nothing
                    return b""
                raise

    def write(self, content: bytes) -> None:
        """Write a file, whole or not at all; its folders are made.

        Raises:
            SDMADError: if the place refuses.
        """
        with reaching(self):
            if self.is_local:
                Path(self.address).parent.mkdir(parents=True, exist_ok=True)
                write_bytes(self.address, content)
                return
            system, path = self.opened()
            try:
                self._write(system, path, content)
            except FileNotFoundError as error:
                raise SDMADError(f"{self}: cannot be written ({_reason(error)})") from error

    def _write(self, system: Any, path: str, content: bytes) -> None:
        if self.protocol in WHOLE:
            system.pipe_file(path, content)
            return
        folder, _, name = path.rpartition("/")
        system.makedirs(folder, exist_ok=True)
        part = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.part"
        system.pipe_file(part, content)
        system.mv(part, path)

    def names(self) -> list[str]:
        """Names of what lies in this folder, sorted; nothing where there is none."""
        with reaching(self):
            system, path = self.opened()
            system.invalidate_cache()
            try:
                found = system.ls(path, detail=False)
            except FileNotFoundError:
                return []
            return sorted(str(one).rstrip("/").rsplit("/", 1)[-1] for one in found)

    def remove(self) -> None:
        """Remove a file, or a folder with all that it holds; nothing where there is none."""
        with reaching(self):
            system, path = self.opened()
            if system.exists(path):
                system.rm(path, recursive=True)

    def sweep(self) -> None:
        """Remove what killed runs left half-written in this folder."""
        if self.is_local:
            sweep_folder(Path(self.address))
            return
        if self.protocol in WHOLE:
            return
        with reaching(self):
            system, path = self.opened()
            for told in system.ls(path, detail=True) if system.isdir(path) else []:
                changed = told.get("mtime") or datetime.now(UTC)
                name = str(told["name"])
                if is_unfinished(name.rpartition("/")[2]) and datetime.now(UTC) - changed > LEFT:
                    system.rm_file(name)


def place_of(text: str | os.PathLike[str]) -> Place:
    """The place that a person named.

    >>> place_of("s3://bucket/scores/").address
    's3://bucket/scores'

    Args:
        text: a path or an address; an address that was taken for a path (``s3:/bucket``) too.

    Raises:
        InputError: if its protocol is none that is read.
    """
    given = os.fspath(text)
    if _CHAIN.match(given):
        raise InputError(f"{given}: a chain of addresses; give the address itself")
    found = _ADDRESS.fullmatch(given)
    if not found:
        return Place(os.path.abspath(given))  # noqa: PTH100  # links are kept
    protocol, rest = found[1], found[2].rstrip("/")
    if protocol not in PROTOCOLS:
        raise InputError(
            f"{given}: {protocol} is not read; give a path or one of {', '.join(sorted(PROTOCOLS))}"
        )
    if protocol == "file":
        return Place(os.path.abspath(f"/{rest}"))  # noqa: PTH100
    return Place(f"{protocol}://{rest}")


def is_address(text: str | os.PathLike[str]) -> bool:
    """Whether a person named something elsewhere.

    >>> is_address("s3://bucket/scores"), is_address("images")
    (True, False)
    """
    found = _ADDRESS.fullmatch(os.fspath(text))
    return found is not None and found[1] in PROTOCOLS - {"file"}


@contextmanager
def reaching(place: Place) -> Iterator[None]:
    """Tell what a place refuses, or that it does not answer, as one line.

    Raises:
        FileNotFoundError: as raised inside: there is no such file.
        SDMADError: of anything else.
    """
    try:
        yield
    except (SDMADError, FileNotFoundError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except PermissionError as error:
        raise SDMADError(f"{place}: refused ({_reason(error)})") from error
    except Exception as error:  # each file system has its own
        raise SDMADError(f"{place}: cannot be reached ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """What a file system says, in one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:300] or type(error).__name__


def patiently(work: Callable[[], bytes]) -> bytes:
    """Ask a place again that does not answer.

    Raises:
        SDMADError: if it does not answer several times.
    """
    for number in range(TRIES - 1):
        try:
            return work()
        except InputError:
            raise
        except SDMADError:
            time.sleep(PAUSE * 2**number)
    return work()
