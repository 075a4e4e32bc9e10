"""The form of an answer: a JSON schema for the server, and our own reading of what came."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sdmad.data.labels import canonical_name
from sdmad.signs.generation.request import Question
from sdmad.signs.generation.style import Style, is_only_the_name, names, tidy

SCHEMA_VERSION = 1
MAX_ITEMS = 200
MAX_SHARED_WITH = 3
MAX_COMPLAINTS = 20
_MOST_STARTS = 50
_TAGS = "think|thinking|thought|thoughts|reasoning"
_THOUGHT_ENDS = re.compile(
    rf"</(?:{_TAGS})>|\[/THINK\]|<\|channel\|>final<\|message\|>", re.IGNORECASE
)
_THOUGHT_BEGINS = re.compile(rf"<(?:{_TAGS})>|\[THINK\]", re.IGNORECASE)
_NO_OBJECT = (
    'there is no JSON object with a list "sentences" in it; answer with that object and nothing '
    "else"
)


@dataclass(frozen=True)
class Candidate:
    """A sentence that passed every check.

    Attributes:
        text: the sentence.
        shared_with: the other categories in which it is seen too, spelt as they were asked.
    """

    text: str
    shared_with: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What was made of an answer.

    Attributes:
        candidates: sentences that can be used, in their order.
        complaints: what is wrong with the rest, one line each.
    """

    candidates: tuple[Candidate, ...]
    complaints: tuple[str, ...]


def json_schema(question: Question) -> dict[str, Any]:
    """The answer's form as a JSON schema, in the strict subset that servers can enforce."""
    other: dict[str, Any] = {"type": "string"}
    if question.category and question.others:
        other["enum"] = list(question.others)
    sentence = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "shared_with": {"type": "array", "items": other},
        },
        "required": ["text", "shared_with"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": sentence}},
        "required": ["sentences"],
        "additionalProperties": False,
    }


def read_answer(
    text: str,
    question: Question,
    style: Style,
    accepted: Collection[Candidate] = (),
    taken: Collection[str] = (),
) -> Reading:
    """Take from an answer the sentences that can be used.

    Nothing but the sentences' text and known category names is taken, whatever else stands there.

    Args:
        text: the answer as it came.
        question: what was asked.
        style: the limits of a sentence.
        accepted: sentences of earlier answers to the same question.
        taken: other sentences that must not be repeated, such as the normal ones.
    """
    items = _items(text)
    if items is None:
        return Reading((), (_NO_OBJECT,))
    judge = _Judge(question, style, list(accepted), {sentence.casefold() for sentence in taken})
    for item in items[:MAX_ITEMS]:
        judge.hear(item)
    if not items:
        judge.complaints.append('the list "sentences" is empty')
    return Reading(tuple(judge.found), tuple(judge.complaints[:MAX_COMPLAINTS]))


def _items(text: str) -> list[Any] | None:
    """The list of sentences in an answer, wherever it stands in the text.

    It is that of the first JSON object with such a list, or a bare list that no object precedes.
    """
    text = _without_thoughts(text)
    decoder = json.JSONDecoder()
    brackets, at = "{[", 0
    for _ in range(_MOST_STARTS):
        start = min((place for mark in brackets if (place := text.find(mark, at)) >= 0), default=-1)
        if start < 0:
            return None
        try:
            found, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
        else:
            items = found.get("sentences") if isinstance(found, dict) else found
            if isinstance(items, list) and (isinstance(found, dict) or _are_sentences(items)):
                return items
        if text[start] == "{":
            brackets = "{"  # a list behind it may well be a part of it
    return None


def _without_thoughts(text: str) -> str:
    """What follows the last thought; a server may leave the tag out that opens it.

    >>> _without_thoughts("a draft</think>the answer"), _without_thoughts("<think>a draft")
    ('the answer', '')
    """
    answer = _THOUGHT_ENDS.split(text)[-1]
    return _THOUGHT_BEGINS.split(answer)[0]


def _are_sentences(items: list[Any]) -> bool:
    return bool(items) and all(_text_of(item) is not None for item in items)


def _text_of(item: Any) -> str | None:
    """The sentence of an item, which is an object or the sentence itself."""
    text = item.get("text") if isinstance(item, dict) else item
    return text if isinstance(text, str) else None


class _Judge:
    """Goes through the sentences of one answer."""

    def __init__(
        self, question: Question, style: Style, accepted: list[Candidate], taken: set[str]
    ) -> None:
        self.question = question
        self.style = style
        self.taken = taken | {candidate.text.casefold() for candidate in accepted}
        self.naming = sum(names(candidate.text, question.category) for candidate in accepted)
        self.shared = sum(bool(candidate.shared_with) for candidate in accepted)
        self.missing = question.count - len(accepted)
        self.others = {canonical_name(name): name for name in question.others}
        self.found: list[Candidate] = []
        self.complaints: list[str] = []

    def hear(self, item: Any) -> None:
        """Accept one item, or note what is wrong with it; surplus items are left alone."""
        if len(self.found) >= self.missing:
            return
        sentence = _text_of(item)
        if sentence is None:
            self.complaints.append('an item of "sentences" is no object with a "text"')
            return
        text = tidy(sentence)
        problem = self.style.complaint(text) or self._problem(text)
        shared = self._shared_with(item.get("shared_with") if isinstance(item, dict) else None)
        if not problem and shared and self.shared >= self.question.most_shared:
            problem = "is one shared sign too many"
        if problem:
            self.complaints.append(f"{json.dumps(text[:200])} {problem}")
            return
        self.taken.add(text.casefold())
        self.naming += names(text, self.question.category)
        self.shared += bool(shared)
        self.found.append(Candidate(text, shared))

    def _problem(self, text: str) -> str:
        if text.casefold() in self.taken:
            return "stands there already"
        category = self.question.category
        if not category:
            return ""
        if is_only_the_name(text, category):
            return "is the category's name; describe what is seen"
        if names(text, category) and self.naming >= self.question.most_naming:
            return "names the category once too often; describe what is seen"
        return ""

    def _shared_with(self, value: Any) -> tuple[str, ...]:
        """The known categories among those that were given; others are dropped."""
        if not self.question.most_shared or not isinstance(value, list):
            return ()
        given = (canonical_name(name) for name in value[:MAX_ITEMS] if isinstance(name, str))
        known = dict.fromkeys(self.others[name] for name in given if name in self.others)
        return tuple(known)[:MAX_SHARED_WITH]
