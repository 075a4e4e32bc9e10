"""The scoring head: from image embeddings to scores and decisions.

Signs (Eq. 7 and 8, the anchor), image evidence beside them, and the operating point. Whatever
scores by signs goes through it: SD-MAD, zero-shot CLIP, SD-MAD + MVFA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.detector.config import SDMADConfig, parse_decision
from sdmad.detector.probe import LinearProbe
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError
from sdmad.method.scoring import (
    abnormality,
    binary_predictions,
    category_scores,
    decision_margins,
    normal_anchor,
)
from sdmad.method.selection import select_signs
from sdmad.signs import SignBank

LEAST_DEVIATION = 0.02
"""Floor of the signs' deviation: collapsed ones, all at one cosine, must not be blown up."""


@dataclass(frozen=True)
class TextFeatures:
    """Unit-length embeddings of a bank: signs ``(S, D)`` and the normal anchor ``(D,)``."""

    signs: Tensor
    anchor: Tensor

    @classmethod
    def encode(cls, bank: SignBank, backbone: Backbone) -> Self:
        """What a backbone without adapters makes of a bank's sentences."""
        features = backbone.encode_text([*bank.sentences, *bank.normal])
        count = len(bank.sentences)
        return cls(features[:count], normal_anchor(features[count:]))


@dataclass(frozen=True)
class ImageEvidence:
    """A linear probe's evidence, and what brings it and the signs' to one unit.

    In a category that the probe could not learn, for want of a positive or a negative image, the
    signs speak alone.

    Attributes:
        probe: on the image tower's evidence; of models saved by sdmad 0.1, on its embeddings.
        sign_scale: deviation of the sign scores over the support set.
        probe_scale: deviation of the probe's log odds over the support set.
    """

    probe: LinearProbe
    sign_scale: float
    probe_scale: float

    def reads(self, dimension: int) -> bool:
        """Whether the probe reads embeddings of a size D, not evidence of another."""
        return self.probe.weights.shape[1] == dimension

    def __call__(self, features: Tensor, evidence: Tensor | None, weight: float) -> Tensor:
        """Log odds ``(n, K)`` in units of their deviation, times a weight.

        Args:
            features: embeddings, ``(n, D)``.
            evidence: the image tower's, ``(n, E)``; None where the probe reads embeddings.
            weight: of the evidence beside the signs.

        Raises:
            ValueError: if the probe reads evidence and there is none.
        """
        read = features if self.reads(features.shape[1]) else evidence
        if read is None:
            raise ValueError("the probe reads the image tower's evidence, and none was given")
        odds = self.probe(read) * self.probe.learnt
        return odds * (weight / self.probe_scale)


