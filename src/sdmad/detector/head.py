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
from sdmad.detector.abnormality import abnormality_beside_signs
from sdmad.detector.calibration import Calibration
from sdmad.detector.config import BY_SIGNS, SDMADConfig, parse_decision
from sdmad.detector.familiarity import Familiarity
from sdmad.detector.features import ImageFeatures, Wanted
from sdmad.detector.held_out import HeldOut
from sdmad.detector.probe import LinearProbe
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError
from sdmad.method.scoring import abnormality, decision_margins, normal_anchor, pool_signs
from sdmad.method.selection import select_signs
from sdmad.signs import SignBank

NO_PRIOR = 1e-9
"""Stands for a prior's weight of 0 where something is divided by it."""

ROUNDING = 1e-9
"""What a product of a rate and a count may be off."""

NEEDED = {
    "fpr": "the decision rule fpr needs thresholds: call fit_thresholds with normal images (on the "
    "command line --normals FOLDER)",
    "likely": "the decision rule likely needs to know how common findings are: call "
    "decide_at(prevalence) (on the command line --prevalence)",
}
"""What a rule lacks whose thresholds are not there."""

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
    """A probe's evidence, and what brings it and the signs' to one unit.

    In a category that the probe could not learn, for want of a positive or a negative image, the
    signs speak alone.

    Attributes:
        probe: cross-modal, on embeddings and evidence behind each other; else on the image tower's
            evidence; of models saved by sdmad 0.1, on its embeddings.
        sign_scale: what the sign scores are divided by: their deviation over the support set, of
            cross-modal evidence over the prior's weight.
        probe_scale: what the probe's log odds are divided by: their deviation over the support
            set, of cross-modal evidence 1.
    """

    probe: LinearProbe
    sign_scale: float
    probe_scale: float

    def reads(self, dimension: int) -> bool:
        """Whether the probe reads embeddings of a size D alone."""
        return self.probe.weights.shape[1] == dimension

    def __call__(self, features: ImageFeatures, weight: float) -> Tensor:
        """Log odds ``(n, K)`` in units of their deviation, times a weight.

        Args:
            features: with the evidence, unless the probe reads embeddings alone.
            weight: of the evidence beside the signs.

        Raises:
            ValueError: if the probe reads evidence and there is none.
        """
        odds = self.probe(self._read(features)) * self.probe.learnt
        return odds * (weight / self.probe_scale)

    def _read(self, features: ImageFeatures) -> Tensor:
        if self.reads(features.embedding.shape[1]):
            return features.embedding
        if features.evidence is None:
            raise ValueError("the probe reads the image tower's evidence, and none was given")
        if self.probe.weights.shape[1] == features.evidence.shape[1]:
            return features.evidence
        return torch.cat([features.embedding, features.evidence], dim=1)


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
        thresholds: a threshold a category for the rules ``fpr`` and ``likely``, float64 ``(K,)``;
            None without.
        by_patch: whether the most similar patch's cosine with a sign counts, not the image's.
        familiarity: tells images unlike the support set; None where the evidence is not read.
        calibration: from log odds to probabilities; None where scores are none.
        held_out: what fits said of support images that they did not see; None where adapters have
            seen them all.
    """

    signs: Tensor
    anchor: Tensor
    category: Tensor
    keep: Tensor
    config: SDMADConfig
    evidence: ImageEvidence | None = None
    thresholds: NDArray[np.float64] | None = None
    by_patch: bool = False
    familiarity: Familiarity | None = None
    calibration: Calibration | None = None
    held_out: HeldOut | None = None

    @classmethod
    def build(
        cls, text: TextFeatures, bank: SignBank, config: SDMADConfig, by_patch: bool = False
    ) -> Self:
        """Select signs once on the text features and fix the constants; no image evidence yet.

        Args:
            text: embeddings of the bank's sentences.
            bank: whose categories the signs belong to.
            config: selection, pooling and decision rule.
            by_patch: whether the most similar patch's cosine counts.
        """
        category = torch.tensor(bank.category_index, device=text.signs.device)
        keep = (
            select_signs(text.signs, category)
            if config.selection == "paper"
            else torch.ones(len(category), dtype=torch.bool, device=category.device)
        )
        return cls(text.signs, text.anchor, category, keep, config, by_patch=by_patch)

    def with_evidence(
        self,
        features: ImageFeatures,
        labels: NDArray[np.float64],
        parts: Sequence[int] = (),
        patients: Sequence[object] = (),
        prior: float = 1.0,
        trunk: float = 1.0,
    ) -> Self:
        """Fit the image evidence that the settings ask for on the support set.

        :func:`sdmad.detector.cross_fitting.fit_head` finds the weights too.

        Args:
            features: of n images, as the head will be given them, with the evidence.
            labels: 1, 0 or NaN, shape ``(n, K)``.
            parts: sizes of the parts that the evidence is made of; none where it tells no more than
                the embeddings.
            patients: id of each image's patient; empty where unknown.
            prior: weight of the signs' score in cross-modal log odds.
            trunk: weight of the evidence's last part in cross-modal evidence.
        """
        if self.config.image_evidence == "none":
            return self
        assert features.evidence is not None
        familiar = replace(self, familiarity=Familiarity.fit(features.evidence, patients))
        if self.config.image_evidence == "cross-modal":
            return familiar.with_priors(features, labels, parts, [prior], trunk)[0]
        probe = LinearProbe.fit(features.evidence, labels, parts=parts)
        odds = probe(features.evidence)[:, probe.learnt]
        scales = pooled_deviation(self.sign_scores(features)), pooled_deviation(odds)
        return replace(familiar, evidence=ImageEvidence(probe, *scales))

    def with_priors(
        self,
        features: ImageFeatures,
        labels: NDArray[np.float64],
        parts: Sequence[int],
        priors: Sequence[float],
        trunk: float = 1.0,
    ) -> list[Self]:
        """Heads with cross-modal evidence, one for each weight of the signs' score in it.

        Args:
            features: as :meth:`with_evidence`.
            labels: likewise.
            parts: likewise.
            priors: the weights.
            trunk: weight of the evidence's last part.
        """
        from sdmad.detector.cross_modal import CrossModalSettings, fit_cross_modal

        config, signs = self.config, self.sign_scores(features)
        centre, scale = signs.mean(dim=0), pooled_deviation(signs)
        probes = fit_cross_modal(
            (features.embedding, features.evidence if parts else None),
            labels,
            (self.signs, self.category, self.anchor),
            ((signs - centre) / scale).double().cpu().numpy(),
            priors,
            CrossModalSettings(config.text_weight, config.penalty, trunk),
            parts,
        )
        heads = []
        for prior, probe in zip(priors, probes, strict=True):
            sign_scale = scale / max(prior, NO_PRIOR)
            # Of a category that could not be learnt the bias is all that the probe says, and
            # counts.
            heard = torch.ones_like(probe.learnt)
            whole = replace(probe, bias=probe.bias - centre / sign_scale, learnt=heard)
            heads.append(replace(self, evidence=ImageEvidence(whole, sign_scale, 1.0)))
        return heads

    def with_config(self, bank: SignBank, config: SDMADConfig) -> Self:
        """The same embeddings and evidence under other settings; thresholds go with the old ones.

        Args:
            bank: whose signs these are.
            config: other selection, pooling, decision or weight of the evidence.
        """
        text = TextFeatures(self.signs, self.anchor)
        head = type(self).build(text, bank, config, self.by_patch)
        kept = self.thresholds if config == self.config else None
        return replace(
            head,
            evidence=self.evidence,
            familiarity=self.familiarity,
            calibration=self.calibration,
            held_out=self.held_out,
            thresholds=kept,
        )

    @property
    def wanted(self) -> Wanted:
        """What of the image tower is read beside its embeddings."""
        probe = self.evidence is not None and not self.evidence.reads(self.signs.shape[1])
        return Wanted(probe or self.familiarity is not None, self.by_patch)

    @property
    def evidence_weight(self) -> float:
        """Of the probe's log odds beside the signs' score."""
        return self.config.evidence_weight if self.config.image_evidence == "probe" else 1.0

    @property
    def kept_signs(self) -> NDArray[np.bool_]:
        """Signs that selection kept, boolean ``(S,)``."""
        kept: NDArray[np.bool_] = self.keep.cpu().numpy()
        return kept

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosine of embeddings ``(..., D)`` with every sign: ``(..., S)``."""
        return embeddings @ self.signs.T

    def similarity(self, features: ImageFeatures) -> Tensor:
        """Cosine of each image, or of its most similar patch, with every sign: ``(n, S)``."""
        if not self.by_patch:
            return self.cosines(features.embedding)
        assert features.patches is not None
        return self.cosines(features.patches).amax(dim=1)

    def anchor_similarity(self, embeddings: Tensor) -> Tensor:
        """Cosine of embeddings ``(n, D)`` with the anchor: ``(n,)``."""
        return embeddings @ self.anchor

    def pooled(self, similarity: Tensor) -> Tensor:
        """What the signs alone say of each category, ``(n, K)``, by their cosines ``(n, S)``."""
        return pool_signs(similarity, self.category, self.keep, self.config.pooling)

    def sign_scores(self, features: ImageFeatures) -> Tensor:
        """What the signs alone say of each category, ``(n, K)`` (Eq. 7)."""
        return self.pooled(self.similarity(features))

    def __call__(self, features: ImageFeatures) -> ImageScores:
        """Score n images.

        Args:
            features: with what is :attr:`wanted`.

        Raises:
            InputError: if the decision rule needs thresholds and there are none.
        """
        anchor = self.anchor_similarity(features.embedding)
        similarity = self.similarity(features)
        scores = self.pooled(similarity)
        abnormal = abnormality(scores, anchor)
        margins = self._margins(features.embedding)
        if self.evidence is not None:
            scale, odds = self.evidence.sign_scale, self.evidence(features, self.evidence_weight)
            scores = scores / scale + odds
            if self.config.image_evidence == "probe":
                margins = margins / scale + odds
                abnormal = (scores - anchor.unsqueeze(1) / scale).amax(dim=1)
            else:
                abnormal = abnormality_beside_signs(scores, abnormal / scale)
        limits = self.limits()
        if limits is None:
            decisions = margins > 0
        else:
            decisions = scores.double() > torch.from_numpy(limits).to(scores.device)
        return ImageScores.of(
            scores, decisions, abnormal, similarity, anchor, self._unfamiliar(features)
        )

    def _unfamiliar(self, features: ImageFeatures) -> Tensor | None:
        if self.familiarity is None or features.evidence is None:
            return None
        return self.familiarity.unfamiliar(features.evidence)

    def _margins(self, embeddings: Tensor) -> Tensor:
        """How far the kept signs lie above the anchor, of the whole image, ``(n, K)`` (Eq. 8)."""
        rule = "min" if self.config.decision == "paper" else "mean"
        signs = (self.signs, self.category, self.keep, self.anchor)
        return decision_margins(embeddings, *signs, rule)

    def limits(self) -> NDArray[np.float64] | None:
        """The score above which each category is found, ``(K,)``; None of a rule of signs alone.

        Raises:
            InputError: if the rule needs thresholds and there are none.
        """
        kind = parse_decision(self.config.decision)[0]
        if kind in BY_SIGNS:
            return None
        if kind == "odds":
            return np.zeros(int(self.category.max()) + 1)
        if kind == "support":
            if self.held_out is None:
                raise InputError(
                    "the decision rule support needs scores of support images that no fit saw: "
                    "cross-modal evidence on frozen embeddings, images of two patients at least"
                )
            return self.held_out.thresholds()
        if self.thresholds is None:
            raise InputError(NEEDED[kind])
        return self.thresholds


