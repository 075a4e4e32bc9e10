"""What a server is started with."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from sdmad.detector.calibration import Prevalence
from sdmad.errors import InputError

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
class ServeSettings:
    """What a server is started with.

    Attributes:
        models: directories of ``sdmad fit`` or ``sdmad export``; the first is active.
        images: folder whose images are read; None for none.
        table: label table whose images are read, in place of a folder.
        database: URL of SQLAlchemy; a file beside the images where None.
        host: address to listen at.
        port: to listen at; 0 takes a free one.
        support: label table of the support images, for the most alike of them.
        show_names: whether names of DICOM files and of patients are shown.
        prevalence: stated, of each finding, for probabilities; None for none.
        limits: of what a client may ask.

    Raises:
        InputError: if both a folder and a table are given.
    """

    models: tuple[Path, ...]
    images: Path | None = None
    table: Path | None = None
    database: str | None = None
    host: str = LOOPBACK
    port: int = 8000
    support: Path | None = None
    show_names: bool = False
    prevalence: Prevalence | None = None
    limits: ServeLimits = field(default_factory=ServeLimits)

    def __post_init__(self) -> None:
        if self.images is not None and self.table is not None:
            raise InputError("--images and --table: give one of both")

    @property
    def source(self) -> Path | None:
        """The folder or the table that lists the images."""
        return self.table or self.images

    @property
    def database_url(self) -> str:
        """Where everything is kept: a file beside the list of images unless another is named."""
        if self.database is not None:
            return self.database
        source = (self.source or Path("worklist")).resolve()
        return f"sqlite:///{source.with_name(source.name + ENDING)}"

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
