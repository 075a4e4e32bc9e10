"""``sdmad signs``: show and check sign banks."""

from __future__ import annotations

from typing import Annotated

import typer

from sdmad.cli.common import BackboneName, readable_warnings, show

app = typer.Typer(no_args_is_help=True, help="Show and check sign banks.")
Bank = Annotated[str, typer.Argument(help="brain, chest, oct, or a YAML file.")]


@app.command("show")
def show_bank(bank: Bank) -> None:
    """Print a bank as a table.

    Example: `sdmad signs show brain`
    """
    from sdmad.evaluation.tables import Table
    from sdmad.signs import SignBank

    content = SignBank.load(bank)
    rows = [("normal", sentence) for sentence in content.normal]
    rows += [(name, sign) for name, signs in content.categories.items() for sign in signs]
    title = f"{content.name}: {content.modality}, {len(content.categories)} categories"
    show([Table(title, ("Category", "Sign"), tuple(rows), "")])


@app.command("check")
def check(bank: Bank, backbone: BackboneName = "nano") -> None:
    """Report duplicates, near-duplicates, cut sentences and signs the backbone does not know.

    Example: `sdmad signs check my-bank.yaml --backbone nano`
    """
    from sdmad.backbones import load_backbone
    from sdmad.evaluation.tables import Table
    from sdmad.signs import SignBank
    from sdmad.signs.check import check_bank

    content = SignBank.load(bank)
    with readable_warnings():
        complaints = check_bank(content, load_backbone(backbone))
    count = len(content.sentences)
    if not complaints:
        typer.echo(f"{content.name}: {count} signs, nothing to complain of")
        return
    rows = tuple((c.kind, c.category, c.sentence, c.message) for c in complaints)
    title = f"{content.name}: {len(complaints)} remarks on {count} signs"
    show([Table(title, ("What", "Category", "Sign", "Why"), rows, "")])
