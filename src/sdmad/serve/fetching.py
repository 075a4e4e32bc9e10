"""Images of a DICOMweb server: found when the server starts, fetched while it runs, and kept.

They lie in a folder of the server's own, by the UIDs of study and image, so that the next start has
them. An image is on the list once its file is whole.
"""

from __future__ import annotations

import logging
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from sdmad.data.plane import ImageError
from sdmad.dicom_out.originals import Study, keep, refusal
from sdmad.dicom_out.server import MOST_FOUND, MOST_IMAGE, Instance, Server, is_uid
from sdmad.errors import InputError, SDMADError
from sdmad.output import private_folder
from sdmad.serve.settings import Remote

IMAGES = ".sdmad-serve-images"
"""Ending of the folder in which fetched images are kept."""

TOGETHER = 16
"""Images that are fetched before the list is told of them."""

PAUSE = 60.0
"""Seconds after which what went wrong is tried again."""

_log = logging.getLogger(__name__)


class Fetching:
    """The images of some studies.

    Args:
        remote: where the studies are, and which.
        folder: where images are kept.

    Raises:
        SDMADError: if the server cannot be reached.
    """

    def __init__(self, remote: Remote, folder: Path) -> None:
        self._server, self._folder = Server(remote.url, remote.credentials), folder
        self._studies = list(self._server.studies(remote.query))
        if not self._studies:
            asked = " ".join(f"--query {word}={value}" for word, value in remote.query.items())
            warnings.warn(f"{remote.url}: no study there fits {asked}", stacklevel=2)
        self._kept = {place.stem for place in self.kept()}
        self._waiting = list(self._studies)
        self._said: set[str] = set()
        self._closed = threading.Event()

    @property
    def waiting(self) -> int:
        """Studies whose images are not all here."""
        return len(self._waiting)

    def kept(self) -> list[Path]:
        """The images of the studies that were fetched before."""
        inside = (path for study in self._studies for path in self._place(study).glob("*.dcm"))
        return sorted(path for path in inside if is_uid(path.stem))

    def make_folder(self) -> None:
        """Make the folder in which images are kept, if it is not there.

        Raises:
            SDMADError: if it cannot be made.
        """
        private_folder(self._folder)

    def start(self, told: Callable[[list[Path]], None]) -> None:
        """Fetch what is not here yet, in a thread; the folder must have been made.

        Args:
            told: of images that are here now.
        """
        threading.Thread(target=self._run, args=(told,), daemon=True).start()

    def stop(self) -> None:
        """Fetch no more; an image that is under way is not waited for, and not kept."""
        self._closed.set()

    def _run(self, told: Callable[[list[Path]], None]) -> None:
        while self._waiting and not self._closed.is_set():
            try:
                self._round(told)
            except Exception as error:  # the thread must outlive any of them
                if not self._closed.is_set():
                    self._say(error)
            if self._waiting:
                self._closed.wait(PAUSE)

    def _round(self, told: Callable[[list[Path]], None]) -> None:
        """Fetch all studies but those with which something goes wrong.

        Raises:
            InputError: if no study can be had now.
        """
        for study in list(self._waiting):
            try:
                self._fetch_study(study, told)
            except InputError:
                raise
            except SDMADError as error:
                self._say(error)
            else:
                self._waiting.remove(study)

    def _fetch_study(self, study: str, told: Callable[[list[Path]], None]) -> None:
        private_folder(self._place(study))
        new: list[Path] = []
        try:
            for one in Study.of(self._server, study).images:
                if self._closed.is_set():
                    return
                if one.uid not in self._kept and (path := self._fetch(one)) is not None:
                    new.append(path)
                if len(new) == TOGETHER:
                    told(new)
                    new = []
        finally:
            if new and not self._closed.is_set():
                told(new)

    def _fetch(self, one: Instance) -> Path | None:
        path = self._place(one.study) / f"{one.uid}.dcm"
        self._check_room()
        try:
            if not keep(self._server, one, path):
                return None
        except ImageError as error:
            self._say(refusal(one, error))
            return None
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be written ({error.strerror})") from error
        self._kept.add(one.uid)
        return path

    def _check_room(self) -> None:
        """Refuse more than is good for the disk that readings are kept on.

        Raises:
            InputError: if there is no room.
        """
        if len(self._kept) >= MOST_FOUND:
            raise InputError(f"--query: {MOST_FOUND:,} images are here, more are not fetched")
        if shutil.disk_usage(self._folder).free < MOST_IMAGE:
            raise InputError(
                f"{self._folder}: less than {MOST_IMAGE >> 30} GiB are free there, so no more "
                "images are fetched; make room"
            )

    def _place(self, study: str) -> Path:
        return self._folder / study

    def _say(self, what: object) -> None:
        """Tell the log what is wrong, once."""
        text = f"{what}"
        if text not in self._said:
            self._said.add(text)
            _log.warning("%s", text)
