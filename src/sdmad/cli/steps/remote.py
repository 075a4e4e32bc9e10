"""What a DICOMweb server is told."""

from __future__ import annotations

from pathlib import Path

from sdmad.cli.common import notes
from sdmad.dicom_out.access import Credentials, is_open


def credentials_for(url: str, netrc: Path | None) -> Credentials:
    """Credentials of the environment or a file, with a note where others could read them.

    Raises:
        InputError: as `Credentials.found`.
    """
    credentials = Credentials.found(url, netrc)
    if credentials.given and is_open(url):
        notes([f"{url}: credentials and images go over plain http; take https"])
    return credentials
