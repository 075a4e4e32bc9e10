"""What an archive is made of: folders of images, tar shards, Parquet of bytes, tables of addresses.

Every image is an `Entry`: a file, a range of bytes of a tar file, or a row of a Parquet file.
"""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from sdmad.archive.parquet import rows
from sdmad.archive.places import Place, place_of, reaching
from sdmad.data.address import split_slice
from sdmad.data.csvfile import read_csv
from sdmad.data.labels import canonical_name
from sdmad.data.listing import SUFFIXES, is_image
from sdmad.data.table import FILE_COLUMNS
from sdmad.errors import InputError
from sdmad.inputs import bounded

Kind = Literal["file", "tar", "parquet", "missing"]

DATE_COLUMN = "date"
BYTES_COLUMNS = ("bytes", "image", "content", "data", "img")
NAME_COLUMNS = (*FILE_COLUMNS, "key", "name")

MOST_HEADERS = 1 << 20
"""Bytes that the headers of one member of a tar file may have."""


@dataclass(frozen=True)
class Entry:
    """Where one image is.

    Attributes:
        file: what it is called in the results.
        holder: address of the file that holds it, with the mark of a slice where one is named.
        kind: how it lies there; ``missing`` where it was found damaged as it was listed.
        offset: of a tar file's byte, or of a Parquet file's row.
        size: bytes; -1 where that is not known yet.
        date: when it was made, by a table's column date, else when its file was changed last.
        error: why it cannot be read, where that is known already.
    """

    file: str
    holder: str
    kind: Kind = "file"
    offset: int = 0
    size: int = -1
    date: datetime | None = None
    error: str | None = None


@dataclass
class Passed:
    """What was passed over while an archive was listed, by kinds of files."""

    kinds: Counter[str]


def entries(sources: Sequence[str | os.PathLike[str]], passed: Passed) -> Iterator[Entry]:
    """Every image of some sources, in their order; what a folder holds is sorted by its path.

    Args:
        sources: folders, images, ``.tar`` files, Parquet files of bytes, tables of addresses.
        passed: told what is no image.

    Raises:
        InputError: if a source is not there or cannot be used.
        SDMADError: if a place does not answer.
    """
    for place in dict.fromkeys(map(place_of, sources)):
        if place.is_folder():
            for found, facts in _below(place, passed):
                yield from _of_folder(found, facts, passed)
        else:
            yield from _named(place)


def _named(place: Place) -> Iterator[Entry]:
    """What a file that was named itself stands for."""
    name = place.name.lower()
    if name.endswith((".csv", ".tsv")):
        yield from _of_table(place)
    elif reader := _container(name):
        yield from reader(place)
    else:
        holder = Place(split_slice(place.address)[0])
        if not place.is_there() and not holder.is_there():
            raise InputError(f"{place}: no such file or folder")
        yield Entry(place.address, place.address)


def _container(name: str) -> Callable[[Place], Iterator[Entry]] | None:
    if name.endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        return _compressed
    if name.endswith(".tar"):
        return _of_tar
    return _of_parquet if name.endswith(".parquet") else None


def _of_folder(place: Place, facts: dict[str, Any], passed: Passed) -> Iterator[Entry]:
    reader = _container(place.name.lower())
    if reader is not None:
        yield from reader(place)
    elif _counts(place):
        size = facts.get("size")
        yield Entry(
            place.address,
            place.address,
            size=-1 if size is None else int(size),
            date=_changed(facts),
        )
    else:
        passed.kinds[Path(place.name).suffix.lower() or "without a suffix"] += 1


def _counts(place: Place) -> bool:
    """Whether a file in a folder is an image, by its name; here by its first bytes too.

    Elsewhere a name without a suffix of letters, as PACS give them, is one.
    """
    if is_image_name(place.name):
        return True
    if place.is_local:
        return is_image(Path(place.address))
    suffix = Path(place.name).suffix
    return not any(letter.isalpha() for letter in suffix)


def is_image_name(name: str) -> bool:
    """Whether a name ends as an image's does."""
    return name.lower().endswith(tuple(SUFFIXES))


