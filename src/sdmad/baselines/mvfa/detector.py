"""MVFA: adapters at several levels of CLIP's image tower, and a memory of normal patches.

Huang et al., Adapting Visual-Language Models for Generalizable Anomaly Detection in Medical Images,
CVPR 2024.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.components.anomaly import AnomalyDetector, Lesson, OnePerCategory
from sdmad.baselines.components.minimise import Schedule
from sdmad.baselines.components.nearest import nearest_distance
from sdmad.baselines.components.patch_maps import patches_a_side, support_masks, to_pixels
from sdmad.baselines.components.published import Compat, is_published, unstandardised, with_gelu
from sdmad.baselines.components.state_prompts import (
    ABNORMAL_STATES,
    NORMAL_STATES,
    PHOTO_TEMPLATES,
    SCENE_TEMPLATES,
    category_states,
    compose,
    mean_direction,
)
from sdmad.baselines.mvfa.adapters import DoubleAdaptedTower, LevelFeatures
from sdmad.baselines.mvfa.losses import abnormal_map
from sdmad.baselines.mvfa.memory import Range, augment
from sdmad.baselines.mvfa.training import (
    AddedLoss,
    Lessons,
    Training,
    patch_logits,
    train_side_by_side,
)
from sdmad.baselines.registry import Build, Recipe
from sdmad.detector.base import Mask
from sdmad.errors import InputError, NotFittedError
from sdmad.method.adapters import adapted_blocks

TEMPLATES = (*PHOTO_TEMPLATES, *SCENE_TEMPLATES)
BATCH = 16

TOGETHER = 10
"""Detectors that are trained side by side at most, so that memory stays bounded."""


@dataclass(frozen=True)
class MVFASettings:
    """Hyper-parameters as published.

    Attributes:
        blocks: image blocks with adapters, counted from 1 in a tower of 24.
        share: of each of the two adapters in the stream behind a block.
        scale: what a cosine with a text feature is multiplied with before the softmax.
        learning_rate: of Adam.
        betas: of Adam.
        epochs: passes over the augmented support set; the last one is kept.
        batch_size: images a step.
        angles: turns of the augmentation, in degrees.
        shift: of its moves, in units of half the side.
        memory_weight: of the distance to the memory against the text's probability.
        compat: ``"published"`` repeats what the authors' code does wrong, with a warning.
    """

    blocks: tuple[int, ...] = (6, 12, 18, 24)
    share: float = 0.1
    scale: float = 100.0
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    epochs: int = 50
    batch_size: int = 1
    angles: tuple[float, ...] = (22.5, -22.5, 11.25, -11.25)
    shift: float = 0.1
    memory_weight: float = 0.5
    compat: Compat = "none"


SEARCHED = MVFASettings(learning_rate=3e-4, epochs=15)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""

FLAWS = (
    "a second sigmoid on the probability, the exact GELU, pixels without mean and deviation. Its "
    "min-max over the test set and its best epoch on the test set are not offered, since a score "
    "would depend on other images"
)


@dataclass(frozen=True)
class Parts:
    """Both parts of the scores of n images: of the memory and of the text.

    Attributes:
        memory_map: distance to the nearest stored token, summed over the levels, ``(n, H, H)``.
        text_map: probability of abnormal, summed over the levels, ``(n, H, H)``.
        memory: mean of the memory's map, ``(n,)``.
        text: mean probability of the patches, summed over the levels, ``(n,)``.
        embedding: unit-length image embeddings of the adapted tower, ``(n, D)``.
    """

    memory_map: Tensor
    text_map: Tensor
    memory: Tensor
    text: Tensor
    embedding: Tensor

    @classmethod
    def join(cls, parts: Sequence[Parts]) -> Parts:
        """Concatenate along the images."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True)
class Constants:
    """Ranges on the support set of each part, over pixels and over images."""

    memory_map: Range
    text_map: Range
    memory: Range
    text: Range


