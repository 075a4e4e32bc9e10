"""Noisy banks: to each category one vague and one wrong sign, as a language model would write."""

from __future__ import annotations

from sdmad.phantoms.base import Modality
from sdmad.phantoms.cases import load_wordings
from sdmad.signs import SignBank

VAGUE = (
    "{m} with an unclear focal abnormality",
    "{m} that looks different from normal",
    "{m} with subtle changes of uncertain meaning",
    "{m} with a finding that needs clinical correlation",
    "{m} with nonspecific abnormal appearance",
    "{m} with some change in signal or density",
    "{m} with an area that should be followed up",
    "{m} with possible disease",
    "{m} with an altered structure",
    "{m} with an atypical pattern",
    "{m} with a doubtful shadow",
    "{m} with mild asymmetry",
    "{m} with an irregular region",
    "{m} with a questionable finding",
)


def noisy_bank(bank: SignBank, modality: Modality) -> SignBank:
    """Add a vague sign and a sign of another category, in other words, to every category.

    Args:
        bank: the clean bank.
        modality: whose held-out wordings speak of the wrong signs.
    """
    wordings = load_wordings(modality.name)["signs"]
    used: set[str] = set()
    categories = {}
    for position, (name, signs) in enumerate(bank.categories.items()):
        mine = modality.categories[name]
        foreign = [
            wording
            for sign in sorted(wordings)
            if sign not in (*mine.own, *mine.shared) and sign not in modality.unseen
            for wording in wordings[sign]["held_out"]
            if wording not in used
        ]
        wrong = foreign[(position * 7) % len(foreign)]
        used.add(wrong)
        vague = VAGUE[position % len(VAGUE)].format(m=bank.modality)
        categories[name] = (*signs, vague, wrong)
    return SignBank(f"{bank.name}-noisy", bank.modality, bank.normal, categories)
