"""What a server is started with."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sdmad.detector.calibration import Prevalence
from sdmad.dicom_out.access import Credentials
from sdmad.errors import InputError
from sdmad.reporting.map_files import safe_name
from sdmad.serve.storage.address import checked_address, database_file

LOOPBACK = "127.0.0.1"
ENDING = ".sdmad-serve.sqlite"


@dataclass(frozen=True)
class ServeLimits:
    """Limits of what a client may ask.

    Attributes:
        body: bytes of a request.
        files: in one request.
        page: images of one page of the list.
        requests: a minute, of one client.
        logins: that fail in a minute, of one client and for one account.
        thumbnails: bytes of thumbnails that are kept in memory.
        session: seconds after which a sign-in ends.
    """

    body: int = 64 << 20
    files: int = 32
    page: int = 200
    requests: int = 12_000
    logins: int = 5
    thumbnails: int = 64 << 20
    session: int = 12 * 3600


@dataclass(frozen=True)
class Remote:
    """Images of a DICOMweb server.

    Attributes:
        url: as `sdmad.dicom_out.access.checked_url` gives it.
        query: which studies, by keywords of DICOM.
        credentials: that the server is told.
    """

    url: str
    query: Mapping[str, str] = field(default_factory=dict)
    credentials: Credentials = field(default_factory=Credentials)

    @property
    def name(self) -> str:
        """Of files that belong to it."""
        return f"{safe_name(self.url)}-{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class ServeSettings:
    """What a server is started with.

    Attributes:
        models: directories of ``sdmad fit`` or ``sdmad export``; the first is active.
        images: folder whose images are read; None for none.
        table: label table whose images are read, in place of a folder.
        dicomweb: server whose images are read, in place of both.
        database: URL of SQLite or PostgreSQL; a file beside the images where None.
        host: address to listen at.
        port: to listen at; 0 takes a free one.
        support: label table of the support images, for the most alike of them.
        show_names: whether names of DICOM files and of patients are shown.
        prevalence: stated, of each finding, for probabilities; None for none.
        limits: of what a client may ask.

    Raises:
        InputError: if more than one of folder, table and DICOMweb server is given, or no database
            can be reached by the URL.
    """

    models: tuple[Path, ...]
    images: Path | None = None
    table: Path | None = None
    dicomweb: Remote | None = None
    database: str | None = None
    host: str = LOOPBACK
    port: int = 8000
    support: Path | None = None
    show_names: bool = False
    prevalence: Prevalence | None = None
    limits: ServeLimits = field(default_factory=ServeLimits)

    def __post_init__(self) -> None:
        if [self.images, self.table, self.dicomweb].count(None) < 2:
            raise InputError("--images, --table and --dicomweb: give one of them")
        checked_address(self.database_url)

    def beside(self, ending: str) -> Path:
        """A file or folder of the server's own, by its ending.

        It lies beside the folder or table; of a DICOMweb server's images, in the current folder,
        or beside a database that is a file, under a name made from the server's address.
        """
        place = self.table or self.images or Path("worklist")
        if self.dicomweb is not None:
            place = database_file(self.database or "") or Path(self.dicomweb.name)
        place = place.resolve()
        return place.with_name(place.name.removesuffix(ENDING) + ending)

    @property
    def database_url(self) -> str:
        """Where everything is kept: a file beside the list of images unless another is named."""
        return self.database or f"sqlite:///{self.beside(ENDING)}"

    @property
    def local(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, that no other can reach.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost")
    (True, True, True)
    >>> is_loopback("0.0.0.0"), is_loopback("example.org")
    (False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
