"""CoOp: the context of a prompt is learned, the category's name behind it stays.

Zhou et al., Learning to Prompt for Vision-Language Models, IJCV 2022. The prompt of a category is
``[V1] ... [VM] name.``, where the M vectors stand in the place of word embeddings and belong to the
category alone or to all; both towers stay frozen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sdmad.backbones import Backbone
from sdmad.baselines.components.anchored import (
    anchored_logits,
    encode_support,
    known_label_loss,
    logit_scores,
)
from sdmad.baselines.components.minimise import take_step
from sdmad.baselines.components.state_prompts import category_words
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import Detector, TrainingSet
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError

NORMAL_NAME = "normal"


@dataclass(frozen=True)
class CoOpSettings:
    """Hyper-parameters as published; :data:`SEARCHED` was found on phantoms.

    Attributes:
        context: number M of learned vectors.
        class_specific: whether each category has vectors of its own. The authors publish both;
            a shared context cannot tell categories apart whose names the backbone never read.
        deviation: of their initial values, which are drawn around 0.
        epochs: passes over the support set (200 with 8 and 16 shots, the longest schedule).
        batch_size: images a step.
        learning_rate: of stochastic gradient descent, at the start of the half cosine to 0.
        warmup_epochs: epochs at ``warmup_rate``.
        warmup_rate: learning rate of these.
        momentum: of stochastic gradient descent.
        weight_decay: of stochastic gradient descent.
        scale: what a cosine is multiplied with: OpenAI CLIP's learnt value.
    """

    context: int = 16
    class_specific: bool = True
    deviation: float = 0.02
    epochs: int = 200
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup_epochs: int = 1
    warmup_rate: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    scale: float = 100.0

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0.

        >>> [round(CoOpSettings(epochs=4).rate(epoch), 5) for epoch in range(4)]
        [1e-05, 0.00171, 0.001, 0.00029]
        """
        if epoch < self.warmup_epochs:
            return self.warmup_rate
        return self.learning_rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


SEARCHED = CoOpSettings(scale=25.0, class_specific=False)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


class ContextPrompts(nn.Module):
    """Prompts of a learned context and a name.

    Args:
        names: what stands behind the context.
        backbone: whose text tower to use.
        context: initial vectors, ``(S, M, W)``, or ``(1, M, W)``: shared by all S prompts.

    Raises:
        InputError: if context and name are longer than the tower reads, or the tower takes no
            learned token embeddings.
    """

    def __init__(self, names: Sequence[str], backbone: Backbone, context: Tensor) -> None:
        super().__init__()
        self.tower = backbone.text
        self.length = context.shape[1]
        self.context = nn.Parameter(context.to(backbone.device))
        ids = backbone.tokenize(names).to(backbone.device)
        first = backbone.tokenize(["a", "b"])[:, 0]
        self.start = int(first[0] == first[1])  # behind the start token, where there is one
        longest, name = max(zip(backbone.token_counts(names), names, strict=True))
        if longest + self.length > backbone.context_length:
            raise InputError(
                f"{name!r} has {longest} tokens; with {self.length} learned ones it is longer "
                f"than the {backbone.context_length} that {backbone.name} reads"
            )
        # The places of the context hold any token: its embedding is replaced.
        held = ids[:, self.start : self.start + 1].expand(-1, self.length)
        ids = torch.cat([ids[:, : self.start], held, ids[:, self.start :]], dim=1)
        self.ids = ids[:, : backbone.context_length]
        with torch.no_grad():
            self.embedded = self.tower.token_embeddings(self.ids)

    def forward(self) -> Tensor:
        """Unit-length embeddings of all prompts, ``(S, D)``."""
        end = self.start + self.length
        learned = self.context.expand(len(self.ids), -1, -1)
        tokens = torch.cat([self.embedded[:, : self.start], learned, self.embedded[:, end:]], dim=1)
        hidden, state = self.tower.embed_tokens(tokens, self.ids)
        for index in range(1, self.tower.depth + 1):
            hidden = self.tower.block(index, hidden, state)
        return self.tower.pool(hidden, state)


class CoOp(Detector):
    """CoOp for several labels: each category against a learned prompt of the normal state.

    Args:
        categories: the K names.
        backbone: the frozen model.
        settings: hyper-parameters.
        seed: of the initial context and the order of the images.

    Attributes:
        context_: the learned vectors, ``(K + 1, M, W)``, or ``(1, M, W)`` if shared.
        text_: unit-length embeddings of the K learned prompts and, last, the normal one,
            ``(K + 1, D)``.
        log_: mean loss of each epoch.
    """

    set_by_fit = "text_"

    def __init__(
        self,
        categories: Sequence[str],
        backbone: Backbone,
        settings: CoOpSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.categories, self.backbone, self.seed = tuple(categories), backbone, seed
        self.settings = settings or CoOpSettings()
        self.context_: Tensor | None = None
        self.text_: Tensor | None = None
        self.log_: list[float] = []

    def _fit(self, training: TrainingSet) -> None:
        """Learn the context; the last epoch is kept."""
        features, _, truth = encode_support(self.backbone, training)
        draw = torch.Generator().manual_seed(self.seed)
        classes = [*self.categories, NORMAL_NAME]
        sets = len(classes) if self.settings.class_specific else 1
        shape = (sets, self.settings.context, self.backbone.text.widths[0])
        context = self.settings.deviation * torch.randn(shape, generator=draw)
        names = [f"{category_words(name)}." for name in classes]
        prompts = ContextPrompts(names, self.backbone, context)
        self.log_ = self._train(prompts, features, truth, draw)
        self.context_ = prompts.context
        with torch.no_grad():
            self.text_ = prompts()

    def _train(
        self, prompts: ContextPrompts, features: Tensor, truth: Tensor, draw: torch.Generator
    ) -> list[float]:
        settings = self.settings
        optimiser = torch.optim.SGD(
            [prompts.context], momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        log = []
        for epoch in range(settings.epochs):
            optimiser.param_groups[0]["lr"] = settings.rate(epoch)
            losses = []
            for rows in torch.randperm(len(features), generator=draw).split(settings.batch_size):
                logits = anchored_logits(features[rows], prompts(), settings.scale)
                loss = known_label_loss(logits, truth[rows])
                losses.append(take_step(optimiser, loss))
            log.append(sum(losses) / len(losses))
        return log

    @property
    def trained_parameters(self) -> int:
        """Numbers of the learned vectors."""
        return 0 if self.context_ is None else self.context_.numel()

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        self.check_fitted()
        assert self.text_ is not None
        features = self.backbone.encode_image(pixels)
        logits = anchored_logits(features, self.text_, self.settings.scale)
        return logit_scores(logits, features @ self.text_[-1])


RECIPES = {
    "coop": Recipe(
        lambda build, settings: CoOp(build.bank.names, build.backbone, settings, build.seed),
        CoOpSettings(),
        SEARCHED,
    )
}
