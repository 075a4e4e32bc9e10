"""``sdmad serve``: a page for readers, and a REST interface."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.cli.common import Netrc, Queries, StatedPrevalence, put, readable_warnings, say

if TYPE_CHECKING:
    from sdmad.serve.settings import Remote

SERVER = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "argon2", "python_multipart")
"""What the extra ``[serve]`` brings."""

Database = Annotated[
    str | None,
    typer.Option("--database", help="URL of the server's database; else a file beside the images."),
]
Folder = Annotated[Path | None, typer.Option("--images", help="Folder of the images to read.")]
DicomWeb = Annotated[
    str | None, typer.Option("--dicomweb", help="DICOMweb server with the images to read.")
]
Table = Annotated[Path | None, typer.Option("--table", help="LABELS.csv with the images to read.")]


def command(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="Directories of sdmad fit or sdmad export."),
    ],
    images: Folder = None,
    table: Table = None,
    dicomweb: DicomWeb = None,
    query: Annotated[list[str] | None, Queries] = None,
    netrc: Netrc = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; beyond this machine, by accounts.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = 8000,
    database: Database = None,
    support: Annotated[
        Path | None,
        typer.Option("--support-images", help="LABELS.csv of the support images, shown as alike."),
    ] = None,
    show_names: Annotated[
        bool, typer.Option("--show-names", help="Show patients, and names of DICOM files.")
    ] = False,
    prevalence: StatedPrevalence = None,
) -> None:
    """Show readers what was found, where and why, and keep their readings.

    Prints an address that opens the page; ends with Ctrl-C.

    Example: `sdmad serve model --images new-images`
    """
    from sdmad.cli.signals import received
    from sdmad.export.runtime import require

    require("serve", *SERVER)
    from sdmad.cli.steps.serving import address, listening, serve
    from sdmad.detector.calibration import parse_prevalence
    from sdmad.serve.app import create_app
    from sdmad.serve.settings import ServeSettings

    stated = None if prevalence is None else parse_prevalence(prevalence)
    remote = _remote(dicomweb, query or [], netrc)
    settings = ServeSettings(
        tuple(models), images, table, remote, database, host, port, support, show_names, stated
    )
    with listening(settings) as listener:
        with readable_warnings():
            app = create_app(settings)  # last, so that a start that is refused leaves no file
        put(address(app.state.house, listener.getsockname()[1]))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they name files, which may name a patient
                serve(app, listener)
        except KeyboardInterrupt:
            received.clear()  # the way that a server ends
    say("stopped; every reading that was answered is kept")


def _remote(url: str | None, query: list[str], netrc: Path | None) -> Remote | None:
    """The DICOMweb server that has the images; None where none was given."""
    from sdmad.cli.steps.remote import credentials_for
    from sdmad.dicom_out.access import checked_url, parse_query
    from sdmad.errors import InputError
    from sdmad.serve.settings import Remote

    if (url is None) != (not query) or (url is None and netrc is not None):
        raise InputError(
            "--dicomweb, --query and --netrc go together: which server, and which of its studies, "
            "as in --query StudyDate=20240101-"
        )
    if url is None:
        return None
    address = checked_url(url)
    return Remote(address, parse_query(query), credentials_for(address, netrc))
