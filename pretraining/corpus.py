"""Captions for pretraining: which sentence is true of which phantom.

A sentence claims a set of signs of one modality (the empty set claims a normal image). It is
true of an image exactly if the image shows all of them, so every pair of an image and a
sentence has a known answer and no true pair is ever pushed apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from sdmad.phantoms.base import Modality
from sdmad.phantoms.cases import MODALITIES, load_modality, load_wordings

HELD_OUT_PAIRS = 0.12
ONE_SIGN = (
    "{m} with {s}", "{m} showing {s}", "{s}", "{s} on {m}", "{m}: {s}", "{s} is seen",
    "there is {s}", "findings of {s}", "{m}, {s}", "{m} demonstrating {s}", "{s} in this {m}",
    "evidence of {s}", "an image with {s}", "the picture shows {s}",
)  # fmt: skip
TWO_SIGNS = (
    "{m} with {s} and {t}", "{s} and {t}", "{m} showing {s}, {t}", "{s} together with {t}",
    "there is {s} with {t}", "{m}: {s}; {t}", "{s} as well as {t} on {m}",
)  # fmt: skip
NORMAL = ("{s}", "{m}: {s}", "{m}, {s}", "{s} on {m}", "{s}, {m}")


@dataclass(frozen=True)
class Sentence:
    """A sentence, its modality, and the signs that it claims; no sign claims a normal image."""

    text: str
    modality: str
    signs: frozenset[str]


class Captions:
    """The wordings of one modality and the sentences that are made of them.

    Args:
        modality: what the sentences speak of.
        held_out: use the wordings that pretraining never reads.
    """

    def __init__(self, modality: Modality, held_out: bool = False) -> None:
        self.modality = modality
        words = load_wordings(modality.name)
        part = "held_out" if held_out else "train"
        self.names: list[str] = list(words["modality"][part])
        self.views: dict[str, list[str]] = words["views"]
        self.normal: list[str] = words["normal"][part]
        self.signs: dict[str, list[str]] = {
            sign: wordings[part] for sign, wordings in words["signs"].items() if wordings[part]
        }
        if held_out:
            self.signs = {s: w for s, w in self.signs.items() if s not in modality.unseen}

    def sentence(
        self, signs: Sequence[str], rng: np.random.Generator, view: str | None = None
    ) -> Sentence:
        """Word a claim of up to two signs in one of many ways."""

        def pick(options: Sequence[str]) -> str:
            return options[int(rng.integers(len(options)))]

        name = pick(self.views[view] if view and rng.random() < 0.5 else self.names)
        said = [pick(self.signs[sign]) for sign in signs]
        templates = (NORMAL, ONE_SIGN, TWO_SIGNS)[len(said)]
        fill = {"m": name, "s": said[0] if said else pick(self.normal)}
        if len(said) == 2:
            fill["t"] = said[1]
        return Sentence(pick(templates).format(**fill), self.modality.name, frozenset(signs))

    def all_texts(self) -> list[str]:
        """Every wording, without templates."""
        return [
            *self.names,
            *(w for options in self.views.values() for w in options),
            *self.normal,
            *(w for options in self.signs.values() for w in options),
        ]


@lru_cache(maxsize=16)
def held_out_pairs(signs: tuple[str, ...]) -> frozenset[frozenset[str]]:
    """Pairs of signs that pretraining never draws together, fixed by their names."""

    def chosen(pair: tuple[str, str]) -> bool:
        digest = hashlib.sha256("|".join(sorted(pair)).encode()).digest()
        return digest[0] / 256 < HELD_OUT_PAIRS

    return frozenset(frozenset(p) for p in combinations(signs, 2) if chosen(p))


def draw_seen_signs(modality: Modality, view: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw a set of signs for one pretraining image: no unseen sign, no held-out pair."""
    available = [s for s in modality.views[view] if s not in modality.unseen]
    banned = held_out_pairs(modality.signs) | modality.excludes
    count = int(rng.choice(5, p=(0.2, 0.35, 0.25, 0.13, 0.07)))
    chosen: list[str] = []
    for sign in rng.permutation(available):
        if len(chosen) == count:
            break
        if not any(frozenset((sign, other)) in banned for other in chosen):
            chosen.append(str(sign))
    return tuple(sorted(chosen))


def training_captions() -> dict[str, Captions]:
    """The captions that pretraining reads, by modality."""
    return {name: Captions(load_modality(name)) for name in MODALITIES}
