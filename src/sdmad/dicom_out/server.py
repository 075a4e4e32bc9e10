"""A DICOMweb server: found by QIDO-RS, retrieved by WADO-RS, stored to by STOW-RS.

What a server answers is a stranger's: each answer is bounded in bytes and time, a UID is used only
if it is one, and an image's bytes go to a file as they come, which a decoder process reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from sdmad.data.plane import ImageError
from sdmad.dicom_out.access import PASSWORD, TOKEN, USER, Credentials
from sdmad.dicom_out.multipart import write_first_part
from sdmad.errors import InputError, SDMADError
from sdmad.export.runtime import require

MOST_TOLD = 1 << 26
"""Bytes of an answer that is a list (64 MiB)."""

MOST_IMAGE = 1 << 31
"""Bytes of an image (2 GiB)."""

MOST_FOUND = 100_000
"""Studies, series or instances of one search."""

PAGE = 500
CONNECT, SILENT = 10.0, 60.0
"""Seconds: to connect, and between two pieces of an answer."""

TRIES = 3

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")


@dataclass(frozen=True)
class Instance:
    """An image on the server.

    Attributes:
        study: its UID.
        series: its UID.
        uid: its own.
        kind: its SOP class.
        frames: how many it has, as far as the server says.
    """

    study: str
    series: str
    uid: str
    kind: str
    frames: int = 1

    @property
    def is_image(self) -> bool:
        """Whether its class is one of images, by the standard."""
        return "Image Storage" in UID(self.kind).name


class Server:
    """A DICOMweb service.

    Args:
        url: as `checked_url` gives it.
        credentials: what it is told.
    """

    def __init__(self, url: str, credentials: Credentials) -> None:
        require("dicom-out", "dicomweb_client", "requests")
        from dicomweb_client import DICOMwebClient

        from sdmad.dicom_out.bounded import Bounds, session_of

        self.url = url
        self.bounds = Bounds()
        self.session = session_of(self.bounds, credentials)
        self.client = DICOMwebClient(url, self.session, timeout=(CONNECT, SILENT))
        self.client.host = urlsplit(url).netloc  # it would leave out the port
        self.client.set_http_retry_params(max_attempts=TRIES, wait_exponential_multiplier=300)

    def studies(self, query: Mapping[str, str]) -> Iterator[str]:
        """UIDs of the studies that a query finds."""
        search = self.client.search_for_studies
        for found in self._all("StudyInstanceUID", search, search_filters=dict(query)):
            yield _text(found, "StudyInstanceUID")

    def series(self, study: str) -> dict[str, str]:
        """The description of each series of a study, by its UID; "" where it has none."""
        search = self.client.search_for_series
        found = self._all(
            "SeriesInstanceUID", search, study_instance_uid=study, fields=["SeriesDescription"]
        )
        return {_text(s, "SeriesInstanceUID"): _text(s, "SeriesDescription") for s in found}

    def instances(self, study: str) -> Iterator[Instance]:
        """All instances of a study."""
        search = self.client.search_for_instances
        wanted = ["SOPClassUID", "SeriesInstanceUID", "NumberOfFrames"]
        found = self._all("SOPInstanceUID", search, study_instance_uid=study, fields=wanted)
        for one in found:
            series, uid, kind = (
                _text(one, k) for k in ("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
            )
            frames = _text(one, "NumberOfFrames")
            number = int(frames) if frames.isdecimal() and len(frames) < 8 else 1
            if is_uid(series) and is_uid(kind):
                yield Instance(study, series, uid, kind, max(1, number))

    def retrieve(self, one: Instance, path: Path) -> None:
        """Write an instance to a file, as the server has it.

        Raises:
            ImageError: if it does not give it.
        """
        place = f"studies/{one.study}/series/{one.series}/instances/{one.uid}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        how: dict[str, Any] = {"headers": {"Accept": accept}, "timeout": (CONNECT, SILENT)}
        with (
            self._told("the image", ImageError),
            self.bounds.of(MOST_IMAGE),
            self.session.get(f"{self.url}/{place}", stream=True, **how) as answer,
        ):
            answer.raise_for_status()
            kind = answer.headers.get("Content-Type", "")
            write_first_part(answer.iter_content(1 << 20), kind, path)

    def store(self, study: str, parts: Sequence[Dataset]) -> None:
        """Store instances.

        Raises:
            ImageError: if the server does not take one, with the reason's code.
        """
        what = "storing results"
        with self._told(what, ImageError), self.bounds.of(MOST_TOLD):
            answer = self.client.store_instances(list(parts), study)
        failed = answer.get("FailedSOPSequence") or []
        if failed:
            codes = sorted({f"{int(item.get('FailureReason') or 0):04X}H" for item in failed})
            raise ImageError(
                f"{what}: the server refuses {len(failed)} of {len(parts)} (reason "
                f"{', '.join(codes)} of DICOM PS3.18 I.2.2)"
            )
        if not answer.get("ReferencedSOPSequence"):
            self._check_stored(study, [str(part.SOPInstanceUID) for part in parts])

    def _check_stored(self, study: str, uids: Sequence[str]) -> None:
        """Look for what was stored, where the server has not said what became of it."""
        there = {one.uid for one in self.instances(study)}
        if not there >= set(uids):
            raise ImageError("storing results: the server took them and does not have them")

    def _all(
        self, keyword: str, search: Callable[..., list[Any]], **wanted: Any
    ) -> Iterator[dict[str, Any]]:
        """Everything that a search finds, page by page, each UID once."""
        seen: set[str] = set()
        offset = 0
        while len(seen) < MOST_FOUND:
            with self._told("the search"), self.bounds.of(MOST_TOLD):
                page = search(limit=PAGE, offset=offset, **wanted)
            if not isinstance(page, list):
                raise SDMADError(f"{self.url}: the search is answered with no list")
            new = [one for one in page if (uid := _text(one, keyword)) not in seen and is_uid(uid)]
            if not new:  # no more, or a server that knows no offset
                return
            offset += len(page)
            for one in new:
                uid = _text(one, keyword)
                if uid not in seen:
                    seen.add(uid)
                    yield one
        raise InputError(f"--query: finds more than {MOST_FOUND:,}; ask for less at a time")

    @contextmanager
    def _told(self, what: str, kind: type[SDMADError] = SDMADError) -> Iterator[None]:
        """Turn what goes wrong into one line, which repeats nothing that was sent or answered."""
        import requests

        where = f"{self.url}: {what}"
        try:
            yield
        except SDMADError as error:
            raise kind(f"{where}: {error}") from None
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status in (401, 403):
                raise InputError(
                    f"{self.url}: the server refuses access (HTTP {status}); check {USER} and "
                    f"{PASSWORD}, {TOKEN} or --netrc"
                ) from None
            raise kind(f"{where} fails (HTTP {status})") from None
        except requests.exceptions.SSLError:
            raise InputError(
                f"{self.url}: its certificate is not trusted here; REQUESTS_CA_BUNDLE names a file "
                "of certificates that are"
            ) from None
        except requests.ConnectionError:
            raise InputError(
                f"{self.url}: no server answers there; nothing is lost, run it again"
            ) from None
        except requests.Timeout:
            raise InputError(
                f"{self.url}: the server is silent for {SILENT:g} s; run it again"
            ) from None
        except Exception as error:
            raise kind(
                f"{where} is answered in a way that DICOMweb does not know ({type(error).__name__})"
            ) from None


def is_uid(text: str) -> bool:
    """Whether it is a UID, and so safe in a path and an address.

    >>> is_uid("1.2.840"), is_uid("../1"), is_uid("1." * 40 + "1")
    (True, False, False)
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _text(item: Any, keyword: str) -> str:
    """An attribute's first value in DICOM's JSON; "" where there is none."""
    try:
        value = item[f"{tag_for_keyword(keyword):08X}"]["Value"][0]
    except (KeyError, IndexError, TypeError):
        return ""
    return str(value) if isinstance(value, str | int) else ""
