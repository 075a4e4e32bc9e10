"""From image embeddings to scores, by signs: selection, Eq. 7, Eq. 8 and the anchor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdmad.detector.training import TextFeatures
from sdmad.method.scoring import abnormality, pool_signs
from sdmad.method.selection import select_signs
from sdmad.signs import SignBank


@dataclass(frozen=True)
class SignScorer:
    """The constants that scoring an image needs.

    Attributes:
        signs: unit-length sign embeddings, ``(S, D)``.
        anchor: unit-length embedding of the normal text, ``(D,)``.
        category: index of each sign's category, ``(S,)``, int64.
        keep: signs that selection kept, ``(S,)``, boolean.
        pooling: how kept signs make a category's score: ``"max"`` (Eq. 7) or ``"mean"``.
    """

    signs: Tensor
    anchor: Tensor
    category: Tensor
    keep: Tensor
    pooling: str

    @classmethod
    def build(cls, text: TextFeatures, bank: SignBank, selection: str, pooling: str) -> SignScorer:
        """Select signs once on the text features and fix the constants.

        Args:
            text: embeddings of the bank's sentences.
            bank: whose categories the signs belong to.
            selection: ``"paper"`` (Eq. 6) or ``"none"``.
            pooling: ``"max"`` or ``"mean"``.
        """
        category = torch.tensor(bank.category_index, device=text.signs.device)
        keep = (
            select_signs(text.signs, category)
            if selection == "paper"
            else torch.ones(len(category), dtype=torch.bool, device=category.device)
        )
        return cls(text.signs, text.anchor, category, keep, pooling)

    def similarity(self, image_features: Tensor) -> Tensor:
        """Cosine of images ``(n, D)`` with every sign: ``(n, S)``."""
        return image_features @ self.signs.T

    def anchor_similarity(self, image_features: Tensor) -> Tensor:
        """Cosine of images ``(n, D)`` with the anchor: ``(n,)``."""
        return image_features @ self.anchor

    def scores(self, similarity: Tensor) -> Tensor:
        """Category scores ``(n, K)`` from similarities ``(n, S)`` (Eq. 7)."""
        return pool_signs(similarity, self.category, self.keep, self.pooling)

    def decision_margin(self, similarity: Tensor, anchor_similarity: Tensor, rule: str) -> Tensor:
        """How far each category lies above the anchor, ``(n, K)``; positive means found.

        Args:
            similarity: cosines with the signs, ``(n, S)``.
            anchor_similarity: cosines with the anchor, ``(n,)``.
            rule: ``"paper"`` (the smallest kept cosine, Eq. 8) or ``"mean"``.
        """
        pooling = "min" if rule == "paper" else "mean"
        pooled = pool_signs(similarity, self.category, self.keep, pooling)
        return pooled - anchor_similarity.unsqueeze(1)

    def abnormality(self, similarity: Tensor, anchor_similarity: Tensor) -> Tensor:
        """Best category score above the anchor's cosine, ``(n,)`` (protocol 1)."""
        return abnormality(self.scores(similarity), anchor_similarity)
