"""What was done already, a line an image: what a run that goes on need not do again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdmad.errors import SDMADError
from sdmad.inputs import read_bytes
from sdmad.output import json_text

NAME = "manifest.jsonl"
MOST = 1 << 30


@dataclass(frozen=True)
class Done:
    """An image whose results were made.

    Attributes:
        source: its UID.
        model: fingerprint of the model as it decided.
        study: its study.
        series: its series.
        server: that has the results; "" where they were written only.
        findings: the categories that were found.
        results: the UID of each kind.
    """

    source: str
    model: str
    study: str
    series: str
    server: str
    findings: tuple[str, ...]
    results: Mapping[str, str]


class Manifest:
    """The lines of earlier runs and this one.

    Args:
        folder: where the file lies, or will; None keeps the lines in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / NAME
        self._done: dict[tuple[str, str], set[str]] = {}
        if self.path is not None and self.path.is_file():
            for line in read_bytes(self.path, MOST).splitlines():
                self._read(line)

    def knows(self, source: str, model: str, server: str) -> bool:
        """Whether an image is done, and its results stored on a server; "" asks for no server."""
        known = self._done.get((source, model), set())
        return server in known if server else bool(known)

    def add(self, done: Done) -> None:
        """Note an image; it is on the disk when this returns.

        Raises:
            SDMADError: if it cannot be written.
        """
        self._done.setdefault((done.source, done.model), set()).add(done.server)
        if self.path is None:
            return
        line = json_text(asdict(done), indent=None) + "\n"
        try:
            with self.path.open("ab") as file:
                if file.tell() and not self._ends():
                    file.write(b"\n")  # an earlier run was killed while it wrote
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SDMADError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _ends(self) -> bool:
        assert self.path is not None
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"

    def _read(self, line: bytes) -> None:
        """Take what a line says; one that was cut off says nothing."""
        try:
            said: Any = json.loads(line)
            source, model, server = said["source"], said["model"], said["server"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if all(isinstance(one, str) for one in (source, model, server)):
            self._done.setdefault((source, model), set()).add(server)
