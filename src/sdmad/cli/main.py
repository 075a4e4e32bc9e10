"""The ``sdmad`` command."""

from __future__ import annotations

import atexit
import gc
import io
import logging
import sys
import traceback
from typing import Annotated

import typer

from sdmad._version import __version__
from sdmad.cli import (
    backbone,
    compare,
    data,
    demo,
    dicomweb,
    evaluate,
    explain,
    export,
    fit,
    monitor,
    phantom,
    predict,
    reproduce,
    serve,
    serve_account,
    signs,
    suggest,
)
from sdmad.cli.common import FAULT, STATUSES, USER_ERROR, complain
from sdmad.cli.hints import Command
from sdmad.cli.signals import INTERRUPTED, received, told
from sdmad.errors import SDMADError
from sdmad.text import AS_BYTES

app = typer.Typer(
    name="sdmad",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Few-shot detection of several anomalies in one medical image, explained by signs. "
    "For research; not a medical device. Begin with **sdmad demo**.",
    epilog="Exit status: " + "; ".join(f"{code} {what}" for code, what in STATUSES.items()) + ".",
)
app.command("demo", cls=Command)(demo.command)
app.command("phantom", cls=Command)(phantom.command)
app.add_typer(signs.app, name="signs")
app.add_typer(data.app, name="data")
app.add_typer(backbone.app, name="backbone")
app.command("fit", cls=Command)(fit.command)
app.command("evaluate", cls=Command)(evaluate.command)
app.command("predict", cls=Command)(predict.command)
app.command("dicomweb", cls=Command)(dicomweb.command)
app.command("monitor", cls=Command)(monitor.command)
app.command("suggest", cls=Command)(suggest.command)
app.command("explain", cls=Command)(explain.command)
app.command("reproduce", cls=Command)(reproduce.command)
app.command("compare", cls=Command)(compare.command)
app.command("export", cls=Command)(export.command)
app.command("serve", cls=Command)(serve.command)
app.add_typer(serve_account.app, name="serve-account")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Options that stand before the command."""


def run() -> None:
    """Run the command line; a user's mistake ends in one readable line and status 2."""
    atexit.register(gc.freeze)  # what is left then need not be looked through for garbage
    for stream, errors in ((sys.stdout, AS_BYTES), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)  # a file name may hold any bytes
    try:
        app(prog_name="sdmad")
    except SDMADError as error:
        complain(str(error))
        sys.exit(USER_ERROR)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer's own, for Ctrl-C
            told(received[0] if received else INTERRUPTED)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(FAULT)
    except OSError as error:  # a name that no file can have, a full disk, too many open files
        logging.getLogger("sdmad").debug("refused by the system", exc_info=error)
        name = error.filename if isinstance(error.filename, str) else "the system refuses"
        complain(f"{name}: {error.strerror or error}")
        sys.exit(USER_ERROR)
    except Exception:
        if received:  # what a library made of the interruption
            told(received[0])
        traceback.print_exc()
        complain("this is a fault of sdmad; please report it with these lines")
        sys.exit(FAULT)
