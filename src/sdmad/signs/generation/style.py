"""What a sentence for the text tower may be: one short plain phrase that no part is cut from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdmad.data.labels import canonical_name

if TYPE_CHECKING:
    from sdmad.backbones import Backbone

MIN_WORDS = 2
MAX_WORDS = 20
MAX_CHARACTERS = 160
_ADDRESS = re.compile(r"://|\bwww\.|\b[\w-]+\.(?:com|org|net|io|edu|gov)\b|\S@\S", re.IGNORECASE)
_MARKS = frozenset("<>{}[]`*_|\\#$@=~^")
_SECOND_SENTENCE = re.compile(r"[.!?]\s+[A-Z]")


@dataclass(frozen=True)
class Style:
    """The limits of a sentence.

    Attributes:
        backbone: whose tokenizer counts the tokens, start and end included.
    """

    backbone: Backbone

    def complaint(self, sentence: str) -> str:
        """The first thing that is wrong with a sentence; empty when it can be used."""
        return _form(sentence) or self._length(sentence)

    def _length(self, sentence: str) -> str:
        words = len(sentence.split())
        if words < MIN_WORDS:
            return "is a single word; describe what is seen"
        if words > MAX_WORDS:
            return f"has {words} words, at most {MAX_WORDS} are allowed"
        tokens = self.backbone.token_counts([sentence])[0]
        limit = self.backbone.context_length
        if tokens > limit:
            return f"has {tokens} tokens where the text encoder reads {limit}; make it shorter"
        return ""


def tidy(text: str) -> str:
    """A phrase without white space around it and without its full stop.

    >>> tidy(" a gap in the bony skull. ")
    'a gap in the bony skull'
    """
    return text.strip().removesuffix(".").rstrip()


def names(sentence: str, category: str) -> bool:
    """Whether a sentence holds the whole name of a category; case and hyphens do not count.

    >>> names("brain with a craniotomy defect", "Craniotomy")
    True
    >>> names("massive effusion", "Mass")
    False
    """
    return f" {_words(category)} " in f" {_words(sentence)} "


def is_only_the_name(sentence: str, category: str) -> bool:
    """Whether a sentence says the category's name and nothing else."""
    return canonical_name(sentence) == canonical_name(category)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold().replace("_", " ")))


def _form(sentence: str) -> str:
    if not sentence:
        return "is empty"
    if not sentence.isprintable():
        return "holds a line break or another control character"
    if len(sentence) > MAX_CHARACTERS:
        return f"has {len(sentence)} characters, at most {MAX_CHARACTERS} are allowed"
    if _ADDRESS.search(sentence):
        return "holds an address; only words are allowed"
    marks = sorted(_MARKS.intersection(sentence))
    if marks:
        return f"holds {' '.join(marks)}; no markup, only words are allowed"
    if not sentence[0].isalpha():
        return "does not start with a letter; no bullet or number before it"
    if _SECOND_SENTENCE.search(sentence):
        return "holds more than one sentence"
    return ""