class MVFA(AnomalyDetector):
    """One MVFA detector.

    With a mask of any abnormal support image the segmentation adapters are trained too, and an
    image's score is the largest value of its map; without, the detection adapters alone are
    trained and score it. A category's detector counts the images that do not show it as normal,
    whatever else they show, and its abnormal state is the category in words.

    Args:
        modality: what the images are, such as ``"brain MRI"``.
        backbone: the frozen model.
        settings: hyper-parameters.
        seed: of the adapters' initial weights and the order of the images.
        category: the one category that is meant; None for any anomaly.

    Attributes:
        tower_: the adapted image tower; None if there was nothing to learn from.
        memory_: stored unit-length tokens of each level, ``(11 normal images, T, D)``.
        constants_: what brings the two parts of a score onto one scale, fitted on the support set.
        support_scores_: of the support images, none compared with itself, ``(n,)``.
        with_masks_: whether the segmentation adapters were trained.
        log_: mean loss of each epoch.
    """

    has_maps = True

    def __init__(
        self,
        modality: str,
        backbone: Backbone,
        settings: MVFASettings | None = None,
        seed: int = 0,
        category: str | None = None,
    ) -> None:
        self.settings, self.seed, self.category = settings or MVFASettings(), seed, category
        patches_a_side(backbone, "MVFA")
        self.published = is_published(self.settings.compat, "MVFA", FLAWS)
        self.backbone = with_gelu(backbone) if self.published else backbone
        self.modality = modality
        self.tower_: DoubleAdaptedTower | None = None
        self.memory_: list[Tensor] = []
        self.constants_: Constants | None = None
        self.support_scores_ = torch.zeros(0)
        self.with_masks_ = False
        self.log_: list[float] = []

    @cached_property
    def normal_text(self) -> Tensor:
        """Unit-length text features of the normal state, ``(D,)``."""
        return self._encoded(NORMAL_STATES)

    @cached_property
    def text(self) -> Tensor:
        """Unit-length text features of the normal and the abnormal state, ``(2, D)``."""
        category = self.category
        states = ABNORMAL_STATES if category is None else category_states(category)
        return torch.stack([self.normal_text, self._encoded(states)])

    def _encoded(self, states: Sequence[str]) -> Tensor:
        return mean_direction(self.backbone.encode_text(compose(states, TEMPLATES, self.modality)))

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The adapters' weights."""
        return () if self.tower_ is None else tuple(self.tower_.parameters())

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Train the adapters, store the normal tokens, and fix the constants."""
        self.train(pixels, abnormal, masks)

    def train(
        self,
        pixels: Tensor,
        abnormal: Tensor,
        masks: Sequence[Mask | None],
        added: AddedLoss | None = None,
    ) -> Self:
        """:meth:`fit` with one more loss on the image embeddings, added to the others.

        Raises:
            InputError: if there is no normal image, or no abnormal one for a detector of any
                anomaly; that of a category without a positive finds nothing, with a warning. Also
                if the loss is no longer finite.
        """
        lesson = Lesson(pixels, abnormal, tuple(masks))
        self.tower_ = None
        if self._can_learn(abnormal):
            _train([self], [lesson], added)
        return self

    @classmethod
    def fit_together(cls, detectors: Sequence[MVFA], lessons: Sequence[Lesson]) -> None:
        """:meth:`fit` of several detectors; those with the same images are trained side by side.

        Raises:
            InputError: as :meth:`train`.
        """
        groups: dict[tuple[object, ...], list[tuple[MVFA, Lesson]]] = {}
        for detector, lesson in zip(detectors, lessons, strict=True):
            detector.tower_ = None
            if detector._can_learn(lesson.abnormal):
                alike = (id(lesson.pixels), lesson.masked, detector.settings, detector.seed)
                groups.setdefault(alike, []).append((detector, lesson))
        for group in groups.values():
            for start in range(0, len(group), TOGETHER):
                mine, told = zip(*group[start : start + TOGETHER], strict=True)
                _train(mine, told)

    def learn(self, tower: DoubleAdaptedTower, log: list[float], frozen: Frozen) -> None:
        """Take trained adapters, store the normal tokens and fix the constants.

        Args:
            tower: of this detector.
            log: mean loss of each epoch.
            frozen: the augmented support set; the images as they are come first.
        """
        self.tower_, self.log_ = tower, log
        with torch.no_grad():
            self._store(frozen.tokens, frozen.state, frozen.truth == 0)
            originals = frozen.tokens[: frozen.sources]
            self._fix_constants(originals, frozen.state, frozen.truth[: frozen.sources] == 1)

    def _can_learn(self, abnormal: Tensor) -> bool:
        if bool(abnormal.all()):
            raise InputError("MVFA stores the patches of normal images, and there is none")
        if bool(abnormal.any()):
            return True
        if self.category is None:
            raise InputError("MVFA learns from abnormal images too, and there is none")
        warnings.warn(
            f"MVFA: no image shows {self.category}; its detector finds nothing",
            UserWarning,
            stacklevel=3,
        )
        return False

    def to_input(self, pixels: Tensor) -> Tensor:
        """Preprocessed images as this detector reads them."""
        pixels = pixels.to(self.backbone.device)
        return unstandardised(pixels, self.backbone) if self.published else pixels

    def training(self) -> Training:
        """How the adapters of this detector are trained."""
        settings = self.settings
        schedule = Schedule(
            settings.epochs, settings.batch_size, settings.learning_rate, settings.betas, self.seed
        )
        return Training(settings.scale, self.backbone.image.pool, self.published, schedule)

    def fresh_tower(self, detectors: int) -> DoubleAdaptedTower:
        """The backbone's image tower with fresh adapters of some detectors, all alike."""
        settings, tower = self.settings, self.backbone.image
        blocks = adapted_blocks(tower.depth, settings.blocks)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            adapted = DoubleAdaptedTower(
                tower, blocks, self.backbone.dimension, settings.share, detectors
            )
        return adapted.to(self.backbone.device)

    @torch.no_grad()
    def frozen(self, tower: DoubleAdaptedTower, images: Tensor) -> tuple[Tensor, object]:
        """Tokens of images ``(n, 3, H, W)`` at the first adapter, and the tower's state."""
        parts: list[Tensor] = []
        state: object = None
        for batch in images.split(BATCH):
            hidden, state = self.backbone.image.embed(batch)
            parts.append(tower.frozen_part(hidden, state))
        return torch.cat(parts), state

    def logits(self, features: Tensor) -> Tensor:
        """Scaled cosines of the patches with both states, ``(n, P, 2)`` from ``(n, T, D)``."""
        return patch_logits(features, self.text, self.settings.scale)

    def _branch(self, level: LevelFeatures) -> Tensor:
        return level.segmentation if self.with_masks_ else level.detection

    def _features(self, frozen: Tensor, state: object) -> tuple[list[Tensor], Tensor]:
        """Tokens of each level in the branch that scores, and the image embeddings."""
        assert self.tower_ is not None
        levels, last = self.tower_(frozen, state)
        return [self._branch(level) for level in levels], self.backbone.image.pool(last, state)

    def _store(self, frozen: Tensor, state: object, normal: Tensor) -> None:
        levels = [self._features(part, state)[0] for part in frozen[normal].split(BATCH)]
        self.memory_ = [torch.cat(parts) for parts in zip(*levels, strict=True)]

    def _fix_constants(self, frozen: Tensor, state: object, abnormal: Tensor) -> None:
        """From the support images; a normal one is compared with the other normal ones' tokens.

        The only normal image is compared with its own altered copies.
        """
        normals, parts = int((~abnormal).sum()), []
        rows = torch.arange(len(self.memory_[0]), device=abnormal.device)
        place = 0
        for i in range(len(frozen)):
            keep = torch.ones_like(rows, dtype=torch.bool)
            if not abnormal[i]:
                keep = rows % normals != place if normals > 1 else rows > 0
                place += 1
            memory = [stored[keep] for stored in self.memory_]
            parts.append(self._parts(frozen[i : i + 1], state, memory))
        joined = Parts.join(parts)
        self.constants_ = Constants(
            Range.of(joined.memory_map),
            Range.of(joined.text_map),
            Range.of(joined.memory),
            Range.of(joined.text),
        )
        self.support_scores_ = self.scores(joined)

    def support_scores(self, pixels: Tensor) -> Tensor:
        """Scores of the support images; a normal one is compared with the others only."""
        return self.score_pixels(pixels) if self.tower_ is None else self.support_scores_

    def _parts(self, frozen: Tensor, state: object, memory: Sequence[Tensor]) -> Parts:
        size = self.backbone.preprocessing.size
        levels, embedding = self._features(frozen, state)
        distance = torch.zeros(levels[0][:, 1:].shape[:2], device=frozen.device)
        text_map = torch.zeros(len(frozen), size, size, device=frozen.device)
        text = torch.zeros(len(frozen), device=frozen.device)
        for features, stored in zip(levels, memory, strict=True):
            tokens = stored.flatten(0, 1)
            patches = [nearest_distance(image[1:], tokens) for image in features]
            distance = distance + torch.stack(patches)
            logits = self.logits(features)
            text_map = text_map + abnormal_map(logits, size)
            text = text + logits.softmax(dim=-1)[..., 1].mean(dim=1)
        memory_map = to_pixels(distance, size, corners=True)
        return Parts(memory_map, text_map, memory_map.mean(dim=(1, 2)), text, embedding)

    @torch.no_grad()
    def parts(self, pixels: Tensor) -> Parts:
        """Both parts of the scores of preprocessed images ``(n, 3, H, W)``, on no common scale.

        Raises:
            InputError: if the detector is not fitted.
        """
        if self.tower_ is None:
            raise NotFittedError("this MVFA detector is not fitted: call fit with abnormal images")
        frozen, state = self.frozen(self.tower_, self.to_input(pixels))
        split = frozen.split(BATCH)
        return Parts.join([self._parts(part, state, self.memory_) for part in split])

    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Abnormality ``(n,)`` of preprocessed images ``(n, 3, H, W)``; larger is more."""
        if self._finds_nothing():
            return torch.zeros(len(pixels))
        return self.scores(self.parts(pixels))

    def scores(self, parts: Parts) -> Tensor:
        """Abnormality ``(n,)`` from both parts: the map's peak, or the image's without masks."""
        if self.with_masks_:
            return self._mixed_map(parts).amax(dim=(1, 2))
        assert self.constants_ is not None
        weight = self.settings.memory_weight
        memory = self.constants_.memory(parts.memory)
        return weight * memory + (1 - weight) * self.constants_.text(parts.text)

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where they are abnormal, ``(n, h, w)``; larger is more."""
        if self._finds_nothing():
            return torch.zeros(len(pixels), *pixels.shape[-2:])
        return self._mixed_map(self.parts(pixels))

    def _mixed_map(self, parts: Parts) -> Tensor:
        assert self.constants_ is not None
        weight = self.settings.memory_weight
        memory = self.constants_.memory_map(parts.memory_map)
        return weight * memory + (1 - weight) * self.constants_.text_map(parts.text_map)

    def _finds_nothing(self) -> bool:
        return self.tower_ is None and self.category is not None


