"""What several commands share: options, exit statuses, messages."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from sdmad.data.images import ImageError
    from sdmad.table import Table

USER_ERROR = 2
SOME_UNREADABLE = 3
INTERRUPTED = 130

Out = Annotated[Path, typer.Option("--out", "-o", help="Directory to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what the directory holds.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
Shots = Annotated[int, typer.Option("--shots", min=1, help="Images a category to learn from.")]
BackboneName = Annotated[
    str, typer.Option("--backbone", help="nano, a folder, a hub name, open_clip:... or medclip:...")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[
    Literal["float32", "bfloat16", "auto"],
    typer.Option("--precision", help="Of the towers: float32, bfloat16 or auto."),
]
Decision = Annotated[
    str | None,
    typer.Option(
        "--decision",
        help="When a category is found: paper (Eq. 8), mean, or fpr:0.05 with --normals.",
    ),
]
Normals = Annotated[
    Path | None,
    typer.Option("--normals", help="Folder of normal images that set fpr thresholds."),
]


def say(text: str) -> None:
    """Tell the person something, on the standard error stream."""
    typer.echo(text, err=True)


def complain(text: str) -> None:
    """Report a mistake in one line."""
    typer.echo(typer.style("error: ", fg="red", bold=True) + text, err=True)


def notes(lines: Iterable[str]) -> None:
    """Report what is worth knowing."""
    for line in lines:
        typer.echo(typer.style("note: ", fg="yellow") + line, err=True)


def show(tables: Iterable[Table]) -> None:
    """Print tables on the standard output."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 160
    console = Console(width=wide, highlight=False)
    for table in tables:
        console.print(table.rich())


@contextmanager
def readable_warnings() -> Iterator[None]:
    """Show warnings as notes, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    notes(dict.fromkeys(str(warning.message) for warning in caught))


class Unreadable:
    """Collects images that could not be read; the rest goes on."""

    def __init__(self) -> None:
        self.positions: list[int] = []

    def __call__(self, position: int, error: ImageError) -> None:
        """Report one image."""
        self.positions.append(position)
        complain(str(error))

    def exit_if_any(self, total: int) -> None:
        """End with a status of its own if something was skipped."""
        if self.positions:
            complain(f"{len(self.positions)} of {total} images could not be read and were skipped")
            raise typer.Exit(SOME_UNREADABLE)
