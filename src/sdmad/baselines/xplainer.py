"""Xplainer's rule: is each sign there or not? Together they make the category's probability.

Pellegrini et al., Xplainer: From X-Ray Observations to Explainable Zero-Shot Diagnosis, MICCAI
2023. An image is compared with the sentence of each sign and with its negation; the softmax over
the two is the sign's probability, and a category's is the geometric mean of those of its signs.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sdmad.backbones import Backbone
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import Detector, TrainingSet
from sdmad.detector.scores import ImageScores
from sdmad.method.scoring import pool_signs
from sdmad.signs import SignBank

# Behind one of these a normal sentence speaks of what is not there.
NEGATIONS = ("without", "no", "free")


@dataclass(frozen=True)
class XplainerSettings:
    """Hyper-parameters as published.

    Attributes:
        temperature: of the softmax over a sign and its negation.
    """

    temperature: float = 0.5


def subject_words(bank: SignBank) -> frozenset[str]:
    """Words that a bank uses for what is there in any image, lower case.

    They are those of the modality and of the normal sentences, each as far as the first "without",
    "no" or "free".

    >>> bank = SignBank("b", "brain MRI", ("brain without mass", "clear lungs"), {"A": ("x",)})
    >>> sorted(subject_words(bank))
    ['brain', 'clear', 'lungs', 'mri']
    """
    found: set[str] = set()
    for sentence in (bank.modality, *bank.normal):
        for word in _words(sentence):
            if word in NEGATIONS:
                break
            found.add(word)
    return frozenset(found)


def negated(sign: str, subjects: Collection[str]) -> str:
    """The sentence that says that a sign is not there.

    "SUBJECT with X" becomes "SUBJECT without X" where every word in front of the first "with" names
    something that is there in any image, in the singular or plural; any other sign gets "no" in
    front.

    >>> negated("lung with a thin streak", {"lungs"}), negated("mass with a hole", {"lungs"})
    ('lung without a thin streak', 'no mass with a hole')

    Args:
        sign: a sentence of the bank.
        subjects: of :func:`subject_words`.
    """
    subject, joint, finding = sign.partition(" with ")
    known = {form for word in subjects for form in (word, f"{word}s", word.removesuffix("s"))}
    if joint and all(word in known for word in _words(subject)):
        return f"{subject} without {finding}"
    return f"no {sign}"


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


class Xplainer(Detector):
    """Zero-shot diagnosis from the probability of each sign.

    A category is found where its signs' geometric mean probability exceeds that of their
    negations. ``similarity`` of the scores holds the cosines with the signs themselves.

    Args:
        bank: the signs; its normal sentences only say how a sign is negated.
        backbone: the frozen model.
        settings: hyper-parameters.

    Attributes:
        negations: the negated sentence of each sign.
    """

    set_by_fit = ""

    def __init__(
        self, bank: SignBank, backbone: Backbone, settings: XplainerSettings | None = None
    ) -> None:
        self.bank, self.backbone, self.categories = bank, backbone, bank.names
        self.settings = settings or XplainerSettings()
        subjects = subject_words(bank)
        self.negations = tuple(negated(sign, subjects) for sign in bank.sentences)
        text = backbone.encode_text([*bank.sentences, *self.negations])
        self.signs, self.absent = text.chunk(2)
        self._category = torch.tensor(bank.category_index, device=text.device)

    def _fit(self, training: TrainingSet) -> None:
        """Nothing is learnt."""
        del training

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        features = self.backbone.encode_image(pixels)
        similarity = features @ self.signs.T
        logits = (similarity - features @ self.absent.T) / self.settings.temperature
        scores, margins = sign_probabilities(logits, self._category)
        return ImageScores.of(scores, margins > 0, scores.amax(dim=1), similarity)


def sign_probabilities(logits: Tensor, category: Tensor) -> tuple[Tensor, Tensor]:
    """Category probabilities from the signs'.

    >>> logits = torch.log(torch.tensor([[4.0, 0.25]]))  # probabilities 0.8 and 0.2
    >>> probability, margin = sign_probabilities(logits, torch.tensor([0, 0]))
    >>> round(probability.item(), 4), round(margin.item(), 4)
    (0.4, 0.0)

    Args:
        logits: log odds of each sign, ``(n, S)``.
        category: index of each sign's category, ``(S,)``, int64.

    Returns:
        The exponential of the mean log probability of each category's signs, ``(n, K)``, and by
        how much this mean exceeds that of the negations, ``(n, K)``.
    """
    every = torch.ones_like(category, dtype=torch.bool)
    present = pool_signs(logsigmoid(logits), category, every, "mean")
    absent = pool_signs(logsigmoid(-logits), category, every, "mean")
    return present.exp(), present - absent


RECIPES = {
    "xplainer": Recipe(
        lambda build, settings: Xplainer(build.bank, build.backbone, settings), XplainerSettings()
    )
}
