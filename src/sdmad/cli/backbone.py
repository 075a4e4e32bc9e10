"""``sdmad backbone``: fetch, convert and list backbones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.cli.common import Force, Out, notes, put, say, show
from sdmad.cli.hints import Command
from sdmad.text import as_argument

if TYPE_CHECKING:
    from sdmad.backbones.fetching.folder import Made

app = typer.Typer(no_args_is_help=True, help="Fetch, convert and list backbones.")


@app.command("fetch", cls=Command)
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="OWNER/NAME, or open_clip:hf-hub:OWNER/NAME.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write; one in the user's cache if not given."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="A branch, a tag or a commit.")
    ] = None,
    force: Force = False,
) -> None:
    """Download what a backbone needs from the hub; pickled weights become safetensors.

    Example: `sdmad backbone fetch flaviagiammarino/pubmed-clip-vit-base-patch32`
    """
    from sdmad.backbones.fetching.folder import fetch_backbone

    _tell(fetch_backbone(name, out, revision, force, say))


@app.command("convert", cls=Command)
def convert(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Pickled weights, their index, or a folder of them."),
    ],
    out: Out,
    force: Force = False,
) -> None:
    """Make a backbone's folder of pickled weights and the files beside them; runs nothing of them.

    Example: `sdmad backbone convert downloads/pytorch_model.bin --out my-clip`
    """
    from sdmad.backbones.fetching.folder import convert_backbone

    _tell(convert_backbone(file, out, force, say))


@app.command("list", cls=Command)
def list_known() -> None:
    """Show known backbones: sizes, licences, and which are on this machine.

    Example: `sdmad backbone list`
    """
    from sdmad.backbones.fetching.catalogue import here, known
    from sdmad.table import Table

    found = here()
    rows = [
        (one.family, one.name, one.size, one.licence, one.weights, found.pop(one.name, ""))
        for one in known()
    ]
    rows += [("", name, "", "", "", place) for name, place in sorted(found.items())]
    header = ("Family", "Name", "Million weights", "Licence", "Published as", "Here")
    show([Table("Backbones", header, tuple(rows), "Read the licence in the repository itself.")])


def _tell(made: Made) -> None:
    notes(made.lacks)
    told = f"{made.network}, for the compared systems that take it" if made.network else ""
    told = f"give --backbone {as_argument(made.backbone)}" if made.backbone else told
    put(f"{made.folder}: {told}" if told else str(made.folder))
