"""The address of a DICOMweb server and the credentials for it, neither of which says the other."""

from __future__ import annotations

import netrc
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydicom.datadict import tag_for_keyword

from sdmad.errors import InputError

USER, PASSWORD, TOKEN = (f"SDMAD_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN"))
"""Environment variables with the credentials."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Credentials:
    """What a server is told; never part of a message.

    Attributes:
        user: name, with a password.
        password: of the user.
        token: a bearer token, in place of both.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def given(self) -> bool:
        """Whether there are any."""
        return bool(self.user or self.token)

    @classmethod
    def found(cls, url: str, file: Path | None = None) -> Credentials:
        """Those of the environment, or of a file as netrc(5) has it.

        Raises:
            InputError: if both are given, one is incomplete, or the file says nothing of the host.
        """
        user, password, token = (os.environ.get(name, "") for name in (USER, PASSWORD, TOKEN))
        given = bool(user or password) + bool(token) + (file is not None)
        if given > 1:
            raise InputError(
                f"credentials are given twice: take one of {USER} with {PASSWORD}, {TOKEN} "
                "and --netrc"
            )
        if bool(user) != bool(password):
            raise InputError(f"{USER} and {PASSWORD} go together; set both")
        if not f"{user}{password}{token}".isprintable():
            raise InputError(f"{USER}, {PASSWORD} or {TOKEN} holds a line break; set it anew")
        return cls(user, password, token) if file is None else cls._of_file(url, file)

    @classmethod
    def _of_file(cls, url: str, file: Path) -> Credentials:
        host = urlsplit(url).hostname or ""
        try:
            found = netrc.netrc(str(file)).authenticators(host)
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from None
        except (netrc.NetrcParseError, UnicodeDecodeError):
            raise InputError(
                f"{file}: not as netrc(5) has it: machine HOST login USER password PASSWORD"
            ) from None
        if found is None:
            raise InputError(f"{file}: says nothing of {host}; add: machine {host} login ...")
        return cls(found[0], found[2] or "")


def checked_url(url: str) -> str:
    """The address of a DICOMweb service, without a slash at its end.

    Raises:
        InputError: if it is none, or holds a password, which is not repeated.
    """
    problem = (
        "the URL must be an http(s) address such as http://localhost:8042/dicom-web, without user, "
        f"password or question mark; credentials come from {USER} and {PASSWORD}, {TOKEN} or "
        "--netrc"
    )
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        raise InputError(problem) from None
    text = url.strip()
    if "@" in parts.netloc or parts.query or parts.fragment or not usable:
        raise InputError(problem)
    if not text.isprintable() or " " in text:
        raise InputError(problem)
    return text.rstrip("/")


def is_open(url: str) -> bool:
    """Whether what is sent there can be read on its way: plain http beyond this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK


def parse_query(several: Sequence[str]) -> dict[str, str]:
    """What studies are looked for, of ``KEYWORD=VALUE`` each.

    >>> parse_query(["ModalitiesInStudy=CR", "StudyDate=20240101-"])
    {'ModalitiesInStudy': 'CR', 'StudyDate': '20240101-'}

    Raises:
        InputError: if one is none, or names no attribute of DICOM.
    """
    found = {}
    for text in several:
        keyword, mark, value = text.partition("=")
        if not (keyword and mark and value and text.isprintable()):
            raise InputError(f"--query: expected KEYWORD=VALUE, got {text!r}")
        if tag_for_keyword(keyword) is None:
            raise InputError(
                f"--query: {keyword!r} is no keyword of DICOM; a study has StudyDate, "
                "ModalitiesInStudy, PatientID, AccessionNumber, StudyInstanceUID and others"
            )
        found[keyword] = value
    return found
