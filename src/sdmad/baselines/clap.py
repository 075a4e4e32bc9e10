"""CLAP: a linear probe that starts at the texts and is held to each as far as it deserves.

Silva-Rodriguez et al., A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models,
CVPR 2024. A class's weights are a vector beside which images are compared by cosine; how strongly
it is held to the class's text is told by how well that text does on the support set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.backbones import Backbone
from sdmad.baselines.components.anchored import (
    VectorDetector,
    anchored_logits,
    encode_support,
    known_label_loss,
)
from sdmad.baselines.components.minimise import descend
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import TrainingSet
from sdmad.signs import SignBank


@dataclass(frozen=True)
class CLAPSettings:
    """Hyper-parameters as published, which the authors keep for all data sets.

    Attributes:
        epochs: passes over the support set.
        batch_size: images a step.
        learning_rate: of stochastic gradient descent, at the start of the half cosine to 0.
        momentum: of stochastic gradient descent.
        scale: what a cosine is multiplied with: OpenAI CLIP's learnt value.
    """

    epochs: int = 300
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    scale: float = 100.0


SEARCHED = CLAPSettings(epochs=50, scale=25.0)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


def trust(logits: Tensor, labels: Tensor) -> Tensor:
    """How likely zero-shot CLIP finds each class where it is right, ``(K + 1,)``; the normal last.

    A category's is the mean over the images that show it; the normal class's over all labels that
    say that a category is absent. A class of which nobody knows is trusted wholly.

    >>> trust(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]])).tolist()
    [0.5, 0.5]

    Args:
        logits: of each category against the normal class, ``(n, K)``.
        labels: 1, 0 or NaN, ``(n, K)``.
    """
    likely, shows, lacks = logits.sigmoid(), labels == 1, labels == 0
    own = (likely * shows).sum(dim=0) / shows.sum(dim=0)
    normal = ((1 - likely) * lacks).sum() / lacks.sum()
    return torch.cat([own, normal[None]]).nan_to_num(nan=1.0)


class CLAP(VectorDetector):
    """CLAP for several labels: each category against the normal class.

    Args:
        bank: its signs, averaged, are a category's text; its normal sentences the normal class's.
        backbone: the frozen model.
        settings: hyper-parameters.
        seed: of the order of the images.

    Attributes:
        weights_: the fitted vectors of the categories and, last, the normal class, unit length,
            ``(K + 1, D)``.
        held_: how strongly each is held to its text, ``(K + 1,)``.
        log_: mean loss of each epoch.
    """

    def __init__(
        self,
        bank: SignBank,
        backbone: Backbone,
        settings: CLAPSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.settings, self.seed = settings or CLAPSettings(), seed
        super().__init__(bank, backbone, self.settings.scale)
        self.held_: Tensor | None = None
        self.log_: list[float] = []

    def _fit(self, training: TrainingSet) -> None:
        """Train the vectors; the last epoch is kept."""
        features, _, truth = encode_support(self.backbone, training)
        settings = self.settings
        held = trust(anchored_logits(features, self.text, settings.scale), truth)
        weights = self.text.clone().requires_grad_()

        def loss_of(rows: Tensor) -> Tensor:
            logits = anchored_logits(features[rows], normalize(weights, dim=-1), settings.scale)
            moved = (weights - self.text).square().sum(dim=1)
            return known_label_loss(logits, truth[rows]) + (held * moved).mean()

        optimiser = torch.optim.SGD([weights], settings.learning_rate, settings.momentum)
        passes = (len(features), settings.epochs, settings.batch_size)
        self.log_ = descend(optimiser, loss_of, *passes, self.seed)
        self.weights_, self.held_ = normalize(weights.detach(), dim=-1), held


RECIPES = {
    "clap": Recipe(
        lambda build, settings: CLAP(build.bank, build.backbone, settings, build.seed),
        CLAPSettings(),
        SEARCHED,
    )
}
