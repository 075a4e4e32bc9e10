"""Where a sentence of a bank comes from: who or what wrote it, when, what was read for it."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sdmad.errors import InputError

MAX_SENTENCE = 1_000
MAX_SOURCE = 500
MAX_MODEL = 200
AUTHOR = "author"
MODEL = "model"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Provenance:
    """The record behind one sentence of a bank.

    >>> Provenance().source
    'author'
    >>> Provenance(model="llama3.1:8b", date="2026-11-23", edited=True).short()
    'llama3.1:8b, 2026-11-23, edited'

    Attributes:
        source: ``author`` (the sentence rests on what its writer knows), ``model`` (on what a
            language model wrote), or the http(s) address of a page that was read for it. Left
            empty it becomes ``model`` where a model is named and ``author`` elsewhere.
        model: the language model that wrote the sentence; empty when a person did.
        date: the day on which it was written, ``YYYY-MM-DD``; empty when it was not noted.
        prompt_sha256: SHA-256 of the prompt that the model was given, 64 lower-case hexadecimal
            digits; empty without a prompt.
        edited: a person changed the sentence after the model wrote it.
        shared: what it describes belongs to several categories, and the writer knows.

    Raises:
        InputError: if a part is of another form than described.
    """

    source: str = ""
    model: str = ""
    date: str = ""
    prompt_sha256: str = ""
    edited: bool = False
    shared: bool = False

    def __post_init__(self) -> None:
        for name, limit in (("source", MAX_SOURCE), ("model", MAX_MODEL)):
            value = getattr(self, name)
            if value != "":
                object.__setattr__(self, name, one_line(value, f"'{name}'", limit))
        for name in ("edited", "shared"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"'{name}' must be true or false, got {getattr(self, name)!r}")
        if not self.source:
            object.__setattr__(self, "source", MODEL if self.model else AUTHOR)
        _check_source(self.source, self.model)
        _check_date(self.date)
        if self.prompt_sha256 != "" and not _matches(_SHA256, self.prompt_sha256):
            raise InputError("'prompt_sha256' must be 64 lower-case hexadecimal digits")

    @property
    def is_page(self) -> bool:
        """Whether the source is the address of a page."""
        return self.source not in (AUTHOR, MODEL)

    def to_dict(self) -> dict[str, str | bool]:
        """What differs from the defaults, in the order in which a bank's file holds it."""
        default = Provenance(model=self.model)
        parts: dict[str, str | bool] = {}
        if self.source != default.source:
            parts["source"] = self.source
        if self.model:
            parts["model"] = self.model
        if self.date:
            parts["date"] = self.date
        if self.prompt_sha256:
            parts["prompt_sha256"] = self.prompt_sha256
        parts |= {name: True for name in ("edited", "shared") if getattr(self, name)}
        return parts

    def short(self) -> str:
        """One line for a table: the model or the source, the date, the marks."""
        parts = [self.model] if self.model else []
        if self.is_page or not parts:
            parts.append(self.source)
        parts += [self.date] if self.date else []
        parts += [f"prompt {self.prompt_sha256[:12]}"] if self.prompt_sha256 else []
        parts += [name for name in ("edited", "shared") if getattr(self, name)]
        return ", ".join(parts)


def one_line(value: object, what: str, limit: int = MAX_SENTENCE) -> str:
    """A text with single spaces.

    Raises:
        InputError: if it is no text, empty, longer than ``limit`` or cannot be printed; the
            message begins with ``what``.
    """
    if not isinstance(value, str):
        raise InputError(f"{what} must be text, got {type(value).__name__}")
    text = " ".join(value.split())
    if not text:
        raise InputError(f"{what} is empty")
    if len(text) > limit:
        raise InputError(f"{what} is longer than {limit} characters")
    if not text.isprintable():
        raise InputError(f"{what} holds characters that cannot be printed")
    return text


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check_source(source: str, model: str) -> None:
    if source == MODEL and not model:
        raise InputError("'source' is model, but no 'model' is named")
    if source in (AUTHOR, MODEL):
        return
    problem = f"'source' must be {AUTHOR}, {MODEL} or an http(s) address, got {source!r}"
    try:
        address = urlsplit(source)
        usable = address.scheme in ("http", "https") and bool(address.hostname)
        secret = "@" in address.netloc
    except ValueError as error:
        raise InputError(problem) from error
    if not usable or " " in source:
        raise InputError(problem)
    if secret:
        raise InputError("'source' holds a user name or a password; give the address without it")


def _check_date(date: object) -> None:
    if date == "":
        return
    try:
        usable = isinstance(date, str) and _matches(_DATE, date)
        if usable:
            datetime.date.fromisoformat(str(date))
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"'date' must be a day as YYYY-MM-DD, got {date!r}")
