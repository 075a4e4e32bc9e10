"""LP++: a linear probe into which each class blends its text as far as the images ask for it.

Huang et al., LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP, CVPR 2024. A class's
logit is the product of an image with ``vector + blending * text``; both are learnt, in turn, by
steps of gradient descent that need no search: a step is one over a bound of the loss's curvature
(majorise and minimise), so that none raises the loss. The vectors start at the means of the
classes' images, the blending at one number that their cosines with their texts give.

The paper has one softmax over all classes. Where each category is decided against the normal class,
a known label is a sample of one of the two, and both bounds are worked out anew. What the paper
leaves open, or is not known here for certain, and was decided: ten steps of the vectors, then one
of the blending; a class without samples starts at the mean of all of them, and has no say in the
blending's start; the last step is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.components.anchored import (
    VectorDetector,
    anchored_logits,
    encode_support,
    known_label_loss,
)
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import TrainingSet
from sdmad.signs import SignBank

SHARPEST = 0.25
"""The largest second derivative of the cross-entropy of two classes by their logit."""


@dataclass(frozen=True)
class LPPlusPlusSettings:
    """Hyper-parameters as published, which the authors keep for all data sets.

    Attributes:
        epochs: steps of the vectors, each on all images.
        blend_every: after how many of them the blending has a step.
        blending: what the mean cosine of images with their class's text is multiplied with, for
            the blending's start.
    """

    epochs: int = 300
    blend_every: int = 10
    blending: float = 250.0


SEARCHED = LPPlusPlusSettings(blending=50.0, epochs=50)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


@dataclass(frozen=True)
class Objective:
    """The loss, its slopes, and bounds of its curvature.

    Attributes:
        features: unit-length embeddings of the n images, ``(n, D)``.
        text: unit length, of the K categories and, last, the normal class, ``(K + 1, D)``.
        labels: 1, 0 or NaN, ``(n, K)``; at least one is known.
    """

    features: Tensor
    text: Tensor
    labels: Tensor

    @property
    def known(self) -> Tensor:
        """Which labels are known, as 1 and 0 in the features' precision, ``(n, K)``."""
        return (~self.labels.isnan()).to(self.features)

    @property
    def cosines(self) -> Tensor:
        """Of the images with the texts, ``(n, K + 1)``."""
        return self.features @ self.text.T

    def logits(self, vectors: Tensor, blending: Tensor) -> Tensor:
        """Logits ``(n, K)`` by vectors ``(K + 1, D)`` and blending ``(K + 1,)``."""
        return anchored_logits(self.features, blended(vectors, blending, self.text), 1.0)

    def loss(self, vectors: Tensor, blending: Tensor) -> Tensor:
        """The mean cross-entropy over the known labels, a scalar."""
        return known_label_loss(self.logits(vectors, blending), self.labels)

    def slopes(self, vectors: Tensor, blending: Tensor) -> tuple[Tensor, Tensor]:
        """The loss's gradient by the vectors ``(K + 1, D)`` and by the blending ``(K + 1,)``."""
        known = self.known
        error = self.logits(vectors, blending).sigmoid() - self.labels.nan_to_num()
        own = error * known / known.sum()
        both = torch.cat([own, -own.sum(dim=1, keepdim=True)], dim=1)
        return both.T @ self.features, (both * self.cosines).sum(dim=0)

    def curvatures(self) -> tuple[float, float]:
        """Numbers that no second derivative exceeds: by the vectors, and by the blending.

        An image's K' known labels tie their vectors to the normal class's like spokes to a hub:
        the Laplacian of a star, whose largest eigenvalue is K' + 1. The blending has few numbers,
        and its bound is the largest eigenvalue itself.
        """
        known, cosines = self.known, self.cosines
        count = known.sum(dim=1)
        pull = torch.where(count > 0, count + 1, 0.0)
        outer = (self.features * pull[:, None]).T @ self.features
        own, normal = cosines[:, :-1] * known, cosines[:, -1:]
        crossed = -(own * normal).sum(dim=0)
        corner = (count * normal[:, 0].square()).sum()
        table = torch.diag(torch.cat([own.square().sum(dim=0), corner[None]]))
        table[:-1, -1] = table[-1, :-1] = crossed
        largest = (float(torch.linalg.eigvalsh(one)[-1]) for one in (outer, table))
        vectors, blending = (SHARPEST * one / float(known.sum()) for one in largest)
        return vectors, blending


