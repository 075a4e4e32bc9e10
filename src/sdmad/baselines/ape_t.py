"""APE-T: APE whose texts and cache move together, by one learned residual a class.

Zhu et al., Not All Features Matter: Enhancing Few-shot CLIP with Adaptive Prior Refinement, ICCV
2023. On the channels that APE keeps, each class has a residual, which is added to its text and to
its support images in the cache; how loud an image votes is learnt too, from APE's value on.

What the paper leaves open with several labels, and was decided: the normal class has a residual
too; an image that shows several categories gets the mean of their residuals, one that shows none
the normal class's; loudness is learnt of each known label. Texts and cache are brought to unit
length again after the residual.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.backbones import Backbone
from sdmad.baselines.ape import APE, APESettings
from sdmad.baselines.components.anchored import encode_support, known_label_loss
from sdmad.baselines.components.cache import Cache, balanced
from sdmad.baselines.components.minimise import descend
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import TrainingSet
from sdmad.signs import SignBank


@dataclass(frozen=True)
class APETSettings(APESettings):
    """Hyper-parameters as published for ImageNet.

    Attributes:
        epochs: passes over the support set.
        batch_size: images a step.
        learning_rate: of AdamW at the start of the half cosine to 0 over all steps.
        epsilon: of AdamW.
        weight_decay: of AdamW, which is PyTorch's usual value.
    """

    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    epsilon: float = 1e-4
    weight_decay: float = 1e-2


SEARCHED = APETSettings(alpha=100.0, epochs=400)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


def memberships(labels: Tensor) -> Tensor:
    """Each image's share in the categories and, last, the normal class, ``(n, K + 1)``.

    >>> memberships(torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, torch.nan]])).tolist()
    [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    Args:
        labels: 1, 0 or NaN, ``(n, K)``.
    """
    shows = (labels == 1).float()
    none = (shows.sum(dim=1, keepdim=True) == 0).float()
    return normalize(torch.cat([shows, none], dim=1), p=1, dim=1)


class APET(APE):
    """APE-T for several labels: each category against the normal class.

    Args:
        bank: its signs, averaged, are a category's text; its normal sentences the normal class's.
        backbone: the frozen model.
        settings: hyper-parameters.
        seed: of the order of the images.

    Attributes:
        text_: the fitted texts, unit length, ``(K + 1, D)``.
        cache_: the fitted cache, on the channels that are kept.
        log_: mean loss of each epoch.
    """

    def __init__(
        self,
        bank: SignBank,
        backbone: Backbone,
        settings: APETSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.trained, self.seed = settings or APETSettings(), seed
        super().__init__(bank, backbone, self.trained)
        self.log_: list[float] = []

    def _fit(self, training: TrainingSet) -> None:
        """Learn residuals and loudness; the last epoch is kept."""
        features, _, truth = encode_support(self.backbone, training)
        settings = self.trained
        keys, votes = self.refined(features), balanced(truth).to(features)
        own = memberships(truth).to(features)
        residuals = features.new_zeros(len(self.text), len(self.channels), requires_grad=True)
        loudness = self.loudness(keys, truth).requires_grad_()

        def moved() -> tuple[Tensor, Cache]:
            text = normalize(self.text.index_add(1, self.channels, residuals), dim=-1)
            moved_keys = normalize(keys + own @ residuals, dim=-1)
            return text, Cache(moved_keys, votes * loudness, settings.beta)

        def loss_of(rows: Tensor) -> Tensor:
            return known_label_loss(self.votes_beside(features[rows], *moved()), truth[rows])

        optimiser = torch.optim.AdamW(
            [residuals, loudness],
            settings.learning_rate,
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
        )
        passes = (len(features), settings.epochs, settings.batch_size)
        self.log_ = descend(optimiser, loss_of, *passes, self.seed)
        with torch.no_grad():
            self.text_, self.cache_ = moved()

    @property
    def trained_parameters(self) -> int:
        """Numbers of the residuals and the loudness."""
        if self.cache_ is None:
            return 0
        return len(self.text) * len(self.channels) + self.cache_.values.numel()


RECIPES = {
    "ape-t": Recipe(
        lambda build, settings: APET(build.bank, build.backbone, settings, build.seed),
        APETSettings(),
        SEARCHED,
    )
}
