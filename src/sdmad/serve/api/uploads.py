"""Files of a request: on the disk while it is answered, and never kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile

from sdmad.data.address import slice_address
from sdmad.data.images import ImageError
from sdmad.serve.told import without_place
from sdmad.text import readable

Answer = TypeVar("Answer")

AT_ONCE = 64
"""Requests with files whose answers are computed at once; the others wait for their turn."""

FIELDS, FIELD = 16, 4096
LONGEST_NAME = 255
MOST_SLICE = 999_999
_turns: RunVar[CapacityLimiter] = RunVar("turns of requests with files")


@dataclass(frozen=True)
class Upload:
    """A file of a request.

    Attributes:
        path: where it lies for now; tells nothing of its name.
        name: as the client calls it.
    """

    path: Path
    name: str

    def at(self, index: int | None) -> Path:
        """The address of a slice, from 0; of the one that is read where none is named if None."""
        return self.path if index is None else slice_address(self.path, index)

    def told(self, message: str) -> str:
        """A message with the client's own name in the place of the path."""
        return without_place(message, str(self.path), self.name)


@asynccontextmanager
async def form_of(request: Request, most: int) -> AsyncIterator[FormData]:
    """The form of a request, whose files are gone behind the block.

    Args:
        request: of bounded size.
        most: files.

    Raises:
        HTTPException: 400 where it cannot be parsed.
    """
    try:
        form = await request.form(max_files=most, max_fields=FIELDS, max_part_size=FIELD)
    except FormParserError as error:
        raise HTTPException(400, "the form cannot be parsed; send multipart/form-data") from error
    try:
        yield form
    finally:
        await form.close()


def text_of(form: FormData, field: str) -> str | None:
    """A field's text; None where it is not there or empty.

    Raises:
        HTTPException: 422 where it is a file.
    """
    value = form.get(field)
    if isinstance(value, UploadFile):
        raise HTTPException(422, f"{field}: expected text, got a file")
    return value.strip() or None if value is not None else None


def slice_of(form: FormData) -> int | None:
    """Which slice of the files is meant, from 0; None where none is named.

    Raises:
        HTTPException: 422 where it is no such number.
    """
    text = text_of(form, "slice")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_SLICE))):
        raise HTTPException(422, f"slice: a whole number from 0 to {MOST_SLICE}")
    return int(text)


def files_of(form: FormData, field: str, most: int) -> list[UploadFile]:
    """A field's files.

    Raises:
        HTTPException: 422 where there is none, one is no file, or there are more.
    """
    values = form.getlist(field)
    files = [value for value in values if isinstance(value, UploadFile)]
    if not files or len(files) < len(values):
        raise HTTPException(422, f"{field}: give at least one file, as multipart/form-data")
    if len(files) > most:
        raise HTTPException(422, f"{field}: {len(files)} files; {most} at most")
    return files


async def with_files(files: list[UploadFile], work: Callable[[list[Upload]], Answer]) -> Answer:
    """Do something with files in a thread, while they lie in a folder of their own.

    Raises:
        ImageError: as raised by the work, told by the client's own name.
    """

    def run() -> Answer:
        with _laid_down(files) as uploads, _by_name(uploads):
            return work(uploads)

    return await run_sync(run, limiter=_turn())


def _turn() -> CapacityLimiter:
    """Turns of their own, so that pages need not wait for those who wait for a model."""
    try:
        return _turns.get()
    except LookupError:
        turns = CapacityLimiter(AT_ONCE)
        _turns.set(turns)
        return turns


@contextmanager
def _laid_down(files: list[UploadFile]) -> Iterator[list[Upload]]:
    with tempfile.TemporaryDirectory(prefix="sdmad-") as folder:
        uploads = []
        for number, file in enumerate(files):
            path = Path(folder) / f"upload-{number}"
            with path.open("wb") as there:
                shutil.copyfileobj(file.file, there)
            name = readable(file.filename or f"file {number + 1}")[:LONGEST_NAME]
            uploads.append(Upload(path, name))
        yield uploads


@contextmanager
def _by_name(uploads: list[Upload]) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        message = str(error)
        for upload in uploads:
            message = upload.told(message)
        raise ImageError(message) from None


def body(required: str, **fields: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a form.

    Args:
        required: the one field that must be given.
        fields: the schema of each field.
    """
    schema = {"type": "object", "properties": fields, "required": [required]}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }
