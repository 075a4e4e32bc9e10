"""``sdmad data``: is a download whole and right?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.cli.common import Force, notes, readable_warnings, show

if TYPE_CHECKING:
    from sdmad.data.integrity import Report
    from sdmad.table import Table

NOT_WHOLE = 1
SHOWN_PLACES = 3

app = typer.Typer(no_args_is_help=True, help="Check data sets.")


@app.command("check")
def check(
    data_set: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="chestxray8, oct17, fastmri-plus, bmad-NAME, mvfa-NAME (brain, liver, resc, "
            "oct2017, rsna, camelyon16), or table.",
        ),
    ],
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="The data set's folder; the CSV for table.")
    ],
    json: Annotated[
        Path | None, typer.Option("--json", help="Write all findings to this file too.")
    ] = None,
    force: Force = False,
) -> None:
    """Say whether a download is whole and right: PASS, WARN or FAIL a check, and how to mend it.

    Reads the tables and the header of every file, no pixels. Ends with status 1 if a check fails.

    Example: `sdmad data check chestxray8 /data/nih --json check.json`
    """
    from sdmad.data.integrity import check_data_set
    from sdmad.data.sets import open_data_set
    from sdmad.output import check_output_file, write_json

    if json is not None:
        check_output_file(json, force)
    with readable_warnings():
        report = check_data_set(open_data_set(data_set, root))
    notes(report.notes)
    show([*_counts(report), _findings(report)])
    if json is not None:
        write_json(json, report.content())
    if not report.whole:
        raise typer.Exit(NOT_WHOLE)


def _findings(report: Report) -> Table:
    """The checks, one a row; places beyond the first few are in the JSON."""
    from sdmad.table import Table

    rows = []
    for finding in report.findings:
        more = max(finding.count, len(finding.where)) - SHOWN_PLACES
        where = "\n".join(finding.where[:SHOWN_PLACES])
        if more > 0 and finding.where:
            where += f"\n... {more} more"
        verdict = finding.verdict.value.upper()
        rows.append((verdict, finding.check, finding.what, where, finding.mend))
    said = "whole" if report.whole else "NOT whole and right"
    title = f"{report.data_set}: {report.images} images, {said}"
    return Table(title, ("", "Check", "What", "Where", "Mend"), tuple(rows))


def _counts(report: Report) -> list[Table]:
    """Images by category and split, found and published."""
    from sdmad.table import Table

    splits = list(dict.fromkeys(count.split for count in report.counts))
    names = list(dict.fromkeys(count.name for count in report.counts))
    cells = {
        (count.name, count.split): _cell(count.found, count.published) for count in report.counts
    }
    rows = tuple((name, *(cells.get((name, split), "") for split in splits)) for name in names)
    if not rows:
        return []
    caption = "found / published" if any(c.published is not None for c in report.counts) else ""
    return [Table("Counts", ("", *splits), rows, caption)]


def _cell(found: int, published: int | None) -> str:
    return f"{found:,}" if published is None else f"{found:,} / {published:,}"
