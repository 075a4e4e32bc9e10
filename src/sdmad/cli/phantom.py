"""``sdmad phantom``: write phantom images, masks and their label table."""

from __future__ import annotations

from typing import Annotated

import typer

from sdmad.choices import PhantomStyle
from sdmad.cli.common import Force, Modality, Out, Seed, put


def command(
    modality: Modality,
    out: Out,
    count: Annotated[int, typer.Option("--count", min=1, help="How many.")] = 400,
    seed: Seed = 0,
    style: Annotated[PhantomStyle, typer.Option("--style", help="Of the acquisition.")] = "test",
    size: Annotated[int, typer.Option("--size", min=96, help="Side in pixels.")] = 128,
    force: Force = False,
) -> None:
    """Draw phantoms: PNG files, a mask a sign, and labels.csv, like anybody's data.

    Example: `sdmad phantom brain --count 400 --seed 1 --out phantoms`
    """
    from sdmad.phantoms.cases import load_modality
    from sdmad.phantoms.files import write_phantoms

    written = write_phantoms(load_modality(modality), out, count, seed, style, size, force)
    put(f"{written}")
