"""Image evidence beside the signs': a linear probe on the support set's image embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdmad.detector.config import SDMADConfig
from sdmad.detector.sign_scorer import SignScorer

MAX_ITERATIONS = 1000
LEAST_SPREAD = 0.02


@dataclass(frozen=True)
class LinearProbe:
    """One logistic regression a category on unit-length image embeddings.

    Attributes:
        weights: shape ``(K, D)``.
        bias: shape ``(K,)``; a category that could not be learnt is constant.
        learnt: categories with a positive and a negative image, boolean ``(K,)``.
    """

    weights: Tensor
    bias: Tensor
    learnt: Tensor

    @classmethod
    def fit(
        cls, features: Tensor, labels: NDArray[np.float64], regularisation: float = 1.0
    ) -> Self:
        """Fit on the support set; images with an unknown label are left out of that category.

        Args:
            features: unit-length image embeddings, shape ``(n, D)``.
            labels: 1, 0 or NaN, shape ``(n, K)``.
            regularisation: strength of the L2 penalty (1 / C of scikit-learn), on embeddings
                scaled to unit variance on average.
        """
        from sklearn.linear_model import LogisticRegression

        values = features.double().cpu().numpy()
        scale = np.sqrt(values.shape[1])
        categories = labels.shape[1]
        weights = np.zeros((categories, values.shape[1]))
        bias = np.zeros(categories)
        learnt = np.zeros(categories, bool)
        for k in range(categories):
            known = ~np.isnan(labels[:, k])
            truth = labels[known, k] == 1
            if truth.all() or not truth.any():
                bias[k] = -1.0
                continue
            model = LogisticRegression(C=1 / regularisation, max_iter=MAX_ITERATIONS)
            model.fit(values[known] * scale, truth)
            weights[k], bias[k], learnt[k] = model.coef_[0] * scale, model.intercept_[0], True
        return cls(
            torch.from_numpy(weights).to(features),
            torch.from_numpy(bias).to(features),
            torch.from_numpy(learnt).to(features.device),
        )

    def __call__(self, features: Tensor) -> Tensor:
        """Log odds ``(n, K)`` of unit-length embeddings ``(n, D)``."""
        return features @ self.weights.T + self.bias


@dataclass(frozen=True)
class Combined:
    """Scores ``(n, K)``, decision margins ``(n, K)`` (positive: found), abnormality ``(n,)``."""

    scores: Tensor
    margins: Tensor
    abnormality: Tensor


@dataclass(frozen=True)
class SignAndImageEvidence:
    """The signs' evidence, alone or beside a linear probe's.

    In a category that the probe could not learn, for want of a positive or a negative image, the
    signs speak alone.

    Attributes:
        config: says which evidence counts, how much, and how a decision is made.
        probe: None where the signs speak alone.
        sign_scale: deviation of the sign scores over the support set, a scalar.
        probe_scale: deviation of the probe's log odds over the support set, a scalar.
    """

    config: SDMADConfig
    probe: LinearProbe | None = None
    sign_scale: float = 1.0
    probe_scale: float = 1.0

    @classmethod
    def fit(
        cls,
        scorer: SignScorer,
        features: Tensor,
        labels: NDArray[np.float64],
        config: SDMADConfig,
    ) -> Self:
        """Fit the probe and the constants on the support set.

        Args:
            scorer: the trained signs.
            features: embeddings in the adapted image tower, ``(n, D)``.
            labels: 1, 0 or NaN, shape ``(n, K)``.
            config: the settings.
        """
        if config.image_evidence == "none":
            return cls(config)
        probe = LinearProbe.fit(features, labels)
        signs = scorer.scores(scorer.similarity(features))
        odds = probe(features)
        return cls(config, probe, _spread(signs), _spread(odds[:, probe.learnt]))

    def __call__(
        self, scorer: SignScorer, similarity: Tensor, anchor: Tensor, features: Tensor
    ) -> Combined:
        """Combine the evidence of n images.

        Args:
            scorer: the trained signs.
            similarity: cosines with the signs, ``(n, S)``.
            anchor: cosines with the anchor, ``(n,)``.
            features: embeddings in the adapted image tower, ``(n, D)``.
        """
        rule = "paper" if self.config.decision == "paper" else "mean"
        margins = scorer.decision_margin(similarity, anchor, rule)
        scores = scorer.scores(similarity)
        if self.probe is None:
            return Combined(scores, margins, scorer.abnormality(similarity, anchor))
        odds = self.probe(features) * self.probe.learnt
        odds = odds * (self.config.evidence_weight / self.probe_scale)
        return Combined(
            scores / self.sign_scale + odds,
            margins / self.sign_scale + odds,
            ((scores - anchor.unsqueeze(1)) / self.sign_scale + odds).amax(dim=1),
        )

    def tensors(self) -> dict[str, Tensor]:
        """What must be stored to restore this object."""
        if self.probe is None:
            return {}
        return {
            "weights": self.probe.weights,
            "bias": self.probe.bias,
            "learnt": self.probe.learnt,
            "scales": torch.tensor([self.sign_scale, self.probe_scale], dtype=torch.float64),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], config: SDMADConfig) -> Self:
        """Restore from :meth:`tensors`."""
        if config.image_evidence == "none":
            return cls(config)
        probe = LinearProbe(tensors["weights"], tensors["bias"], tensors["learnt"])
        sign_scale, probe_scale = tensors["scales"].tolist()
        return cls(config, probe, sign_scale, probe_scale)


def _spread(values: Tensor) -> float:
    """Deviation within a category, pooled over the categories; 1 where there is none.

    Never below a floor: collapsed signs, all at nearly the same cosine, must not be blown up.
    """
    if values.numel() == 0 or len(values) < 2:
        return 1.0
    return max(float(values.double().var(dim=0).mean().sqrt()), LEAST_SPREAD)