def _below(folder: Place, passed: Passed) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every file below a folder with what its system says of it, sorted; hidden ones left out."""
    with reaching(folder):
        system, root = folder.opened()
    start = folder.address.removesuffix(root) if not folder.is_local else ""
    seen: set[str] = set()

    def inside(path: str) -> Iterator[tuple[Place, dict[str, Any]]]:
        if folder.is_local:  # links may lead in a circle
            real = os.path.realpath(path)
            if real in seen:
                return
            seen.add(real)
        with reaching(Place(start + path)):
            found = [(_last(one["name"]), one) for one in system.ls(path, detail=True)]
        for name, facts in sorted(found, key=lambda one: one[0]):
            where = facts["name"].rstrip("/")
            if name.startswith(".") or where == path:
                if where == path and facts["type"] == "directory":  # s3://bucket/a//b.png
                    passed.kinds["folder without a name (//)"] += 1
                continue
            if facts["type"] == "directory" or (facts.get("islink") and system.isdir(where)):
                yield from inside(where)
            elif facts["type"] == "file" or facts.get("islink"):
                yield Place(start + where), facts

    yield from inside(root.rstrip("/"))


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _changed(facts: dict[str, Any]) -> datetime | None:
    """When a file was changed last; each file system has a word of its own for it."""
    for word in ("mtime", "LastModified", "last_modified", "updated", "created"):
        found = facts.get(word)
        if isinstance(found, datetime):
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(found, int | float):
            return datetime.fromtimestamp(found, UTC)
    return None


def _compressed(place: Place) -> Iterator[Entry]:
    raise InputError(
        f"{place}: images in a compressed tar file cannot be reached one by one; unpack it to a "
        ".tar (images are compressed themselves)"
    )


def _of_tar(place: Place) -> Iterator[Entry]:
    """The images in a tar file, as WebDataset writes it; of a damaged one those before the end."""
    with reaching(place):
        system, path = place.opened()
        file = system.open(path, "rb")
    headers: Any = _Headers(file)
    with file:
        try:
            with (
                bounded("damaged or cut short", InputError),
                tarfile.open(fileobj=headers, mode="r:") as archive,
            ):
                for member in iter(archive.next, None):
                    headers.left = MOST_HEADERS
                    archive.members.clear()  # type: ignore[attr-defined]  # it keeps them
                    if member.isreg() and is_image_name(member.name):
                        yield _member(place, member)
                file.seek(archive.offset)  # where tarfile sees an end, there may be none
                if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                    raise tarfile.ReadError("no end mark")
        except InputError as error:
            yield Entry(place.address, place.address, "missing", error=f"{place}: {error}")


class _Headers:
    """A tar file of which headers are read: a member has few, whatever lengths they claim."""

    def __init__(self, file: Any) -> None:
        self._file, self.left = file, MOST_HEADERS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise tarfile.ReadError(f"headers of more than {MOST_HEADERS:,} bytes")
        return bytes(self._file.read(size))


def _member(place: Place, member: tarfile.TarInfo) -> Entry:
    return Entry(
        f"{place.address}/{member.name}",
        place.address,
        "tar",
        member.offset_data,
        member.size,
        _when(member.mtime),
    )


def _when(seconds: float) -> datetime | None:
    """A time since 1970; None of one that no calendar has."""
    try:
        return datetime.fromtimestamp(max(0, seconds), UTC)
    except (OSError, OverflowError, ValueError):
        return None


def _of_parquet(place: Place) -> Iterator[Entry]:
    """Rows of a Parquet file that holds images, or the addresses of images."""
    held = False

    def choose(names: Sequence[str]) -> tuple[str | None, str | None]:
        nonlocal held
        bytes_column = column_of(names, BYTES_COLUMNS)
        name_column = column_of([n for n in names if n != bytes_column], NAME_COLUMNS)
        if bytes_column is None and name_column is None:
            raise InputError(
                f"{place}: no column of bytes ({', '.join(BYTES_COLUMNS)}) or of addresses "
                f"(file, path, ...); found: {', '.join(names)}"
            )
        held = bytes_column is not None
        return name_column, column_of(names, (DATE_COLUMN,))

    for row, (name, when) in enumerate(rows(place, choose)):
        try:
            yield _row(place, row, name, when, held)
        except InputError as error:
            raise InputError(f"{place}, row {row} (from 0): {error}") from error


def _row(place: Place, row: int, name: str | None, dated: str | None, held: bool) -> Entry:
    when = parse_date(dated)
    if held:
        called = f"{place.address}/{row if name is None else name}"
        return Entry(called, place.address, "parquet", row, date=when)
    where = _beside(place, str(name))
    return Entry(where, where, date=when)


def column_of(names: Iterable[str], wanted: Sequence[str]) -> str | None:
    """The first of some columns that there is, whatever its case and spaces."""
    known = {canonical_name(name): name for name in names}
    return next((known[name] for name in wanted if name in known), None)


def _of_table(place: Place) -> Iterator[Entry]:
    """The images that a CSV table names, relative to its folder or by whole addresses."""
    if not place.is_local:
        raise InputError(f"{place}: a table lies on this machine; or give it as Parquet")
    header, body = read_csv(Path(place.address))
    name_column = column_of(header, FILE_COLUMNS)
    if name_column is None:
        raise InputError(f"{place}: no column named file; found: {', '.join(header)}")
    column, dated = header.index(name_column), column_of(header, (DATE_COLUMN,))
    when = None if dated is None else header.index(dated)
    for row in body:
        read: str | None = name_column
        try:
            where, read = _beside(place, row.cells[column]), dated
            made = None if when is None else parse_date(row.cells[when])
        except InputError as error:
            raise InputError(f"{place}, row {row.line}, column {read}: {error}") from error
        yield Entry(where, where, date=made)


def _beside(table: Place, name: str) -> str:
    if "://" in name or name.startswith("/"):
        return place_of(name).address
    return (
        os.path.normpath(f"{table.parent}/{name}") if table.is_local else f"{table.parent}/{name}"
    )


def parse_date(value: object) -> datetime | None:
    """A date of a table: ISO (2024-03-31, with or without a time) or DICOM's (20240331).

    >>> parse_date("20240331").isoformat(), parse_date("")
    ('2024-03-31T00:00:00+00:00', None)

    Raises:
        InputError: if it is neither.
    """
    if value is None or value == "":
        return None
    try:
        text = value.isoformat() if isinstance(value, date) else str(value).strip()
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{value!r} is no date such as 2024-03-31") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
