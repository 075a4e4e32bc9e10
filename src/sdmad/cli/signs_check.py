"""``sdmad signs check``: what a backbone makes of a bank before anything is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.choices import EMBEDDED
from sdmad.cli.common import (
    BackboneName,
    Bank,
    Force,
    LabelsOption,
    Unreadable,
    notes,
    put,
    readable_warnings,
    show,
)

if TYPE_CHECKING:
    from sdmad.backbones import Backbone
    from sdmad.signs import SignBank
    from sdmad.signs.check import Complaint
    from sdmad.signs.measure import SignMeasures


def command(
    bank: Bank,
    backbone: BackboneName = EMBEDDED,
    labels: LabelsOption = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the sign-by-sign cosines, FILE.png.")
    ] = None,
    force: Force = False,
) -> None:
    """Measure a bank on a backbone: what Eq. 6 would discard, what repeats, what is cut or unknown.

    A label table adds each sign's own AUROC for its category.

    Example: `sdmad signs check my-bank.yaml --backbone lite --picture signs.png`
    """
    from sdmad.backbones import load_backbone
    from sdmad.output import check_output_file
    from sdmad.signs import SignBank
    from sdmad.signs.check import check_bank
    from sdmad.signs.measure import measure_signs

    if picture is not None:
        check_output_file(picture, force)
    content = SignBank.load(bank)
    unreadable = Unreadable()
    total = 0
    with readable_warnings():
        tower = load_backbone(backbone)
        measures = measure_signs(content, tower)
        if labels is not None:
            measures, total = _judge(measures, tower, labels, unreadable)
        # What is discarded stands in the table of the signs.
        complaints = [c for c in check_bank(content, tower) if c.kind != "discarded"]
    show([measures.sign_table(), measures.category_table()])
    _show_complaints(content, complaints)
    if picture is not None:
        _draw(measures, picture)
    unreadable.exit_if_any(total)


def _judge(
    measures: SignMeasures, backbone: Backbone, labels: Path, unreadable: Unreadable
) -> tuple[SignMeasures, int]:
    """The measures with each sign's AUROC on the images of a table, and how many these are."""
    from dataclasses import replace

    from sdmad.baselines.zero_shot import ZeroShotCLIP
    from sdmad.data.table import read_label_table
    from sdmad.signs.measure import sign_auroc

    bank = measures.bank
    table = read_label_table(labels, bank.names)
    found = ZeroShotCLIP(bank, backbone).score_images(table.files, unreadable, "reading images")
    auroc = sign_auroc(table.labels, found.similarity, bank.category_index)
    notes(table.notes)
    return replace(measures, auroc=auroc), len(table)


def _show_complaints(bank: SignBank, complaints: list[Complaint]) -> None:
    from sdmad.table import Table

    count = len(bank.sentences)
    if not complaints:
        put(f"{bank.name}: {count} signs, nothing to complain of")
        return
    rows = tuple((c.kind, c.category, c.sentence, c.message) for c in complaints)
    title = f"{bank.name}: {len(complaints)} remarks on {count} signs"
    show([Table(title, ("What", "Category", "Sign", "Why"), rows, "")])


def _draw(measures: SignMeasures, picture: Path) -> None:
    from sdmad.output import write_bytes
    from sdmad.reporting.sign_plots import sign_matrix

    bank = measures.bank
    owners = [bank.names[k] for k in bank.category_index]
    write_bytes(picture, sign_matrix(measures.cosine, bank.sentences, owners, measures.keep))
    put(f"picture: {picture}")
