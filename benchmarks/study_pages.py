"""What the pages of ``docs/results.md`` and ``docs/comparison.md`` have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks.results_tables import Kind, Stored
from sdmad.phantoms.cases import STUDIED, load_modality
from sdmad.reporting.draw_tables import TRIVIAL
from sdmad.table import Table

MODALITY_HEAD = """# {title}: {modality}
Written with [{page}](../{page}), which says how the figures were made and what they mean.
Percent: mean over the draws ± their standard deviation [95% interval over draws and patients].

"""


def template(name: str) -> str:
    """The text of a page, its figures left open; it lies beside this file."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def links(folder: str, modalities: Iterable[str] = STUDIED) -> str:
    """A link to the page of each modality, as a list in a sentence.

    Args:
        folder: that holds the pages, as the page with the links sees it.
        modalities: that have a page.
    """
    return ", ".join(f"[{load_modality(m).title}]({folder}/{m}.md)" for m in modalities)


def titles() -> dict[str, str]:
    """What each modality is called."""
    return {modality: load_modality(modality).title for modality in STUDIED}


def most_shots(tables: Stored) -> str:
    """The largest number of shots, the last of the keys."""
    return max((keys[-1] for keys in tables), key=int)


def files(kinds: Iterable[Kind]) -> str:
    """A line of links to the CSV files."""
    return f"As CSV: {', '.join(f'[{k.name}]({k.name}.csv)' for k in kinds)}.\n"


def titled(table: Table, title: str, caption: str = "") -> str:
    """A table below its heading."""
    shown = title[0].upper() + title[1:]
    return replace(spelled_out(table), title=shown, caption=caption).markdown()


def spelled_out(table: Table) -> Table:
    """The trivial predictors by what they do."""
    rows = tuple((TRIVIAL.get(name, name), *cells) for name, *cells in table.rows)
    return replace(table, rows=rows)


def bare(table: Table) -> str:
    """A table without a heading, its figures to the right."""
    header, _, *rows = table.markdown().split("\n")[2:]
    figures = " ---: |" * (len(table.header) - 1)
    return "\n".join([header, f"| --- |{figures}", *rows]).rstrip()


def run(write_pages: Callable[[Path], None], what: str) -> None:
    """Write a study's pages from the command line.

    Args:
        write_pages: writes them into the folder of the documents.
        what: the help's text.
    """
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    write_pages(parser.parse_args().docs)
