"""Answers on disk: what was asked before at temperature zero is not asked again.

A file a question, named by the SHA-256 of the model's name and the messages. The server's address
is no part of it: the same model at another address gives the recorded answers. A file holds the
answers as they came and their day; no key and no address is ever written. Answers are read again
with every check when they are replayed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdmad.errors import InputError, SDMADError
from sdmad.output import user_cache, write_json
from sdmad.signs.generation.schema import SCHEMA_VERSION
from sdmad.signs.generation.templates import Message

MAX_ENTRY = 5_000_000


@dataclass(frozen=True)
class Record:
    """The answers to one question.

    Attributes:
        date: the day on which the question was answered, ``YYYY-MM-DD``.
        answers: the texts in their order: the first answer, then those to each complaint.
    """

    date: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class AnswerCache:
    """A folder of answers.

    Attributes:
        folder: where they are; it is made when the first one is written.
    """

    folder: Path

    def get(self, model: str, messages: Sequence[Message]) -> Record | None:
        """The answers to a question, or None; a file that cannot be used counts as absent.

        Raises:
            InputError: if the system refuses to read.
        """
        path = self._path(model, messages)
        try:
            if path.stat().st_size > MAX_ENTRY:
                return None
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); choose another folder with --cache"
            ) from error
        return _record(content)

    def put(self, model: str, messages: Sequence[Message], record: Record) -> None:
        """Write the answers to a question, whole or not at all.

        Raises:
            SDMADError: if the system refuses to write.
        """
        path = self._path(model, messages)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SDMADError(
                f"{self.folder}: cannot be made ({error.strerror}); choose another folder with "
                "--cache"
            ) from error
        write_json(path, {"model": model, "date": record.date, "answers": record.answers})

    def _path(self, model: str, messages: Sequence[Message]) -> Path:
        asked = json.dumps([SCHEMA_VERSION, model, list(messages)], ensure_ascii=False)
        return self.folder / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"


def default_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The user's own folder for such files.

    Raises:
        InputError: if there is none.
    """
    try:
        return user_cache(environment) / "answers"
    except RuntimeError as error:
        raise InputError(
            "there is no home folder for the answers; give one with --cache"
        ) from error


def _record(content: object) -> Record | None:
    if not isinstance(content, dict):
        return None
    date, answers = content.get("date"), content.get("answers")
    if not isinstance(date, str) or not isinstance(answers, list) or not answers:
        return None
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        return None
    texts = tuple(answer for answer in answers if isinstance(answer, str))
    return Record(date, texts) if len(texts) == len(answers) else None
