"""A whole bank, question by question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sdmad.signs.bank import NORMAL, SignBank
from sdmad.signs.generation.conversation import Answered, Interviewer
from sdmad.signs.generation.request import GenerationRequest
from sdmad.signs.provenance import Provenance


@dataclass(frozen=True)
class Generated:
    """A bank that a language model wrote.

    Attributes:
        bank: the sentences, each with its provenance.
        notes: what a person should know.
    """

    bank: SignBank
    notes: tuple[str, ...]


def generate_bank(
    request: GenerationRequest,
    interviewer: Interviewer,
    name: str,
    report: Callable[[str], None] = lambda _: None,
) -> Generated:
    """Let a language model write a bank.

    The normal sentences are asked for first, then the signs of each category. A sign that the
    model says is seen in other categories too stands in each of them, marked as shared; so does
    one that it wrote for several categories.

    Args:
        request: what the bank is about.
        interviewer: asks the questions.
        name: what to call the bank.
        report: told about each question, before and after.

    Raises:
        LanguageModelError: if a question gets no usable answer; the message names it.
    """
    writer = _Writer(interviewer.chat.model)
    questions = [
        request.normal_question(),
        *(request.question(name) for name in request.categories),
    ]
    for number, question in enumerate(questions, 1):
        what = f"signs of {question.category}" if question.category else "normal sentences"
        report(f"{number}/{len(questions)}: {question.count} {what} ...")
        answered = interviewer.ask(question, writer.taken if question.category else ())
        writer.add(question.category or NORMAL, answered)
        report(f"{number}/{len(questions)}: {len(answered.candidates)} {what}, {_how(answered)}")
    return Generated(writer.bank(name, request), tuple(writer.notes))


def _how(answered: Answered) -> str:
    if answered.replayed:
        return f"from the cache ({answered.date})"
    return f"in {answered.answers} answer{'s' if answered.answers > 1 else ''}"


class _Writer:
    """Collects sentences by category, shared ones in all of theirs."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.origins: dict[tuple[str, str], Provenance] = {}
        self.notes: list[str] = []
        self.taken: list[str] = []

    def add(self, category: str, answered: Answered) -> None:
        """Take in the answer to one question."""
        origin = Provenance(
            model=self.model, date=answered.date, prompt_sha256=answered.prompt_sha256
        )
        for candidate in answered.candidates:
            for owner in (category, *candidate.shared_with):
                # A category that has the sentence keeps its own record of it.
                self.origins.setdefault((owner, candidate.text), origin)
        if answered.note:
            self.notes.append(answered.note)
        if category == NORMAL:
            self.taken += [candidate.text for candidate in answered.candidates]

    def bank(self, name: str, request: GenerationRequest) -> SignBank:
        """The bank, in the order of the request."""
        owners: dict[str, int] = {}
        for _, sentence in self.origins:
            owners[sentence] = owners.get(sentence, 0) + 1
        origins = {
            key: replace(origin, shared=owners[key[1]] > 1) for key, origin in self.origins.items()
        }
        sentences = {
            category: tuple(text for owner, text in origins if owner == category)
            for category in (NORMAL, *request.categories)
        }
        normal = sentences.pop(NORMAL)
        return SignBank(name, request.modality, normal, sentences, origins)