def blended(vectors: Tensor, blending: Tensor, text: Tensor) -> Tensor:
    """Each class's vector and as much of its text as it blends in, ``(K + 1, D)``."""
    return vectors + blending[:, None] * text


def start(objective: Objective, blending: float) -> tuple[Tensor, Tensor]:
    """Vectors ``(K + 1, D)`` and blending ``(K + 1,)`` to begin with.

    >>> images = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    >>> one = Objective(images, torch.eye(2), torch.tensor([[1.0], [0.0]]))
    >>> vectors, both = start(one, 10.0)
    >>> vectors.tolist() == images.tolist(), both.tolist()  # 10 (1 + 0.8) / 2
    (True, [9.0, 9.0])

    Args:
        objective: the support set.
        blending: see :class:`LPPlusPlusSettings`.
    """
    labels, features = objective.labels, objective.features
    lacks = (labels == 0).sum(dim=1, keepdim=True)
    samples = torch.cat([labels == 1, lacks], dim=1).to(features)
    count = samples.sum(dim=0)
    seen = count > 0
    middle = samples.sum(dim=1) @ features / count.sum()
    means = samples.T @ features / count.clamp(min=1)[:, None]
    vectors = torch.where(seen[:, None], means, middle)
    likeness = (means * objective.text).sum(dim=1)[seen].mean()
    return vectors, (blending * likeness).expand(len(count)).clone()


class LPPlusPlus(VectorDetector):
    """LP++ for several labels: each category against the normal class.

    Args:
        bank: its signs, averaged, are a category's text; its normal sentences the normal class's.
        backbone: the frozen model.
        settings: hyper-parameters.

    Attributes:
        weights_: the fitted vectors with their texts blended in, ``(K + 1, D)``.
        blending_: how much of its text each class blends in, ``(K + 1,)``.
        log_: the loss before each step of the vectors.
    """

    def __init__(
        self, bank: SignBank, backbone: Backbone, settings: LPPlusPlusSettings | None = None
    ) -> None:
        super().__init__(bank, backbone, scale=1.0)
        self.settings = settings or LPPlusPlusSettings()
        self.blending_: Tensor | None = None
        self.log_: list[float] = []

    def _fit(self, training: TrainingSet) -> None:
        """Descend on vectors and blending in turn, in double precision."""
        features, _, truth = encode_support(self.backbone, training)
        settings = self.settings
        objective = Objective(features.double(), self.text.double(), truth.double())
        vectors, blending = start(objective, settings.blending)
        curved, curved_blending = objective.curvatures()
        self.log_ = []
        for step in range(1, settings.epochs + 1):
            self.log_.append(float(objective.loss(vectors, blending)))
            vectors = vectors - objective.slopes(vectors, blending)[0] / curved
            if step % settings.blend_every == 0:
                blending = blending - objective.slopes(vectors, blending)[1] / curved_blending
        self.weights_ = blended(vectors, blending, objective.text).to(features)
        self.blending_ = blending.to(features)

    @property
    def trained_parameters(self) -> int:
        """Numbers of the vectors and the blending."""
        blending = 0 if self.blending_ is None else self.blending_.numel()
        return super().trained_parameters + blending


RECIPES = {
    "lp-plus-plus": Recipe(
        lambda build, settings: LPPlusPlus(build.bank, build.backbone, settings),
        LPPlusPlusSettings(),
        SEARCHED,
    )
}
