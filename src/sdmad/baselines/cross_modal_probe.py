"""A cross-modal probe: sentences are samples of a linear probe beside the images.

Lin et al., Multimodality Helps Unimodality: Cross-Modal Few-Shot Learning with Multimodal Models,
CVPR 2023. One linear classifier on the space that images and sentences share starts at the texts
and learns from as many sentences as images in each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.components.anchored import (
    VectorDetector,
    anchored_logits,
    encode_support,
    known_label_loss,
)
from sdmad.baselines.components.minimise import take_step
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import TrainingSet
from sdmad.signs import SignBank

LOGGED = 128
"""Steps whose mean loss makes an entry of the log."""


@dataclass(frozen=True)
class CrossModalProbeSettings:
    """Hyper-parameters with which the authors' search begins.

    They search rate, decay and batch size, and stop where a validation set says.

    Attributes:
        steps: of AdamW, each on as many sentences as images.
        batch_size: images and sentences a step.
        learning_rate: of AdamW, on half a cosine to 0 behind the warm-up.
        weight_decay: of AdamW.
        warmup: steps of a learning rate that rises in a line.
        warmup_rate: where it begins.
        scale: what a product is multiplied with: OpenAI CLIP's learnt value.
    """

    steps: int = 12800
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 50
    warmup_rate: float = 1e-5
    scale: float = 100.0

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0.

        >>> settings = CrossModalProbeSettings(steps=104, warmup=4)
        >>> [round(settings.rate(step), 6) for step in (0, 2, 4, 54, 103)]
        [1e-05, 0.000505, 0.001, 0.0005, 0.0]
        """
        if step < self.warmup:
            share = step / self.warmup
            return self.warmup_rate + share * (self.learning_rate - self.warmup_rate)
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2


SEARCHED = CrossModalProbeSettings(learning_rate=1e-4, scale=25.0)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


def sentence_labels(bank: SignBank) -> Tensor:
    """Which category each sign, then each normal sentence speaks of, ``(S, K)``.

    A sentence that several categories share speaks of each of them; a normal one of none.

    Args:
        bank: the sentences.
    """
    rows = [[float(said in own) for own in bank.categories.values()] for said in bank.sentences]
    return torch.tensor(rows + [[0.0] * len(bank.names)] * len(bank.normal))


def rounds(count: int, batch: int, draws: Generator) -> Iterator[Tensor]:
    """Row numbers of batch after batch without end, each row once before any comes again."""
    rows = torch.zeros(0, dtype=torch.int64)
    while True:
        while len(rows) < batch:
            rows = torch.cat([rows, torch.randperm(count, generator=draws)])
        yield rows[:batch]
        rows = rows[batch:]


class CrossModalProbe(VectorDetector):
    """The cross-modal probe for several labels: each category against the normal class.

    Args:
        bank: its sentences are samples; a category's weights start at the mean of its signs.
        backbone: the frozen model.
        settings: hyper-parameters.
        seed: of the order of images and sentences.

    Attributes:
        weights_: the fitted weights of the categories and, last, the normal class, ``(K + 1, D)``.
        log_: mean loss of each :data:`LOGGED` steps.
    """

    def __init__(
        self,
        bank: SignBank,
        backbone: Backbone,
        settings: CrossModalProbeSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.settings, self.seed = settings or CrossModalProbeSettings(), seed
        super().__init__(bank, backbone, self.settings.scale)
        self.sentences = backbone.encode_text([*bank.sentences, *bank.normal])
        self.claims = sentence_labels(bank).to(self.sentences)
        self.log_: list[float] = []

    def _fit(self, training: TrainingSet) -> None:
        """Train the weights; the last step's are kept."""
        features, _, truth = encode_support(self.backbone, training)
        settings, draws = self.settings, Generator().manual_seed(self.seed)
        weights = self.text.clone().requires_grad_()
        optimiser = torch.optim.AdamW([weights], weight_decay=settings.weight_decay)
        half, losses = settings.batch_size // 2, []
        images = rounds(len(features), half, draws)
        sentences = rounds(len(self.sentences), half, draws)
        for step, seen, read in zip(range(settings.steps), images, sentences, strict=False):
            optimiser.param_groups[0]["lr"] = settings.rate(step)
            samples = torch.cat([features[seen], self.sentences[read]])
            logits = anchored_logits(samples, weights, settings.scale)
            said = torch.cat([truth[seen], self.claims[read]])
            losses.append(take_step(optimiser, known_label_loss(logits, said)))
        self.weights_ = weights.detach()
        parts = torch.tensor(losses).split(LOGGED)
        self.log_ = [float(part.mean()) for part in parts]


RECIPES = {
    "cross-modal": Recipe(
        lambda build, settings: CrossModalProbe(build.bank, build.backbone, settings, build.seed),
        CrossModalProbeSettings(),
        SEARCHED,
    )
}