def pooled_deviation(values: Tensor) -> float:
    """Deviation within a category ``(n, K)``, pooled over the categories; 1 where there is none.

    Never below :data:`LEAST_DEVIATION`.
    """
    if values.numel() == 0 or len(values) < 2:
        return 1.0
    return max(float(values.double().var(dim=0).mean().sqrt()), LEAST_DEVIATION)


def thresholds_at(normal_scores: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """The smallest thresholds that a NEW normal image exceeds with a chance of ``rate`` at most.

    Of m + 1 images that are exchangeable the new one is any in the order with the same chance. So
    ``floor(rate (m + 1)) - 1`` of the m may exceed their threshold, not ``floor(rate m)``: the rank
    of split conformal prediction (Vovk et al. 2005).

    >>> import numpy as np
    >>> thresholds_at(np.arange(19.0)[:, None], 0.05), thresholds_at(np.arange(39.0)[:, None], 0.05)
    (array([18.]), array([37.]))

    Args:
        normal_scores: scores of m normal images, shape ``(m, K)``.
        rate: false-positive rate a category, in (0, 1).

    Returns:
        Shape ``(K,)``; a score above its threshold is a finding.

    Raises:
        InputError: if there are fewer than ``1 / rate - 1`` images, so that no threshold can hold
            the rate.
    """
    count = len(normal_scores)
    needed = math.ceil(1 / rate - 1 - ROUNDING)
    if count < needed:
        raise InputError(
            f"a false-positive rate of {rate:g} needs at least {needed} normal images, "
            f"got {count}; give more or a larger rate"
        )
    allowed = math.floor(rate * (count + 1) + ROUNDING) - 1
    ordered: NDArray[np.float64] = np.sort(normal_scores, axis=0)
    return ordered[count - 1 - allowed]