@dataclass(frozen=True)
class Frozen:
    """The augmented support set at the first adapter, as one detector sees it.

    Attributes:
        tokens: ``(m, T, W)``.
        state: the tower's own.
        truth: 1 where an image is abnormal, else 0; ``(m,)``.
        sources: how many images there were before the augmentation.
    """

    tokens: Tensor
    state: object
    truth: Tensor
    sources: int


def _train(
    detectors: Sequence[MVFA], lessons: Sequence[Lesson], added: AddedLoss | None = None
) -> None:
    """Train detectors of one kind, all with masks or all without, on the same images."""
    first, pixels = detectors[0], lessons[0].pixels
    settings, size = first.settings, pixels.shape[-1]
    images = augment(first.to_input(pixels), settings.angles, settings.shift)
    copies = len(images) // len(pixels)
    tower = first.fresh_tower(len(detectors))
    tokens, state = first.frozen(tower, images)
    masks, given = [], []
    for lesson in lessons:
        where, known = support_masks(lesson.masks, lesson.abnormal, size)
        many = augment(where.unsqueeze(1), settings.angles, settings.shift)[:, 0]
        masks.append(many > 0.5)
        given.append(known.repeat(copies))
    truth = torch.stack([lesson.abnormal.float().repeat(copies) for lesson in lessons])
    for detector in detectors:
        detector.normal_text = first.normal_text  # of the same thing: encoded once
    text = torch.stack([detector.text for detector in detectors])
    together = Lessons(
        tokens, state, text, truth, torch.stack(masks), torch.stack(given), lessons[0].masked
    )
    log = train_side_by_side(tower, together, first.training(), added, len(pixels))
    for number, detector in enumerate(detectors):
        detector.with_masks_ = together.segment
        detector.learn(
            tower.detector_tower(number),
            log[:, number].tolist() if len(log) else [],
            Frozen(tokens, state, truth[number], len(pixels)),
        )


def _make(build: Build, settings: MVFASettings) -> OnePerCategory:
    def make(category: str | None) -> MVFA:
        return MVFA(build.bank.modality, build.backbone, settings, build.seed, category)

    return OnePerCategory(build.bank.names, build.backbone, make)


RECIPES = {"mvfa": Recipe(_make, MVFASettings(), SEARCHED)}
