"""Tip-Adapter and Tip-Adapter-F: a cache of the support set beside zero-shot CLIP.

Zhang et al., Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, ECCV 2022.
An image is compared with every support image; each votes for its own classes by how near it is in
the image tower's evidence, which is what the backbone knows before the space of the sentences.
Tip-Adapter-F then trains the keys of the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.components.anchored import (
    AnchoredDetector,
    anchored_logits,
    encode_support,
    known_label_loss,
)
from sdmad.baselines.components.cache import Cache
from sdmad.baselines.components.minimise import descend
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import TrainingSet
from sdmad.signs import SignBank


@dataclass(frozen=True)
class TipAdapterSettings:
    """Hyper-parameters as published, where the authors' search begins.

    They search alpha and beta for every data set; :data:`SEARCHED` was found on phantoms.

    Attributes:
        alpha: weight of the cache beside the zero-shot logits.
        beta: sharpness: how fast a support image's vote falls with its distance.
        scale: what a cosine is multiplied with in the zero-shot logits: OpenAI CLIP's learnt value.
        epochs: passes over the support set, of Tip-Adapter-F.
        batch_size: images a step.
        learning_rate: of AdamW at the start of the half cosine to 0 over all steps.
        epsilon: of AdamW.
        weight_decay: of AdamW, which is PyTorch's usual value.
    """

    alpha: float = 1.17
    beta: float = 1.0
    scale: float = 100.0
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    epsilon: float = 1e-4
    weight_decay: float = 1e-2


SEARCHED = TipAdapterSettings(alpha=300.0, beta=5.5)
SEARCHED_TRAINED = TipAdapterSettings(alpha=100.0, epochs=400)
"""The best of eight each on validation phantoms with the embedded backbone
(docs/searched.md): without training, and of Tip-Adapter-F."""


class TipAdapter(AnchoredDetector):
    """Tip-Adapter for several labels: each category against the normal class.

    Args:
        bank: its signs, averaged, are a category's text; its normal sentences the normal class's.
        backbone: the frozen model.
        settings: hyper-parameters.
        train: whether the keys are trained: Tip-Adapter-F.
        seed: of the order of the images in training.

    Attributes:
        cache_: the fitted cache.
        log_: mean loss of each epoch of training.
    """

    set_by_fit = "cache_"

    def __init__(
        self,
        bank: SignBank,
        backbone: Backbone,
        settings: TipAdapterSettings | None = None,
        train: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(bank, backbone)
        self.settings = settings or TipAdapterSettings()
        self.train, self.seed = train, seed
        self.cache_: Cache | None = None
        self.log_: list[float] = []

    def _fit(self, training: TrainingSet) -> None:
        """Fill the cache with the support set; Tip-Adapter-F keeps the last epoch's keys."""
        features, evidence, truth = encode_support(self.backbone, training)
        self.cache_ = Cache.build(evidence, truth, self.settings.beta)
        if self.train:
            self.log_ = self._train_keys(features, evidence, truth)

    def _train_keys(self, features: Tensor, evidence: Tensor, truth: Tensor) -> list[float]:
        settings, cache = self.settings, self.cache_
        assert cache is not None
        self.cache_ = cache = replace(cache, keys=cache.keys.clone().requires_grad_())
        optimiser = torch.optim.AdamW(
            [cache.keys],
            settings.learning_rate,
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
        )

        def loss_of(rows: Tensor) -> Tensor:
            return known_label_loss(self.logits(features[rows], evidence[rows]), truth[rows])

        passes = (len(features), settings.epochs, settings.batch_size)
        return descend(optimiser, loss_of, *passes, self.seed)

    @property
    def trained_parameters(self) -> int:
        """Numbers of the keys, where they are trained."""
        return self.cache_.keys.numel() if self.train and self.cache_ is not None else 0

    def logits(self, features: Tensor, evidence: Tensor) -> Tensor:
        """Zero-shot logits ``(n, K)`` and the fitted cache's votes."""
        assert self.cache_ is not None
        zero_shot = anchored_logits(features, self.text, self.settings.scale)
        return zero_shot + self.settings.alpha * self.cache_.logits(evidence)


RECIPES = {
    "tip-adapter": Recipe(
        lambda build, settings: TipAdapter(build.bank, build.backbone, settings),
        TipAdapterSettings(),
        SEARCHED,
    ),
    "tip-adapter-f": Recipe(
        lambda build, settings: TipAdapter(build.bank, build.backbone, settings, True, build.seed),
        TipAdapterSettings(),
        SEARCHED_TRAINED,
    ),
}
