"""What changed between two sign banks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sdmad.data.labels import canonical_name
from sdmad.signs.bank import NORMAL, SignBank

REWORDED = 0.6
"""Least similarity of two sentences of which one is taken for the other, reworded."""

MOST_PAIRS = 40_000
"""Pairs of sentences compared in a category; with more none is taken for reworded."""


@dataclass(frozen=True)
class Change:
    """One difference between two banks.

    Attributes:
        kind: ``modality``, ``category added``, ``category removed``, ``category renamed``,
            ``added``, ``removed``, ``moved`` or ``reworded``.
        category: the category in the old bank, in the new one where the old has none;
            ``normal`` for the normal sentences.
        before: the old sentence or name; empty for what was added.
        after: the new sentence or name, for a moved sentence the new category; empty for what was
            removed.
    """

    kind: str
    category: str
    before: str
    after: str

    @property
    def sign(self) -> tuple[str, str] | None:
        """The old bank's ``(category, sentence)`` that is touched, if one is."""
        if self.kind in ("removed", "moved", "reworded") and self.category != NORMAL:
            return self.category, self.before
        return None


def diff_banks(before: SignBank, after: SignBank) -> list[Change]:
    """What changed from one bank to another.

    Categories are the same when their names are but for case, spaces and underscores; sentences
    when they are equal. A sentence that left one category and stands newly in another was moved.
    Of the rest, those of one category that are most alike are paired as reworded.

    >>> old = SignBank("a", "x", ("plain",), {"Ring": ("a round ring",), "Bar": ("a long bar",)})
    >>> new = SignBank("b", "x", ("plain",), {
    ...     "Ring": ("a round thin ring",), "Bar": ("an upright line",), "Ball": ("a long bar",)})
    >>> for change in diff_banks(old, new):
    ...     print(change.kind, "|", change.before, "|", change.after)
    category added |  | Ball
    reworded | a round ring | a round thin ring
    moved | a long bar | Ball
    added |  | an upright line

    Args:
        before: the old bank.
        after: the new bank.
    """
    found = []
    if before.modality != after.modality:
        found.append(Change("modality", "", before.modality, after.modality))
    new_names = {canonical_name(name): name for name in after.names}
    old_names = {canonical_name(name): name for name in before.names}
    for key, name in old_names.items():
        if key not in new_names:
            found.append(Change("category removed", name, name, ""))
        elif new_names[key] != name:
            found.append(Change("category renamed", name, name, new_names[key]))
    found += [
        Change("category added", name, "", name)
        for key, name in new_names.items()
        if key not in old_names
    ]
    return found + _sentence_changes(before, after, {**new_names, **old_names})


def _sentence_changes(before: SignBank, after: SignBank, shown: Mapping[str, str]) -> list[Change]:
    """Changes of sentences, category by category in the order of the old bank."""
    old, new = _by_key(before), _by_key(after)
    names = {**shown, NORMAL: NORMAL}
    changes: dict[str, list[Change]] = {key: [] for key in {**old, **new}}
    gone = {key: _without(old[key], new.get(key, ())) for key in old}
    come = {key: _without(new[key], old.get(key, ())) for key in new}
    where = {sentence: key for key, sentences in come.items() for sentence in sentences}
    for key, sentences in gone.items():
        for sentence in [s for s in sentences if s in where]:
            target = where.pop(sentence)
            del sentences[sentence], come[target][sentence]
            changes[key].append(Change("moved", names[key], sentence, names[target]))
    for key, found in changes.items():
        lost, won = list(gone.get(key, ())), list(come.get(key, ()))
        pairs = _reworded(lost, won)
        found += [Change("reworded", names[key], lost[a], won[b]) for a, b in pairs]
        for a in sorted(set(range(len(lost))) - {a for a, _ in pairs}):
            found.append(Change("removed", names[key], lost[a], ""))
        for b in sorted(set(range(len(won))) - {b for _, b in pairs}):
            found.append(Change("added", names[key], "", won[b]))
    return [change for found in changes.values() for change in found]


def _by_key(bank: SignBank) -> dict[str, tuple[str, ...]]:
    """Sentences by what category names are compared by; no category is called normal."""
    return {NORMAL: bank.normal} | {
        canonical_name(name): signs for name, signs in bank.categories.items()
    }


def _without(sentences: Sequence[str], others: Sequence[str]) -> dict[str, None]:
    """The sentences that the others lack, in their order, quick to look up and remove."""
    known = frozenset(others)
    return dict.fromkeys(sentence for sentence in sentences if sentence not in known)


def _reworded(lost: Sequence[str], won: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs of sentences taken for each other, the most alike first."""
    if not lost or not won or len(lost) * len(won) > MOST_PAIRS:
        return []
    matcher = difflib.SequenceMatcher(autojunk=False)
    alike = []
    for b, new in enumerate(won):
        matcher.set_seq2(new.casefold().split())
        words = set(new.casefold().split())
        for a, old in enumerate(lost):
            if words.isdisjoint(old.casefold().split()):
                continue
            matcher.set_seq1(old.casefold().split())
            alike.append((matcher.ratio(), a, b))
    pairs: list[tuple[int, int]] = []
    for ratio, a, b in sorted(alike, key=lambda pair: (-pair[0], pair[1], pair[2])):
        free = all(a != x and b != y for x, y in pairs)
        if ratio >= REWORDED and free:
            pairs.append((a, b))
    return sorted(pairs)
