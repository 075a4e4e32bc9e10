"""``sdmad data``: is a download whole and right?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.choices import DataSetName
from sdmad.cli.common import (
    FAULT,
    Address,
    FileOut,
    Force,
    Json,
    LabelsOption,
    Root,
    data_source,
    notes,
    put,
    readable_warnings,
    show,
)
from sdmad.cli.hints import Command
from sdmad.errors import InputError

if TYPE_CHECKING:
    from sdmad.data.integrity import Report
    from sdmad.table import Table

SHOWN_PLACES = 3

app = typer.Typer(no_args_is_help=True, help="Check data sets.")


@app.command("check", cls=Command)
def check(
    data: Annotated[
        DataSetName | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="chestxray8, oct17, fastmri-plus, bmad-SET or mvfa-SET with SET one of brain, "
            "liver, resc, oct2017, rsna, camelyon16.",
        ),
    ] = None,
    root: Root = None,
    labels: LabelsOption = None,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", help="Any images, a folder or an address, not a data set."),
    ] = None,
    address: Address = None,
    as_json: Json = False,
    out: FileOut = None,
    force: Force = False,
) -> None:
    """Say whether a download is whole and right: PASS, WARN or FAIL a check, and how to mend it.

    Reads the tables and the header of every file, no pixels; of an --archive headers and hashes, on
    Ray. Ends with status 1 if a check fails.

    Example: `sdmad data check --data chestxray8 --root /data/nih --json --out check.json`
    """
    from sdmad.output import check_output_file

    if archive is not None and (data or root or labels):
        raise InputError("--archive takes the place of --data, --root and --labels")
    if archive is None and address is not None:
        raise InputError("--address goes with --archive")
    source = None if archive is not None else data_source(data, root, labels)
    if out is not None:
        check_output_file(out, force)
    with readable_warnings():
        report = _check(source, archive, address)
    notes(report.notes)
    _tell(report, as_json, out)
    if not report.whole:
        raise typer.Exit(FAULT)


def _check(
    source: tuple[str, Path | None] | None, archive: Path | None, address: str | None
) -> Report:
    """Check a data set, or where there is none an archive."""
    if source is None:
        from sdmad.archive.checking import check_archive
        from sdmad.archive.engine import Resources

        assert archive is not None
        return check_archive([archive], Resources(address))
    from sdmad.data.integrity import check_data_set
    from sdmad.data.sets import open_data_set

    name, place = source
    assert place is not None  # no phantoms here
    return check_data_set(open_data_set(name, place))


def _tell(report: Report, as_json: bool, out: Path | None) -> None:
    from sdmad.output import json_text, write_text

    tables = [*_counts(report), _findings(report)]
    if out is None and not as_json:
        show(tables)
        return
    pages = [table.markdown() for table in tables]
    text = json_text(report.content()) + "\n" if as_json else "\n".join(pages)
    if out is None:
        put(text, end="")
        return
    write_text(out, text)
    put(f"{out}: {_verdict(report)}")


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
    return Table(_verdict(report), ("", "Check", "What", "Where", "Mend"), tuple(rows))


def _verdict(report: Report) -> str:
    said = "whole" if report.whole else "NOT whole and right"
    return f"{report.data_set}: {report.images} images, {said}"


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
