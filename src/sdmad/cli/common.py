"""What several commands share: options, exit statuses, messages."""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.choices import DrawOrder, PhantomModality, Precision
from sdmad.cli.signals import INTERRUPTED, TERMINATED
from sdmad.errors import InputError, SDMADError
from sdmad.text import readable

if TYPE_CHECKING:
    from sdmad.data.images import ImageError
    from sdmad.table import Table

FAULT = 1
"""A fault was found: in a data set by ``sdmad data check``, or in sdmad itself."""

USER_ERROR = 2
SOME_UNREADABLE = 3
ALARM = 4
STATUSES = {
    0: "done",
    FAULT: "a fault: data check found one, or sdmad itself failed",
    USER_ERROR: "something given cannot be used; the message says how to mend it",
    SOME_UNREADABLE: "done, but some images could not be read or have no DICOM results",
    ALARM: "done, and a monitored period differs from its reference",
    INTERRUPTED: "interrupted (Ctrl-C)",
    TERMINATED: "terminated",
}
"""What the exit status of a command says."""


REPEATED = ("PartWarning",)
"""Warnings that come for every file; the first few are shown and the rest counted."""

SHOWN_OF_A_KIND = 3


def _checked_decision(ctx: typer.Context, rule: str | None) -> str | None:
    """A decision rule, refused by the parser if there is none such."""
    from sdmad.detector.config import parse_decision

    if rule is not None and not ctx.resilient_parsing:
        with _bad_parameter():
            parse_decision(rule)
    return rule


def _checked_window(ctx: typer.Context, window: str) -> str:
    """A window setting, refused by the parser if there is none such."""
    if not ctx.resilient_parsing:
        from sdmad.data.windows import parse_window

        with _bad_parameter():
            parse_window(window)
    return window


def _checked_device(device: str) -> str:
    """A device's name, refused by the parser if it can be none."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise typer.BadParameter(f"{device!r} is none of auto, cpu, cuda and cuda:NUMBER")
    return device


@contextmanager
def _bad_parameter() -> Iterator[None]:
    try:
        yield
    except SDMADError as error:
        raise typer.BadParameter(str(error)) from error


def _offer(*values: str) -> Callable[[str], list[str]]:
    """Complete an open value by the words that it may begin with."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


Out = Annotated[Path, typer.Option("--out", "-o", help="Directory to write.")]
ResultsOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Directory to write; one named after the study if not given."),
]
FileOut = Annotated[
    Path | None, typer.Option("--out", "-o", help="File to write; else standard output.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Json = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Draws of the support set.")]
Order = Annotated[
    DrawOrder,
    typer.Option("--draw", help="One image of each patient first, or patient by patient."),
]
Shots = Annotated[int, typer.Option("--shots", min=1, help="Images a category to learn from.")]
ImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size", min=1, help="Input side in pixels; the backbone's own if not given."
    ),
]
Window = Annotated[
    str,
    typer.Option(
        "--window",
        callback=_checked_window,
        autocompletion=_offer("auto", "lut", "full", "percentiles"),
        help="Grey values: auto (the file's own), lut, full, percentiles, or CENTER,WIDTH: 40,400.",
    ),
]
_backbone = typer.Option(
    "--backbone",
    help="lite, a folder, a hub name, open_clip:... or medclip:...; of a saved model, where "
    "its own is here.",
)
BackboneName = Annotated[str, _backbone]
ModelBackbone = Annotated[str | None, _backbone]
MedCLIP = Annotated[str | None, typer.Option("--medclip", help="Folder with MedCLIP's weights.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        callback=_checked_device,
        autocompletion=_offer("auto", "cpu", "cuda"),
        help="auto, cpu, cuda or cuda:1.",
    ),
]
TowerPrecision = Annotated[
    Precision, typer.Option("--precision", help="Of the towers; auto: bfloat16 where it is native.")
]
Decision = Annotated[
    str | None,
    typer.Option(
        "--decision",
        callback=_checked_decision,
        autocompletion=_offer("paper", "mean", "odds", "support", "likely:", "fpr:"),
        help="When a category is found: odds, support, likely:0.5 with --prevalence, fpr:0.05 with "
        "--normals, paper (Eq. 8) or mean.",
    ),
]
Normals = Annotated[
    Path | None,
    typer.Option("--normals", help="Folder of normal images that set fpr thresholds."),
]
Queries = typer.Option("--query", help="Which studies: KEYWORD=VALUE; give it again for more.")
Netrc = Annotated[
    Path | None, typer.Option("--netrc", help="File with user and password of the DICOMweb server.")
]
Maps = Annotated[
    Path | None,
    typer.Option("--maps", help="Folder to write: where each image looks abnormal."),
]
DicomOut = Annotated[
    Path | None,
    typer.Option("--dicom-out", help="Folder to write: findings as DICOM SR, SEG, map, picture."),
]
_signs = typer.Option("--signs", help="A packaged sign bank, such as brain, or a YAML file.")
Signs = Annotated[str, _signs]
OtherSigns = Annotated[str | None, _signs]
Root = Annotated[
    Path | None, typer.Option("--root", help="Folder of the data set that --data names.")
]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="LABELS.csv, a table of your own images.")
]

