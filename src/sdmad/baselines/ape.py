"""APE: Tip-Adapter's cache on the channels that tell the classes apart, without training.

Zhu et al., Not All Features Matter: Enhancing Few-shot CLIP with Adaptive Prior Refinement, ICCV
2023. Channels are kept in which the classes' texts differ; a support image votes the louder, the
less zero-shot CLIP would have said so itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from sdmad.backbones import Backbone
from sdmad.baselines.components.anchored import (
    AnchoredDetector,
    anchored_logits,
    encode_support,
)
from sdmad.baselines.components.cache import Cache, balanced
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import TrainingSet
from sdmad.signs import SignBank


@dataclass(frozen=True)
class APESettings:
    """Hyper-parameters as published for ImageNet, where the authors' search begins.

    Attributes:
        kept: share of the channels that is kept: 500 of 1024.
        similarity: weight of the classes' likeness in the choice of channels; their variance has
            the rest of 1.
        alpha: weight of the cache beside the zero-shot logits.
        beta: sharpness: how fast a support image's vote falls with its distance.
        gamma: how much louder an image votes that zero-shot CLIP gets wrong.
        scale: what a cosine is multiplied with in the zero-shot logits: OpenAI CLIP's learnt value.
    """

    kept: float = 500 / 1024
    similarity: float = 0.7
    alpha: float = 2.0
    beta: float = 1.0
    gamma: float = 0.1
    scale: float = 100.0


SEARCHED = APESettings(alpha=100.0, beta=5.5)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


def telling_channels(text: Tensor, kept: float, similarity: float) -> Tensor:
    """Numbers of the channels in which classes are unlike each other and vary.

    >>> text = torch.tensor([[0.8, 0.6, 0.0], [0.8, -0.6, 0.0]])
    >>> telling_channels(text, 0.34, 0.7).tolist()
    [1]

    Args:
        text: unit-length, ``(C, D)``, of two classes or more.
        kept: share of the channels; at least one is kept.
        similarity: weight of the likeness.

    Returns:
        Ascending, int64.
    """
    classes, channels = text.shape
    pairs = text.sum(dim=0).square() - text.square().sum(dim=0)  # over all ordered pairs
    alike = pairs / (classes * (classes - 1))
    worth = (1 - similarity) * text.var(dim=0) - similarity * alike
    return worth.topk(max(1, int(kept * channels))).indices.sort().values


def surprise(cosines: Tensor, labels: Tensor) -> Tensor:
    """Divergence of each label from what zero-shot CLIP says, in bits, ``(n, K)``.

    Args:
        cosines: of the images with the categories, less that with the normal class, ``(n, K)``.
        labels: 1, 0 or NaN, ``(n, K)``; 0 where unknown.
    """
    said = logsigmoid(torch.where(labels == 1, cosines, -cosines)) / math.log(2)
    return torch.where(labels.isnan(), 0.0, -said)


class APE(AnchoredDetector):
    """APE for several labels: each category against the normal class.

    Args:
        bank: its signs, averaged, are a category's text; its normal sentences the normal class's.
        backbone: the frozen model.
        settings: hyper-parameters.

    Attributes:
        channels: those that are kept.
        text_: what it compares images with, ``(K + 1, D)``: the texts.
        cache_: the fitted cache, on these.
    """

    set_by_fit = "cache_"

    def __init__(
        self, bank: SignBank, backbone: Backbone, settings: APESettings | None = None
    ) -> None:
        super().__init__(bank, backbone)
        self.settings = settings or APESettings()
        self.channels = telling_channels(self.text, self.settings.kept, self.settings.similarity)
        self.text_ = self.text
        self.cache_: Cache | None = None

    def refined(self, features: Tensor) -> Tensor:
        """Unit-length vectors of the channels that are kept."""
        return normalize(features[:, self.channels], dim=-1)

    def loudness(self, keys: Tensor, labels: Tensor) -> Tensor:
        """How loud each support image votes on each category, ``(n, K)``.

        Args:
            keys: refined embeddings, ``(n, Q)``.
            labels: 1, 0 or NaN, ``(n, K)``; 1 is said where unknown.
        """
        bits = surprise(anchored_logits(keys, self.refined(self.text), 1.0), labels)
        return (self.settings.gamma * bits).exp()

    def votes_beside(self, features: Tensor, text: Tensor, cache: Cache) -> Tensor:
        """Zero-shot logits ``(n, K)`` by some texts, and a cache's votes."""
        zero_shot = anchored_logits(features, text, self.settings.scale)
        return zero_shot + self.settings.alpha * cache.logits(self.refined(features))

    def _fit(self, training: TrainingSet) -> None:
        """Fill the cache with the support set."""
        features, _, truth = encode_support(self.backbone, training)
        keys = self.refined(features)
        votes = balanced(truth).to(keys) * self.loudness(keys, truth)
        self.cache_ = Cache(keys, votes, self.settings.beta)

    def logits(self, features: Tensor, evidence: Tensor) -> Tensor:
        """Zero-shot logits ``(n, K)`` and the fitted cache's votes."""
        del evidence
        assert self.cache_ is not None
        return self.votes_beside(features, self.text_, self.cache_)


RECIPES = {
    "ape": Recipe(
        lambda build, settings: APE(build.bank, build.backbone, settings), APESettings(), SEARCHED
    )
}
