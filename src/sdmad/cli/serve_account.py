"""``sdmad serve-account``: who may sign in to a server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdmad.choices import Role
from sdmad.cli.common import put, say
from sdmad.cli.hints import Command
from sdmad.cli.serve import SERVER, Database, DicomWeb, Folder, Table

if TYPE_CHECKING:
    from sdmad.serve.storage.engine import Storage

app = typer.Typer(
    no_args_is_help=True,
    help="Accounts of readers, in the database that sdmad serve has with the same options.",
)

Name = Annotated[str, typer.Argument(help="Of the reader.")]


@app.command("add", cls=Command)
def add(
    name: Name,
    images: Folder = None,
    table: Table = None,
    dicomweb: DicomWeb = None,
    database: Database = None,
    role: Annotated[
        Role, typer.Option("--role", help="An admin switches models and reads the audit log.")
    ] = "reader",
) -> None:
    """Add an account; its password is asked for, or is a line of the standard input.

    Example: `sdmad serve-account add ann --images new-images`
    """
    with _opened(images, table, dicomweb, database) as storage:
        from sdmad.serve.storage import accounts, events

        typed = _password()  # before readers have to wait
        with storage.writing() as session:
            accounts.add(session, name, typed, role)
            events.log(session, "", "account added", name)
    say(f"{name}: account added")


@app.command("password", cls=Command)
def password(
    name: Name,
    images: Folder = None,
    table: Table = None,
    dicomweb: DicomWeb = None,
    database: Database = None,
) -> None:
    """Set another password; all sign-ins and tokens of the account end.

    Example: `sdmad serve-account password ann --images new-images`
    """
    with _opened(images, table, dicomweb, database) as storage:
        from sdmad.serve.storage import accounts, events

        typed = _password()
        with storage.writing() as session:
            accounts.change_password(session, name, typed)
            events.log(session, "", "password changed", name)
    say(f"{name}: password changed")


@app.command("token", cls=Command)
def token(
    name: Name,
    images: Folder = None,
    table: Table = None,
    dicomweb: DicomWeb = None,
    database: Database = None,
) -> None:
    """Print a token for a program of an account; it is shown this once.

    Example: `sdmad serve-account token ann --images new-images`
    """
    with _opened(images, table, dicomweb, database) as storage, storage.writing() as session:
        from sdmad.serve.storage import accounts, events

        secret = accounts.new_token(session, name)
        events.log(session, "", "token made", name)
    put(secret)


@app.command("remove", cls=Command)
def remove(
    name: Name,
    images: Folder = None,
    table: Table = None,
    dicomweb: DicomWeb = None,
    database: Database = None,
) -> None:
    """Remove an account; its readings stay.

    Example: `sdmad serve-account remove ann --images new-images`
    """
    with _opened(images, table, dicomweb, database) as storage, storage.writing() as session:
        from sdmad.serve.storage import accounts, events

        accounts.remove(session, name)
        events.log(session, "", "account removed", name)
    say(f"{name}: account removed")


@app.command("list", cls=Command)
def list_all(
    images: Folder = None, table: Table = None, dicomweb: DicomWeb = None, database: Database = None
) -> None:
    """List the accounts: name, role and when each was added.

    Example: `sdmad serve-account list --images new-images`
    """
    with _opened(images, table, dicomweb, database) as storage, storage.reading() as session:
        from sdmad.serve.storage import accounts

        for account in accounts.all_of_them(session):
            put(f"{account.name}\t{account.role}\t{account.created:%Y-%m-%d}")


@contextmanager
def _opened(
    images: Path | None, table: Path | None, dicomweb: str | None, database: str | None
) -> Iterator[Storage]:
    from sdmad.errors import InputError
    from sdmad.export.runtime import require

    if [images, table, dicomweb, database].count(None) == 4:
        raise InputError(
            "whose accounts? give --images, --table, --dicomweb or --database as sdmad serve has"
        )
    require("serve", *SERVER)
    from sdmad.dicom_out.access import checked_url
    from sdmad.serve.settings import Remote, ServeSettings
    from sdmad.serve.storage.engine import Storage

    remote = None if dicomweb is None else Remote(checked_url(dicomweb))
    storage = Storage(ServeSettings((), images, table, remote, database).database_url)
    try:
        yield storage
    finally:
        storage.close()


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")