StatedPrevalence = Annotated[
    str | None,
    typer.Option(
        "--prevalence",
        help="How common findings are: 0.05, Mass=0.02,Effusion=0.1, or, where a table is judged, "
        "table. Adds probabilities; --decision likely:CHANCE decides by them.",
    ),
]

ErrorRate = Annotated[
    float | None,
    typer.Option(
        "--error-rate",
        min=0.0,
        max=1.0,
        help="Adds answers: yes, no, or unsure where neither keeps this rate of errors.",
    ),
]

Address = Annotated[
    str | None,
    typer.Option("--address", help="A Ray cluster, or auto; this machine alone if not given."),
]
NumGpus = Annotated[
    float, typer.Option("--num-gpus", min=0.0, help="GPUs of each tower; 0.5 shares one by two.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Towers at once; one a node, or a GPU, if not given."),
]
Scores = Annotated[
    Path | None,
    typer.Option("--scores", help="What sdmad predict --engine ray wrote, in place of images."),
]

Bank = Annotated[
    str, typer.Argument(help="A packaged bank, such as brain or chestxray8, or a YAML file.")
]
Labels = Annotated[Path, typer.Argument(help="LABELS.csv: file, patient, split, labels.")]
ModelName = Annotated[
    str,
    typer.Option(
        "--model", help="A directory of sdmad fit or export; of signs generate a language model."
    ),
]
Model = Annotated[Path, typer.Argument(help="A directory that sdmad fit wrote.")]
Modality = Annotated[PhantomModality, typer.Argument(help="Of the phantoms.")]


def say(text: str) -> None:
    """Tell the person something, on the standard error stream."""
    typer.echo(readable(text), err=True)


def put(text: str, end: str = "\n") -> None:
    """Give a result, on the standard output, to the letter."""
    sys.stdout.write(f"{text}{end}")


def complain(text: str) -> None:
    """Report a mistake in one line."""
    typer.echo(typer.style("error: ", fg="red", bold=True) + readable(text), err=True)


def notes(lines: Iterable[str]) -> None:
    """Report what is worth knowing."""
    for line in lines:
        typer.echo(typer.style("note: ", fg="yellow") + readable(line), err=True)


def show(tables: Iterable[Table]) -> None:
    """Print tables on the standard output."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 160
    console = Console(width=wide, highlight=False)
    for table in tables:
        console.print(table.rich())


def results_directory(out: Path | None, name: str) -> Path:
    """Where a study's results go: what was given, else a folder of its own here, which is told."""
    if out is not None:
        return out
    say(f"results go to {name}/")
    return Path(name)


def data_source(
    data: str | None, root: Path | None, labels: Path | None
) -> tuple[str, Path | None]:
    """Which data set was asked for, and where it lies.

    Returns:
        A name that :func:`~sdmad.data.sets.open_data_set` knows, or that of phantoms, which lie
        nowhere yet, and the folder or the label table.

    Raises:
        InputError: if something is missing or there is too much.
    """
    if labels is not None:
        if data is not None or root is not None:
            raise InputError("--labels takes the place of --data and --root; give one of both")
        return "table", labels
    if data is None:
        raise InputError("give --data NAME and --root FOLDER, or --labels LABELS.csv")
    if data.startswith("phantom"):
        if root is not None:
            raise InputError(f"--data {data} is drawn; leave out --root")
    elif root is None:
        raise InputError(f"--data {data} needs --root FOLDER, where it lies")
    return data, root


@contextmanager
def readable_warnings() -> Iterator[None]:
    """Show warnings as notes, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    told: dict[str, list[str]] = {}
    for warning in caught:
        text = str(warning.message)
        kind = text if warning.category.__name__ not in REPEATED else warning.category.__name__
        told.setdefault(kind, []).append(text)
    for kind, texts in told.items():
        notes(dict.fromkeys(texts[:SHOWN_OF_A_KIND]))
        more = len(texts) - SHOWN_OF_A_KIND
        if kind in REPEATED and more > 0:
            notes([f"{more} more files of which one page, frame or slice is read"])


def run_study(run: Callable[[], Iterable[Path]]) -> None:
    """Run a study, then tell how long it took and which files it wrote."""
    start = time.monotonic()
    with readable_warnings():
        files = run()
    say(f"finished in {time.monotonic() - start:.0f} s")
    for file in files:
        put(str(file))


class Unreadable:
    """Collects images that could not be read; the rest goes on."""

    def __init__(self) -> None:
        self.positions: list[int] = []

    def __call__(self, position: int, error: ImageError) -> None:
        """Report one image."""
        self.positions.append(position)
        complain(str(error))

    def exit_if_any(self, total: int, refused: int = 0) -> None:
        """End with a status of its own if something was skipped.

        Args:
            total: how many images there were.
            refused: those that were read and have no DICOM results.
        """
        if self.positions:
            complain(f"{len(self.positions)} of {total} images could not be read and were skipped")
        if refused:
            complain(f"{refused} of {total} images have no DICOM results")
        if self.positions or refused:
            raise typer.Exit(SOME_UNREADABLE)
