"""AnomalyCLIP: two prompts that are learned elsewhere, of a normal and of a damaged object.

Zhou et al., AnomalyCLIP: Object-agnostic Prompt Learning for Zero-shot Anomaly Detection, ICLR
2024. Both towers stay frozen; the prompts are trained on an auxiliary set and then only applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from sdmad.backbones import Backbone
from sdmad.baselines.components.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.components.auxiliary import read_auxiliary
from sdmad.baselines.components.dense_features import dense_features, plain_towers, share_of_blocks
from sdmad.baselines.components.minimise import Schedule, minimise
from sdmad.baselines.components.once import Once
from sdmad.baselines.components.patch_maps import gaussian_blur, patches_a_side, to_pixels
from sdmad.baselines.components.pixel_losses import both_sides_loss
from sdmad.baselines.components.published import Compat, is_published
from sdmad.baselines.components.state_prompts import category_words
from sdmad.baselines.registry import Auxiliary, Build, Recipe
from sdmad.detector.base import Mask
from sdmad.errors import InputError, NotFittedError
from sdmad.method.adapters import adapted_blocks

PUBLISHED_SIZE = 518  # side of the authors' images in pixels
TEXT_DEPTH = 12  # blocks of their text tower


@dataclass(frozen=True)
class AnomalyCLIPSettings:
    """Hyper-parameters as published.

    Attributes:
        normal: what follows the learned tokens of the normal prompt.
        abnormal: what follows those of the abnormal prompt.
        tokens: learned tokens of each prompt.
        deep_tokens: learned tokens, behind the start token, that are replaced in deeper blocks.
        depth: text blocks with learned tokens, of 12.
        deviation: of the initial tokens.
        value_blocks: last image blocks with v-v attention, of 24.
        blocks: image blocks whose patches make the map, of 24.
        temperature: what a cosine is divided by.
        pixel_weight: of the map's losses against the image's.
        learning_rate: of Adam.
        betas: of Adam.
        epochs: passes over the auxiliary set; the last one is kept.
        batch_size: images a step.
        sigma: deviation of the map's blur, in pixels of images of 518.
        compat: ``"published"`` repeats what the authors' code does wrong, with a warning.
    """

    normal: str = "object."
    abnormal: str = "damaged object."
    tokens: int = 12
    deep_tokens: int = 4
    depth: int = 9
    deviation: float = 0.02
    value_blocks: int = 19
    blocks: tuple[int, ...] = (24,)
    temperature: float = 0.07
    pixel_weight: float = 4.0
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    epochs: int = 15
    batch_size: int = 8
    sigma: float = 4.0
    compat: Compat = "none"


SEARCHED = AnomalyCLIPSettings(epochs=45)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


class LearnedPrompts(nn.Module):
    """The prompts of a normal and of an abnormal object.

    Block 1 reads the learned tokens behind the start token; in each of the following blocks the
    first of them are replaced by tokens of that block, which both prompts share.

    Args:
        backbone: whose text tower to use.
        settings: sizes and words.

    Raises:
        InputError: if a prompt is longer than the tower reads.
    """

    def __init__(self, backbone: Backbone, settings: AnomalyCLIPSettings) -> None:
        super().__init__()
        self._backbone = (backbone,)
        _, text = plain_towers(backbone, "AnomalyCLIP")
        depth = share_of_blocks(text.depth, settings.depth, TEXT_DEPTH)
        width, drawn = text.widths[0], settings.deviation
        self.context = nn.Parameter(torch.randn(2, settings.tokens, width) * drawn)
        self.deep = nn.Parameter(torch.randn(depth - 1, settings.deep_tokens, width) * drawn)
        self.phrases = (settings.normal, settings.abnormal)

    def forward(self, abnormal: str | None = None) -> Tensor:
        """Unit-length embeddings of the normal and the abnormal prompt, ``(2, D)``.

        Args:
            abnormal: other words behind the abnormal prompt's tokens than those trained with.
        """
        backbone, learned = self._backbone[0], self.context.shape[1]
        _, text = plain_towers(backbone, "AnomalyCLIP")
        ids = self._ids((self.phrases[0], abnormal or self.phrases[1]))
        own = text.token_embeddings(ids)
        tokens = torch.cat([own[:, :1], self.context, own[:, 1 + learned :]], dim=1)
        hidden, state = text.embed_tokens(tokens, ids)
        for index in range(1, text.depth + 1):
            if 2 <= index < 2 + len(self.deep):
                deep = self.deep[index - 2].expand(2, -1, -1)
                hidden = torch.cat([hidden[:, :1], deep, hidden[:, 1 + deep.shape[1] :]], dim=1)
            hidden = text.block(index, hidden, state)
        return text.pool(hidden, state)

    def _ids(self, phrases: Sequence[str]) -> Tensor:
        """Token ids ``(2, T)`` with room for the learned tokens behind the start token."""
        backbone, learned = self._backbone[0], self.context.shape[1]
        longest = max(backbone.token_counts(phrases)) + learned
        if longest > backbone.context_length:
            raise InputError(
                f"AnomalyCLIP: {learned} learned tokens and {max(phrases, key=len)!r} make "
                f"{longest} tokens; {backbone.name} reads {backbone.context_length}"
            )
        ids = backbone.tokenize(phrases).to(backbone.device)
        room = ids[:, 1:2].expand(-1, learned)  # any token: its embedding is replaced
        return torch.cat([ids[:, :1], room, ids[:, 1:]], dim=1)


class TrainedPrompts:
    """Prompts that are trained on an auxiliary set, once, when they are first needed.

    Args:
        backbone: the frozen model.
        auxiliary: gives the auxiliary set.
        settings: hyper-parameters.
        seed: of the initial tokens and the order of the images.

    Attributes:
        prompts_: the learned prompts; None before :meth:`train`.
        log_: mean loss of each epoch.
    """

    def __init__(
        self,
        backbone: Backbone,
        auxiliary: Callable[[], Auxiliary],
        settings: AnomalyCLIPSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.backbone, self.auxiliary, self.seed = backbone, auxiliary, seed
        self.settings = settings or AnomalyCLIPSettings()
        self.tower, _ = plain_towers(backbone, "AnomalyCLIP")
        self.side = patches_a_side(backbone, "AnomalyCLIP")
        self.published = is_published(
            self.settings.compat, "AnomalyCLIP", "the class token is projected without its norm"
        )
        self.prompts_: LearnedPrompts | None = None
        self.log_: list[float] = []
        self.features_of = Once(self.image_features)

    def image_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Unit-length features of images ``(n, D)`` and of their patches ``(levels, n, P, D)``."""
        tower, settings = self.tower, self.settings
        last = share_of_blocks(tower.depth, settings.value_blocks)
        blocks = adapted_blocks(tower.depth, settings.blocks)
        found = dense_features(tower, pixels.to(self.backbone.device), last, blocks)
        with torch.no_grad():
            token = found.class_token
            whole = tower.projection(token).float() if self.published else tower.project(token)
        return normalize(whole, dim=-1), normalize(torch.stack(found.patches), dim=-1)

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The learned vectors."""
        return () if self.prompts_ is None else tuple(self.prompts_.parameters())

    def train(self) -> Self:
        """Train the prompts; does nothing the second time.

        Raises:
            InputError: if the auxiliary set lacks normal or abnormal images, or the loss is no
                longer finite.
        """
        if self.prompts_ is not None:
            return self
        settings = self.settings
        given = read_auxiliary(self.auxiliary, self.backbone, "AnomalyCLIP")
        whole, patches = self.image_features(given.pixels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            prompts = LearnedPrompts(self.backbone, settings).to(self.backbone.device)
        schedule = Schedule(
            settings.epochs, settings.batch_size, settings.learning_rate, settings.betas, self.seed
        )
        self.log_ = minimise(
            lambda rows: self._loss(
                prompts(), whole[rows], patches[:, rows], given.truth[rows], given.masks[rows]
            ),
            prompts.parameters(),
            len(given.pixels),
            schedule,
            "AnomalyCLIP",
        ).tolist()
        self.prompts_ = prompts
        return self

    def _loss(
        self, text: Tensor, whole: Tensor, patches: Tensor, truth: Tensor, where: Tensor
    ) -> Tensor:
        loss = cross_entropy(whole @ text.T / self.settings.temperature, truth.long())
        for level in patches:
            abnormal = to_pixels(self.probability(level, text), where.shape[-1], corners=False)
            loss = loss + self.settings.pixel_weight * both_sides_loss(abnormal, where).mean()
        return loss

    def probability(self, features: Tensor, text: Tensor) -> Tensor:
        """Probability of abnormal, ``(...)``, of unit-length features ``(..., D)``."""
        return (features @ text.T / self.settings.temperature).softmax(dim=-1)[..., 1]


class AnomalyCLIP(AnomalyDetector):
    """AnomalyCLIP's prompts applied to images; the support set teaches it nothing.

    Args:
        trained: the prompts, shared with the detectors of the other categories.
        category: the one category that is meant, whose name then follows the abnormal prompt;
            None for any anomaly.
    """

    has_maps = True

    def __init__(self, trained: TrainedPrompts, category: str | None = None) -> None:
        self.trained = trained
        self.words = None
        if category is not None:
            stem = trained.settings.abnormal.rstrip(".")
            self.words = f"{stem} with {category_words(category)}."
        self.text_: Tensor | None = None

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The prompts' vectors."""
        return self.trained.learnt

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Train the shared prompts on the auxiliary set, unless they are trained already."""
        del pixels, abnormal, masks
        prompts = self.trained.train().prompts_
        assert prompts is not None
        with torch.no_grad():
            self.text_ = prompts(self.words)

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each epoch on the auxiliary set."""
        return tuple(self.trained.log_)

    def _text(self) -> Tensor:
        if self.text_ is None:
            raise NotFittedError("this AnomalyCLIP detector is not fitted: call fit")
        return self.text_

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Probability of abnormal ``(n,)`` of preprocessed images ``(n, 3, H, W)``."""
        whole, _ = self.trained.features_of(pixels)
        return self.trained.probability(whole, self._text())

    @torch.no_grad()
    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where they are abnormal, ``(n, h, w)``; larger is more."""
        text, size = self._text(), pixels.shape[-1]
        _, patches = self.trained.features_of(pixels)
        levels = [self.trained.probability(level, text) for level in patches]
        total = torch.stack([to_pixels(level, size, corners=False) for level in levels]).sum(dim=0)
        return gaussian_blur(total, self.trained.settings.sigma * size / PUBLISHED_SIZE)


def _make(build: Build, settings: AnomalyCLIPSettings) -> OnePerCategory:
    trained = TrainedPrompts(build.backbone, build.auxiliary, settings, build.seed)
    return OnePerCategory(
        build.bank.names, build.backbone, lambda category: AnomalyCLIP(trained, category)
    )


RECIPES = {"anomaly-clip": Recipe(_make, AnomalyCLIPSettings(), SEARCHED)}
