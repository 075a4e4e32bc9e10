"""What a language model is asked for: a kind of image, names of categories, numbers of sentences.

Names are checked here, before anything is sent: they are short, printable and no table of patients.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdmad.data.labels import NORMAL_NAMES, canonical_name
from sdmad.errors import InputError
from sdmad.inputs import read_text

MAX_NAME = 80
MAX_CATEGORIES = 100
MAX_SIGNS = 50
MAX_FILE = 100_000
NORMAL_SENTENCES = 6
TABLE_MARKS = ",;|\t"
_FILE_NAME = re.compile(r"^[~/.]|\.[A-Za-z][A-Za-z0-9]{0,4}$")


@dataclass(frozen=True)
class Question:
    """One request to the language model: signs of one category, or normal sentences.

    Attributes:
        modality: the kind of image.
        category: whose signs are asked for; empty for normal sentences.
        others: the names of the other categories; of all of them for normal sentences.
        count: how many sentences.
    """

    modality: str
    category: str
    others: tuple[str, ...]
    count: int

    @property
    def most_shared(self) -> int:
        """How many of the signs may also belong to other categories."""
        return max(1, self.count // 4) if self.category and self.others else 0

    @property
    def most_naming(self) -> int:
        """How many of the signs may hold the category's name."""
        return max(1, self.count // 4)


@dataclass(frozen=True)
class GenerationRequest:
    """What a bank is to be about; all that a language model is ever told.

    Attributes:
        modality: the kind of image, such as ``"brain MRI"``.
        categories: the names, in the order of the bank.
        signs_per_category: signs asked for each category.
        normal_sentences: sentences asked for the normal image.

    Raises:
        InputError: if a name is empty, too long, not printable, a table's row or a file's name,
            means the normal class or stands twice, or a number is out of bounds.
    """

    modality: str
    categories: tuple[str, ...]
    signs_per_category: int = 8
    normal_sentences: int = NORMAL_SENTENCES

    def __post_init__(self) -> None:
        object.__setattr__(self, "modality", _name(self.modality, "the modality"))
        if not self.categories:
            raise InputError("no category to write signs for; name at least one")
        if len(self.categories) > MAX_CATEGORIES:
            raise InputError(
                f"{len(self.categories)} categories are more than {MAX_CATEGORIES}; "
                "is this a list of categories?"
            )
        names = tuple(_name(name, "a category's name") for name in self.categories)
        earlier: dict[str, str] = {}
        for name in names:
            key = canonical_name(name)
            if key in NORMAL_NAMES:
                raise InputError(
                    f"category {name!r}: this name means the normal class, whose sentences are "
                    "written anyway; leave it out"
                )
            if key in earlier:
                raise InputError(f"categories {earlier[key]!r} and {name!r} are the same name")
            earlier[key] = name
        object.__setattr__(self, "categories", names)
        for what in ("signs_per_category", "normal_sentences"):
            if not 1 <= getattr(self, what) <= MAX_SIGNS:
                raise InputError(f"{what} must lie in 1 to {MAX_SIGNS}, got {getattr(self, what)}")

    def normal_question(self) -> Question:
        """The request for normal sentences."""
        return Question(self.modality, "", self.categories, self.normal_sentences)

    def question(self, category: str) -> Question:
        """The request for the signs of one category."""
        others = tuple(name for name in self.categories if name != category)
        return Question(self.modality, category, others, self.signs_per_category)


def read_categories(given: Sequence[str]) -> tuple[str, ...]:
    """Names of categories, as they were given or as one text file holds them.

    A file has one name a line; empty lines and lines that start with ``#`` do not count.

    Args:
        given: names, or the path of one file.

    Raises:
        InputError: if the file cannot be read, is no text, or looks like a table. A line of a
            table could hold a patient's name, so it is refused, and the message does not repeat it.
    """
    if len(given) != 1 or not _is_file(given[0]):
        return tuple(given)
    path = Path(given[0]).expanduser()
    names = []
    for number, line in enumerate(read_text(path, MAX_FILE).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            names.append(_name(line, "a category's name", shown=False))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}; give one category a line") from error
    if not names:
        raise InputError(f"{path}: holds no name of a category; give one a line")
    return tuple(names)


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have
        return False


def _name(value: str, what: str, shown: bool = True) -> str:
    text = value.strip()
    quoted = f" {text[:MAX_NAME]!r}" if shown else ""
    if not text:
        raise InputError(f"{what} is empty")
    if len(text) > MAX_NAME:
        raise InputError(f"{what}{quoted} is longer than {MAX_NAME} characters")
    if any(mark in text for mark in TABLE_MARKS):
        raise InputError(
            f"{what}{quoted} holds a comma, a semicolon, a tab or a bar, as the row of a table "
            "does; give each name by itself"
        )
    if not text.isprintable():
        raise InputError(f"{what}{quoted} holds a line break or another control character")
    if not any(character.isalpha() for character in text):
        raise InputError(f"{what}{quoted} has no letter")
    if _FILE_NAME.search(text):
        raise InputError(f"{what}{quoted} looks like a file, and there is no such file")
    return " ".join(text.split())
