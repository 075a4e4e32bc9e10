"""Spoil a bank on purpose: vague, wrong and repeated sentences, in any number.

The sentences come from ``noise.yaml`` and from the bank itself, and fit any kind of image.
"""

from __future__ import annotations

import importlib.resources
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import yaml

from sdmad.errors import InputError
from sdmad.signs.bank import SignBank

VAGUE, WRONG, DUPLICATE, MIXTURE = "vague", "wrong", "duplicate", "mixture"
Item = TypeVar("Item")
KINDS = (VAGUE, WRONG, DUPLICATE, MIXTURE)
"""Of sentences that are added to a bank; the mixture takes the other three in turn."""
OWN = ""
"""What ``NoisyBank.added`` says of a sign that was there before."""


@dataclass(frozen=True)
class NoisyBank:
    """A bank with sentences added to every category.

    Attributes:
        bank: the signs of each category, then what was added to it.
        added: for each sign ``vague``, ``wrong``, ``duplicate``, or ``""`` where it was there
            before; as long as ``bank.sentences``.
    """

    bank: SignBank
    added: tuple[str, ...]


def add_noise(bank: SignBank, kind: str, count: int, seed: int) -> NoisyBank:
    """Add sentences of one kind, or of all in turn, to every category.

    - ``vague``: true of almost any abnormal image;
    - ``wrong``: in turn another category's words (the first half of one of its signs and the
      second of another) and a finding that none of the images shows; the latter alone where no
      other category has two signs;
    - ``duplicate``: a sign of the category once more, in a frame that adds nothing;
    - ``mixture``: vague, wrong, duplicate in turn.

    No sentence is added twice. What a smaller ``count`` adds, a larger one adds too.

    >>> bank = SignBank("b", "CT", ("a normal CT",), {"Mass": ("a dark mass", "a round mass")})
    >>> add_noise(bank, "duplicate", 1, seed=0).added
    ('', '', 'duplicate')

    Args:
        bank: the clean bank.
        kind: one of :data:`KINDS`.
        count: sentences added to each category.
        seed: which sentences.

    Raises:
        InputError: if the kind is unknown, the count negative, or there are too few sentences.
    """
    if kind not in KINDS:
        raise InputError(f"no noise {kind!r}; there are {', '.join(KINDS)}")
    if count < 0:
        raise InputError(f"the number of added sentences must be 0 or more, got {count}")
    turns = (VAGUE, WRONG, DUPLICATE) if kind == MIXTURE else (kind,)
    sources = _Sources(bank, seed)
    extra: dict[str, list[tuple[str, str]]] = {name: [] for name in bank.names}
    for turn, name in itertools.product(range(count), bank.names):
        part = turns[turn % len(turns)]
        extra[name].append((part, sources.take(part, name, turn // len(turns))))
    signs = {
        name: (*own, *(sentence for _, sentence in extra[name]))
        for name, own in bank.categories.items()
    }
    added = tuple(
        mark
        for name, own in bank.categories.items()
        for mark in (*[OWN] * len(own), *(part for part, _ in extra[name]))
    )
    spoilt = f"{bank.name}-{kind}-{count}" if count else bank.name
    return NoisyBank(SignBank(spoilt, bank.modality, bank.normal, signs, bank.origins), added)


class _Sources:
    """Streams of sentences in a seeded order; none is given twice."""

    def __init__(self, bank: SignBank, seed: int) -> None:
        words = _words()
        self.bank, self.seed = bank, seed
        self.used = {sentence.casefold() for sentence in (*bank.sentences, *bank.normal)}
        self.vague = self._phrases(words[VAGUE], VAGUE)
        self.unseen = self._phrases(words["unseen"], "unseen")
        self.repeats = {name: self._repeats(name, words["repeats"]) for name in bank.names}
        self.foreign = {name: self._foreign(name, words["joints"]) for name in bank.names}

    def take(self, part: str, category: str, turn: int) -> str:
        """The next sentence of a kind for a category; ``turn`` counts those it has had."""
        if part == VAGUE:
            streams = [self.vague]
        elif part == DUPLICATE:
            streams = [self.repeats[category]]
        else:
            streams = [self.foreign[category], self.unseen][:: 1 if turn % 2 == 0 else -1]
        for sentence in itertools.chain(*streams):
            if sentence.casefold() not in self.used:
                self.used.add(sentence.casefold())
                return sentence
        raise InputError(
            f"bank {self.bank.name!r}: there are not enough {part} sentences for {category!r}; "
            "add fewer"
        )

    def _mixed(self, items: Sequence[Item], what: str) -> list[Item]:
        """The items in an order of their own for each seed and purpose."""
        order = np.random.default_rng([self.seed, *what.encode()])
        return [items[i] for i in order.permutation(len(items))]

    def _phrases(self, phrases: Sequence[str], what: str) -> Iterator[str]:
        """Every phrase once before one comes again behind another opener."""
        openers = _words()["openers"]
        mixed = self._mixed(phrases, what)
        for turn in range(len(openers)):
            for place, phrase in enumerate(mixed):
                opener = openers[(place + turn) % len(openers)]
                yield opener.format(modality=self.bank.modality, phrase=phrase)

    def _repeats(self, category: str, frames: Sequence[str]) -> Iterator[str]:
        """Every sign of the category once before one comes again in another frame."""
        signs = self._mixed(self.bank.categories[category], f"signs {category}")
        shown = self._mixed(frames, f"frames {category}")
        for turn in range(len(shown)):
            for place, sign in enumerate(signs):
                yield shown[(place + turn) % len(shown)].format(sign=sign)

    def _foreign(self, category: str, joints: Sequence[str]) -> Iterator[str]:
        """Halves of two signs of another category put together, the categories in turn."""
        others = [name for name in self.bank.names if name != category]
        pairs = [
            self._mixed(
                list(itertools.permutations(self.bank.categories[name], 2)), f"{category} {name}"
            )
            for name in self._mixed(others, f"others {category}")
        ]
        for row in itertools.zip_longest(*pairs):
            for first, second in filter(None, row):
                yield halves(first, second, joints)


def halves(first: str, second: str, joints: Sequence[str]) -> str:
    """The first half of one sentence and the second half of another.

    >>> halves("a bright rim around the lesion", "many spots of blood", ("around", "of"))
    'a bright rim of blood'

    Args:
        first: gives the beginning.
        second: gives the end.
        joints: words before which a sentence may be cut, at the one nearest its middle; a
            sentence without any is cut in the middle.
    """
    one, other = first.split(), second.split()
    words = [*one[: _cut(one, joints)], *other[_cut(other, joints) :]]
    return " ".join(words).strip(" ,")


def _cut(words: Sequence[str], joints: Sequence[str]) -> int:
    middle = len(words) / 2
    places = [i for i in range(1, len(words)) if words[i].strip(",") in joints]
    return min(places, key=lambda i: abs(i - middle)) if places else max(1, round(middle))


@lru_cache(maxsize=1)
def _text() -> str:
    resource = importlib.resources.files("sdmad.signs") / "noise.yaml"
    return resource.read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _words() -> Mapping[str, Any]:
    words: Mapping[str, Any] = yaml.safe_load(_text())
    return words
