"""Look for trouble in a sign bank before anything is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sdmad.backbones import LITE_FOLDER, Backbone
from sdmad.choices import EMBEDDED
from sdmad.method.selection import select_signs
from sdmad.signs.bank import SignBank

NEAR_DUPLICATE = 0.97
FAR_FROM_READ = 0.6
WORDINGS = "wordings.txt"


@dataclass(frozen=True)
class Complaint:
    """One thing that a person should look at.

    Attributes:
        kind: ``duplicate``, ``shared``, ``near-duplicate``, ``cut``, ``one sign``, ``discarded`` or
            ``far``.
        category: whose sign it is.
        sentence: the sign.
        message: what is the matter, and what follows.
    """

    kind: str
    category: str
    sentence: str
    message: str


def check_bank(bank: SignBank, backbone: Backbone) -> list[Complaint]:
    """Check a bank's structure, and its sentences in a backbone's text space.

    Args:
        bank: what to check.
        backbone: whose tokenizer and text tower judge the sentences.
    """
    features = backbone.encode_text(list(bank.sentences))
    return [
        *_structure(bank),
        *_lengths(bank, backbone),
        *_near(bank, features),
        *_discarded(bank, features),
        *_far(bank, backbone, features),
    ]


def _owner(bank: SignBank, sign: int) -> str:
    return bank.names[bank.category_index[sign]]


def _structure(bank: SignBank) -> list[Complaint]:
    found = []
    owners: dict[str, list[str]] = {}
    marked = {
        (owner, sign.casefold()) for (owner, sign), origin in bank.origins.items() if origin.shared
    }
    for name, signs in bank.categories.items():
        if len(signs) == 1:
            found.append(
                Complaint("one sign", name, signs[0], "the category's only sign; it is always kept")
            )
        for sign in signs:
            if name in owners.get(sign.casefold(), ()):
                found.append(Complaint("duplicate", name, sign, "stands in this category twice"))
            owners.setdefault(sign.casefold(), []).append(name)
            if sign.casefold() in {normal.casefold() for normal in bank.normal}:
                found.append(Complaint("duplicate", name, sign, "also a normal sentence"))
    for name, signs in bank.categories.items():
        for sign in signs:
            others = list(dict.fromkeys(o for o in owners[sign.casefold()] if o != name))
            if others and marked.issuperset((owner, sign.casefold()) for owner in (name, *others)):
                message = f"marked as shared with {', '.join(others)}: Eq. 6 discards it from all "
                message += "its categories, so it serves only with selection none"
                found.append(Complaint("shared", name, sign, message))
            elif others:
                message = f"also a sign of {', '.join(others)}; selection drops it from all"
                found.append(Complaint("duplicate", name, sign, message))
    return found


def _lengths(bank: SignBank, backbone: Backbone) -> list[Complaint]:
    sentences = [*bank.sentences, *bank.normal]
    owners = [
        *(_owner(bank, s) for s in range(len(bank.sentences))),
        *["normal"] * len(bank.normal),
    ]
    limit = backbone.context_length
    return [
        Complaint("cut", owner, sentence, f"{count} tokens, cut to the context length of {limit}")
        for owner, sentence, count in zip(
            owners, sentences, backbone.token_counts(sentences), strict=True
        )
        if count > limit
    ]


def _near(bank: SignBank, features: torch.Tensor) -> list[Complaint]:
    cosine = (features @ features.T).tolist()
    found = []
    for a, sentence in enumerate(bank.sentences):
        near = [
            b
            for b in range(a + 1, len(bank.sentences))
            if cosine[a][b] >= NEAR_DUPLICATE
            and sentence.casefold() != bank.sentences[b].casefold()
        ]
        if near:
            b = max(near, key=lambda other: cosine[a][other])
            message = f"cosine {cosine[a][b]:.3f} with {bank.sentences[b]!r} of {_owner(bank, b)}"
            message += f" and as near to {len(near) - 1} more" if len(near) > 1 else ""
            found.append(Complaint("near-duplicate", _owner(bank, a), sentence, message))
    return found


def _discarded(bank: SignBank, features: torch.Tensor) -> list[Complaint]:
    keep = select_signs(features, torch.tensor(bank.category_index, device=features.device))
    return [
        Complaint(
            "discarded",
            _owner(bank, s),
            bank.sentences[s],
            "lies closer to another category: Eq. 6 would discard it before any training",
        )
        for s in range(len(bank.sentences))
        if not keep[s]
    ]


def _far(bank: SignBank, backbone: Backbone, features: torch.Tensor) -> list[Complaint]:
    """Signs far from every wording that the embedded tower read; nothing for other backbones."""
    read = read_wordings(backbone)
    if not read:
        return []
    nearest = (features @ backbone.encode_text(read).T).max(dim=1)
    return [
        Complaint(
            "far",
            _owner(bank, s),
            bank.sentences[s],
            f"far from anything the text tower has read (cosine {float(nearest.values[s]):.2f} "
            f"with {read[int(nearest.indices[s])]!r}); its score may mean little",
        )
        for s in range(len(bank.sentences))
        if float(nearest.values[s]) < FAR_FROM_READ
    ]


def read_wordings(backbone: Backbone) -> Sequence[str]:
    """The wordings of the embedded backbone's pretraining; none for one of another origin."""
    path = (LITE_FOLDER if backbone.name == EMBEDDED else Path(backbone.name)) / WORDINGS
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
