"""One question to the language model: ask, read, send the complaints back, until it is enough."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from sdmad.signs.generation.cache import AnswerCache, Record
from sdmad.signs.generation.failures import LanguageModelError
from sdmad.signs.generation.request import Question
from sdmad.signs.generation.schema import Candidate, Reading, json_schema, read_answer
from sdmad.signs.generation.style import Style
from sdmad.signs.generation.templates import Message, PromptTemplates, prompt_hash

MAX_ANSWERS = 4
"""The first answer and three repairs."""

MOST_SENT_BACK = 20_000
"""Characters of an unusable answer that are shown to the model again."""

COMPLAINTS_SHOWN = 3


class LanguageModel(Protocol):
    """What a conversation needs of a language model."""

    model: str
    temperature: float

    def complete(self, messages: list[Message], schema: dict[str, Any]) -> str:
        """The answer to a conversation."""


@dataclass(frozen=True)
class Answered:
    """What came of one question.

    Attributes:
        candidates: the sentences.
        date: the day of the answer, ``YYYY-MM-DD``.
        prompt_sha256: SHA-256 of the question as it was sent.
        replayed: every answer came from the cache.
        answers: how many answers it took.
        note: what is worth knowing; may be empty.
    """

    candidates: tuple[Candidate, ...]
    date: str
    prompt_sha256: str
    replayed: bool
    answers: int
    note: str


@dataclass(frozen=True)
class Interviewer:
    """Asks a language model, or the cache in its place.

    Attributes:
        chat: the language model.
        prompts: the prompts.
        style: the limits of a sentence.
        cache: earlier answers; None asks every time. It is used at temperature zero only.
    """

    chat: LanguageModel
    prompts: PromptTemplates
    style: Style
    cache: AnswerCache | None = None

    def ask(self, question: Question, taken: Collection[str] = ()) -> Answered:
        """Ask one question until there are enough sentences.

        The answers are kept in the cache once the question is done, so that one which failed is
        asked anew. Half of the sentences are enough when the model does not mend the rest.

        Args:
            question: what to ask.
            taken: sentences that must not be repeated.

        Raises:
            LanguageModelError: if fewer than half of the sentences can be used.
        """
        opening = self.prompts.opening(question)
        record = self._recorded(opening)
        earlier = record.answers if record else ()
        date = record.date if record else _today()
        accepted: list[Candidate] = []
        answers: list[str] = []
        messages, reading = opening, Reading((), ())
        while len(answers) < MAX_ANSWERS and len(accepted) < question.count:
            if len(answers) < len(earlier):
                answers.append(earlier[len(answers)])
            else:
                answers.append(self.chat.complete(messages, json_schema(question)))
            reading = read_answer(answers[-1], question, self.style, accepted, taken)
            accepted += reading.candidates
            messages = [*opening, *self._complain(answers[-1], reading, accepted, question)]
        note = _judge(question, accepted, reading)
        if len(answers) > len(earlier):
            self._keep(opening, Record(date, tuple(answers)))
        replayed = len(answers) <= len(earlier)
        return Answered(tuple(accepted), date, prompt_hash(opening), replayed, len(answers), note)

    def _complain(
        self, answer: str, reading: Reading, accepted: list[Candidate], question: Question
    ) -> list[Message]:
        missing = question.count - len(accepted)
        complaints = reading.complaints or (f"there are {missing} too few",)
        return [
            {"role": "assistant", "content": answer[:MOST_SENT_BACK]},
            self.prompts.repair(complaints, accepted, missing),
        ]

    def _recorded(self, opening: list[Message]) -> Record | None:
        if self.cache is None or self.chat.temperature != 0:
            return None
        return self.cache.get(self.chat.model, opening)

    def _keep(self, opening: list[Message], record: Record) -> None:
        if self.cache is not None and self.chat.temperature == 0:
            self.cache.put(self.chat.model, opening, record)


def _judge(question: Question, accepted: list[Candidate], reading: Reading) -> str:
    """A note when sentences are missing; an error when too many are."""
    if len(accepted) >= question.count:
        return ""
    what = f"signs of {question.category!r}" if question.category else "normal sentences"
    problems = "; ".join(reading.complaints[:COMPLAINTS_SHOWN]) or "the rest did not come"
    text = f"{len(accepted)} of {question.count} {what} in {MAX_ANSWERS} answers"
    if 2 * len(accepted) < question.count:
        raise LanguageModelError(
            f"only {text} can be used: {problems}. Take a larger model, ask for fewer signs "
            "(--signs-per-category) or change the prompts (--prompts)"
        )
    return f"{text}: {problems}"


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
