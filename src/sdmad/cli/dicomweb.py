"""``sdmad dicomweb``: judge the images of a DICOMweb server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.cli.common import (
    SOME_UNREADABLE,
    Decision,
    Device,
    ErrorRate,
    ModelBackbone,
    ModelName,
    Netrc,
    Normals,
    Queries,
    StatedPrevalence,
    TowerPrecision,
    complain,
    put,
    readable_warnings,
)

if TYPE_CHECKING:
    from sdmad.dicom_out.sweep import Counts


def command(
    url: Annotated[str, typer.Argument(help="Such as http://localhost:8042/dicom-web.")],
    model: ModelName,
    query: Annotated[list[str], Queries],
    store: Annotated[bool, typer.Option("--store", help="Store results on the server.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder that results are added to.")
    ] = None,
    netrc: Netrc = None,
    prevalence: StatedPrevalence = None,
    error_rate: ErrorRate = None,
    decision: Decision = None,
    normals: Normals = None,
    backbone: ModelBackbone = None,
    device: Device = "auto",
    precision: TowerPrecision = "float32",
) -> None:
    """Judge the images of studies on a DICOMweb server; results as DICOM SR, SEG, map and picture.

    What is done already is not done again. User and password come from SDMAD_DICOMWEB_USER and
    SDMAD_DICOMWEB_PASSWORD, a token from SDMAD_DICOMWEB_TOKEN, or both from --netrc.

    Example: `sdmad dicomweb https://pacs/dicom-web --model model --query StudyDate=20240101-
    --store`
    """
    from sdmad.cli.steps.judging import load_judging
    from sdmad.cli.steps.loading import ModelRequest
    from sdmad.cli.steps.remote import credentials_for
    from sdmad.detector.calibration import parse_prevalence
    from sdmad.dicom_out.access import checked_url, parse_query
    from sdmad.dicom_out.results import check_can_make
    from sdmad.dicom_out.server import Server
    from sdmad.dicom_out.sweep import Sweep
    from sdmad.errors import InputError
    from sdmad.output import results_folder

    if not store and out is None:
        raise InputError("give --store, --out FOLDER or both: results go to the server or there")
    stated = None if prevalence is None else parse_prevalence(prevalence)
    request = ModelRequest(
        Path(model), decision, normals, backbone, device, precision, stated, error_rate
    )
    address, wanted = checked_url(url), parse_query(query)
    credentials = credentials_for(address, netrc)
    check_can_make()
    folder = None if out is None else results_folder(out)
    with readable_warnings():
        judging = load_judging(request)
        server = Server(address, credentials)
        how = (judging.identity(), judging.rows, store, folder, complain)
        counts = Sweep(server, judging.detector, *how).run(list(server.studies(wanted)))
    put(_told(counts))
    if counts.refused:
        complain(f"{counts.refused} of {counts.images} images have no DICOM results")
        raise typer.Exit(SOME_UNREADABLE)


def _told(counts: Counts) -> str:
    """What became of the images, on one line."""
    parts = {"judged": counts.judged, "stored": counts.stored, "done before": counts.before}
    told = ", ".join(f"{number} {what}" for what, number in parts.items())
    return f"{counts.studies} studies, {counts.images} images: {told}, {counts.refused} refused"