@dataclass(frozen=True)
class SignHead:
    """The constants that scoring an embedding needs.

    Attributes:
        signs: unit-length sign embeddings, ``(S, D)``.
        anchor: unit-length embedding of the normal text, ``(D,)``.
        category: index of each sign's category, ``(S,)``, int64.
        keep: signs that selection kept, ``(S,)``, boolean.
        config: says how signs are pooled, how a decision is made, what image evidence weighs.
        evidence: image evidence; None where the signs speak alone.
        thresholds: a threshold a category for the rule ``fpr``, float64 ``(K,)``; None without.
    """

    signs: Tensor
    anchor: Tensor
    category: Tensor
    keep: Tensor
    config: SDMADConfig
    evidence: ImageEvidence | None = None
    thresholds: NDArray[np.float64] | None = None

    @classmethod
    def build(cls, text: TextFeatures, bank: SignBank, config: SDMADConfig) -> Self:
        """Select signs once on the text features and fix the constants; no image evidence yet.

        Args:
            text: embeddings of the bank's sentences.
            bank: whose categories the signs belong to.
            config: selection, pooling and decision rule.
        """
        category = torch.tensor(bank.category_index, device=text.signs.device)
        keep = (
            select_signs(text.signs, category)
            if config.selection == "paper"
            else torch.ones(len(category), dtype=torch.bool, device=category.device)
        )
        return cls(text.signs, text.anchor, category, keep, config)

    def with_evidence(
        self,
        features: Tensor,
        evidence: Tensor,
        labels: NDArray[np.float64],
        parts: Sequence[int] = (),
    ) -> Self:
        """Fit the image evidence that the settings ask for on the support set.

        Args:
            features: embeddings as the head will be given them, ``(n, D)``.
            evidence: the image tower's, ``(n, E)``.
            labels: 1, 0 or NaN, shape ``(n, K)``.
            parts: sizes of the parts that the evidence is made of.
        """
        if self.config.image_evidence == "none":
            return self
        probe = LinearProbe.fit(evidence, labels, parts=parts)
        odds = probe(evidence)[:, probe.learnt]
        scales = pooled_deviation(self.sign_scores(features)), pooled_deviation(odds)
        return replace(self, evidence=ImageEvidence(probe, *scales))

    def with_config(self, bank: SignBank, config: SDMADConfig) -> Self:
        """The same embeddings and evidence under other settings; thresholds go with the old ones.

        Args:
            bank: whose signs these are.
            config: other selection, pooling, decision or weight of the evidence.
        """
        head = type(self).build(TextFeatures(self.signs, self.anchor), bank, config)
        kept = self.thresholds if config == self.config else None
        return replace(head, evidence=self.evidence, thresholds=kept)

    @property
    def reads_evidence(self) -> bool:
        """Whether a probe reads more of the image tower than its embeddings."""
        return self.evidence is not None and not self.evidence.reads(self.signs.shape[1])

    @property
    def kept_signs(self) -> NDArray[np.bool_]:
        """Signs that selection kept, boolean ``(S,)``."""
        kept: NDArray[np.bool_] = self.keep.cpu().numpy()
        return kept

    def similarity(self, features: Tensor) -> Tensor:
        """Cosine of embeddings ``(n, D)`` with every sign: ``(n, S)``."""
        return features @ self.signs.T

    def anchor_similarity(self, features: Tensor) -> Tensor:
        """Cosine of embeddings ``(n, D)`` with the anchor: ``(n,)``."""
        return features @ self.anchor

    def sign_scores(self, features: Tensor) -> Tensor:
        """What the signs alone say of each category, ``(n, K)`` (Eq. 7)."""
        pooling = self.config.pooling
        return category_scores(features, self.signs, self.category, self.keep, pooling)

    def __call__(self, features: Tensor, beside: Tensor | None = None) -> ImageScores:
        """Score embeddings ``(n, D)``.

        Args:
            features: the embeddings.
            beside: the image tower's evidence, ``(n, E)``; not needed where the signs speak alone,
                or a probe reads the embeddings.

        Raises:
            InputError: if the decision rule needs thresholds and there are none.
        """
        anchor = self.anchor_similarity(features)
        scores = self.sign_scores(features)
        rule = "min" if self.config.decision == "paper" else "mean"
        signs = (features, self.signs, self.category, self.keep, self.anchor, rule)
        if self.evidence is None:
            abnormal = abnormality(scores, anchor)
            decisions = binary_predictions(*signs)
        else:
            scale = self.evidence.sign_scale
            odds = self.evidence(features, beside, self.config.evidence_weight)
            decisions = decision_margins(*signs) / scale + odds > 0
            abnormal = ((scores - anchor.unsqueeze(1)) / scale + odds).amax(dim=1)
            scores = scores / scale + odds
        if parse_decision(self.config.decision)[0] == "fpr":
            decisions = scores.double() > self._thresholds().to(scores.device)
        return ImageScores.of(scores, decisions, abnormal, self.similarity(features), anchor)

    def _thresholds(self) -> Tensor:
        if self.thresholds is None:
            raise InputError(
                "the decision rule fpr needs thresholds: call fit_thresholds with normal images "
                "(on the command line --normals FOLDER)"
            )
        return torch.from_numpy(self.thresholds)


def pooled_deviation(values: Tensor) -> float:
    """Deviation within a category ``(n, K)``, pooled over the categories; 1 where there is none.

    Never below :data:`LEAST_DEVIATION`.
    """
    if values.numel() == 0 or len(values) < 2:
        return 1.0
    return max(float(values.double().var(dim=0).mean().sqrt()), LEAST_DEVIATION)


def thresholds_at(normal_scores: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """The smallest thresholds that at most a share ``rate`` of normal images exceed.

    >>> import numpy as np
    >>> thresholds_at(np.arange(20.0)[:, None], 0.05)
    array([18.])

    Args:
        normal_scores: scores of m normal images, shape ``(m, K)``.
        rate: false-positive rate a category, in (0, 1).

    Returns:
        Shape ``(K,)``; a score above its threshold is a finding.

    Raises:
        InputError: if there are fewer than ``1 / rate`` images, so that the rate cannot be told.
    """
    needed = math.ceil(1 / rate)
    if len(normal_scores) < needed:
        raise InputError(
            f"a false-positive rate of {rate:g} needs at least {needed} normal images, "
            f"got {len(normal_scores)}; give more or a larger rate"
        )
    allowed = math.floor(rate * len(normal_scores) + 1e-9)
    ordered: NDArray[np.float64] = np.sort(normal_scores, axis=0)
    return ordered[len(ordered) - 1 - allowed]
