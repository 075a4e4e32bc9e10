"""``sdmad signs diff``: what changed between two banks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.cli.common import put, say, show

if TYPE_CHECKING:
    from sdmad.detector.model_signs import ModelSigns
    from sdmad.signs.diff import Change


def command(
    before: Annotated[
        str, typer.Argument(metavar="A", help="The old bank, or a model directory with its bank.")
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="The new bank.")],
) -> None:
    """Show what changed between two banks; of a model, which of its signs are touched.

    Example: `sdmad signs diff model my-bank.yaml`
    """
    from sdmad.signs import SignBank
    from sdmad.signs.bank import list_banks
    from sdmad.signs.diff import diff_banks
    from sdmad.table import Table

    model = None
    if Path(before).is_dir() and before not in list_banks():
        from sdmad.detector.model_signs import read_model_signs

        model = read_model_signs(Path(before))
    old = model.bank if model else SignBank.load(before)
    changes = diff_banks(old, SignBank.load(after))
    if not changes:
        put(f"{before} and {after}: the same categories and sentences")
        return
    header = ("What", "Category", "Before", "After", *(("In the model",) if model else ()))
    rows = tuple(
        (c.kind, c.category, c.before, c.after, *((_mark(c, model),) if model else ()))
        for c in changes
    )
    show([Table(f"{before} to {after}: {len(changes)} changes", header, rows)])
    if model:
        say(_summary(changes, model))


def _mark(change: Change, model: ModelSigns) -> str:
    if change.sign is None:
        return "not in it" if change.kind == "added" else ""
    return "kept" if model.kept(*change.sign) else "discarded by selection"


def _summary(changes: list[Change], model: ModelSigns) -> str:
    touched = [change.sign for change in changes if change.sign is not None]
    kept = sum(model.kept(*sign) for sign in touched)
    return (
        f"{len(touched)} of the model's {len(model.keep)} signs are touched: {kept} that it scores "
        f"with, {len(touched) - kept} that selection discarded. The model keeps its own bank; the "
        "new one takes effect when it is fitted again"
    )
