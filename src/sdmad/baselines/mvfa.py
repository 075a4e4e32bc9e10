"""MVFA: adapters at several levels of CLIP's image tower, and a memory of normal patches.

Huang et al., Adapting Visual-Language Models for Generalizable Anomaly Detection in Medical Images,
CVPR 2024.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.minimise import minimise
from sdmad.baselines.mvfa_adapters import DoubleAdaptedTower, LevelFeatures
from sdmad.baselines.mvfa_losses import abnormal_map, detection_loss, segmentation_loss
from sdmad.baselines.mvfa_memory import Range, augment, nearest_distance
from sdmad.baselines.patch_maps import patches_a_side, support_masks, to_pixels
from sdmad.baselines.published import Compat, is_published, unstandardised, with_gelu
from sdmad.baselines.registry import Build, System
from sdmad.baselines.state_prompts import PHOTO_TEMPLATES, SCENE_TEMPLATES, compose, encode_states
from sdmad.errors import InputError
from sdmad.interface import Mask
from sdmad.method.adapters import adapted_blocks

NORMAL_STATES = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
ABNORMAL_STATES = ("damaged {}", "broken {}", "{} with flaw", "{} with defect", "{} with damage")
TEMPLATES = (*PHOTO_TEMPLATES, *SCENE_TEMPLATES)
BATCH = 16

AddedLoss = Callable[[Tensor, Tensor], Tensor]
"""Image embeddings ``(m, D)`` and the support images they come from, ``(m,)``, to a scalar."""


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


FLAWS = (
    "a second sigmoid on the probability, the exact GELU, pixels without mean and deviation. Its "
    "min-max over the test set and its best epoch on the test set are not offered, since a score "
    "would depend on other images; mix_over_set does the former on arrays"
)


def mix_over_set(memory: Tensor, text: Tensor, memory_weight: float = 0.5) -> Tensor:
    """The authors' final scores: both parts stretched to [0, 1] over the set at hand, then mixed.

    Such a score depends on the other images of the set; :class:`MVFA` never uses it.

    >>> mix_over_set(torch.tensor([1.0, 3.0]), torch.tensor([5.0, 4.0])).tolist()
    [0.5, 0.5]

    Args:
        memory: distances to the memory, of any shape.
        text: the text's probabilities, of the same shape.
        memory_weight: of the former.
    """
    stretched = Range.of(memory)(memory), Range.of(text)(text)
    return memory_weight * stretched[0] + (1 - memory_weight) * stretched[1]


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


@dataclass(frozen=True)
class _Batches:
    """The augmented support set: tokens at the first adapter, state, labels, masks, which given."""

    frozen: Tensor
    state: object
    truth: Tensor
    masks: Tensor
    given: Tensor


class MVFA(AnomalyDetector):
    """One MVFA detector.

    With a mask of any abnormal support image the segmentation adapters are trained too, and an
    image's score is the largest value of its map; without, the detection adapters alone are
    trained and score it. A category's detector counts the images that do not show it as normal,
    whatever else they show, and the whole mask of an image that shows others beside it.

    Args:
        thing: what the images are, such as ``"brain MRI"``.
        backbone: the frozen model.
        settings: hyper-parameters.
        seed: of the adapters' initial weights and the order of the images.
        category: the one category that is meant; None for any anomaly.

    Attributes:
        tower_: the adapted image tower; None if there was nothing to learn from.
        memory_: stored unit-length tokens of each level, ``(11 normal images, T, D)``.
        constants_: what brings the two parts of a score onto one scale, fitted on the support set.
        with_masks_: whether the segmentation adapters were trained.
        log_: mean loss of each epoch.
    """

    has_maps = True

    def __init__(
        self,
        thing: str,
        backbone: Backbone,
        settings: MVFASettings | None = None,
        seed: int = 0,
        category: str | None = None,
    ) -> None:
        self.settings, self.seed, self.category = settings or MVFASettings(), seed, category
        patches_a_side(backbone, "MVFA")
        self.published = is_published(self.settings.compat, "MVFA", FLAWS)
        self.backbone = with_gelu(backbone) if self.published else backbone
        self.thing = thing
        self.tower_: DoubleAdaptedTower | None = None
        self.memory_: list[Tensor] = []
        self.constants_: Constants | None = None
        self.with_masks_ = False
        self.log_: list[float] = []

    @cached_property
    def text(self) -> Tensor:
        """Unit-length text features of the normal and the abnormal state, ``(2, D)``."""
        normal, abnormal = (
            compose(states, TEMPLATES, self.thing) for states in (NORMAL_STATES, ABNORMAL_STATES)
        )
        return encode_states(self.backbone, normal, abnormal)

    def fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> Self:
        """Train the adapters, store the normal tokens, and fix the constants.

        Args:
            pixels: preprocessed images, ``(n, 3, H, W)``.
            abnormal: which of them are abnormal, boolean ``(n,)``.
            masks: where each is abnormal, boolean of any size, or None where that is not known.

        Raises:
            InputError: if there is no normal image, or no abnormal one for a detector of any
                anomaly; that of a category without a positive finds nothing, with a warning.
        """
        return self.train(pixels, abnormal, masks)

    def train(
        self,
        pixels: Tensor,
        abnormal: Tensor,
        masks: Sequence[Mask | None],
        added: AddedLoss | None = None,
    ) -> Self:
        """:meth:`fit` with one more loss on the image embeddings, added to the others.

        Raises:
            InputError: as :meth:`fit`, or if the loss is no longer finite.
        """
        self.tower_ = None
        if not self._can_learn(abnormal):
            return self
        settings, size = self.settings, pixels.shape[-1]
        where, given = support_masks(masks, abnormal, size)
        self.with_masks_ = bool((given & abnormal).any())
        images = augment(self._own(pixels), settings.angles, settings.shift)
        copies = len(images) // len(pixels)
        where = augment(where.unsqueeze(1), settings.angles, settings.shift)[:, 0] > 0.5
        self.tower_ = self._fresh_tower()
        frozen, state = self._frozen(images)
        truth = abnormal.float().repeat(copies)
        batches = _Batches(frozen, state, truth, where.float(), given.repeat(copies))
        every = self.with_masks_ or added is not None
        self.log_ = minimise(
            lambda rows: self._loss(batches, rows, len(pixels), added),
            (self.tower_ if every else self.tower_.detection).parameters(),
            len(images),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            betas=settings.betas,
            seed=self.seed,
            system="MVFA",
        )
        with torch.no_grad():
            self._store(frozen, state, truth == 0)
            self._fix_constants(frozen[: len(pixels)], state, abnormal)
        return self

    def _fresh_tower(self) -> DoubleAdaptedTower:
        settings, tower = self.settings, self.backbone.image
        blocks = adapted_blocks(tower.depth, settings.blocks)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            adapted = DoubleAdaptedTower(tower, blocks, self.backbone.dimension, settings.share)
        return adapted.to(self.backbone.device)

    def _loss(
        self, batches: _Batches, rows: Tensor, images: int, added: AddedLoss | None
    ) -> Tensor:
        assert self.tower_ is not None
        levels, last = self.tower_(batches.frozen[rows], batches.state)
        found = torch.cat([self.logits(level.detection) for level in levels])
        loss = detection_loss(found, batches.truth[rows].repeat(len(levels)), self.published)
        masked = batches.given[rows]
        if self.with_masks_ and masked.any():
            logits = torch.cat([self.logits(level.segmentation[masked]) for level in levels])
            masks = batches.masks[rows][masked].repeat(len(levels), 1, 1)
            loss = loss + segmentation_loss(logits, masks)
        loss = loss * len(levels)  # the sum over the levels, which all have the same images
        if added is not None:
            pooled = self.backbone.image.pool(last, batches.state)
            loss = loss + added(pooled, rows % images)
        return loss

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

    def _own(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.backbone.device)
        return unstandardised(pixels, self.backbone) if self.published else pixels

    def _frozen(self, images: Tensor) -> tuple[Tensor, object]:
        assert self.tower_ is not None
        parts: list[Tensor] = []
        state: object = None
        with torch.no_grad():
            for batch in images.split(BATCH):
                hidden, state = self.backbone.image.embed(batch)
                parts.append(self.tower_.frozen_part(hidden, state))
        return torch.cat(parts), state

    def logits(self, features: Tensor) -> Tensor:
        """Scaled cosines of the patches with both states, ``(n, P, 2)`` from ``(n, T, D)``."""
        return self.settings.scale * features[:, 1:] @ self.text.T

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
            raise InputError("this MVFA detector is not fitted: call fit with abnormal images")
        frozen, state = self._frozen(self._own(pixels))
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


def _build(build: Build) -> OnePerCategory:
    def make(category: str | None) -> MVFA:
        return MVFA(build.bank.modality, build.backbone, seed=build.seed, category=category)

    return OnePerCategory(build.bank.names, build.backbone, make)


SYSTEMS = (
    System(
        "mvfa",
        "MVFA",
        "Huang et al., Adapting Visual-Language Models for Generalizable Anomaly Detection in "
        "Medical Images, CVPR 2024",
        "support set",
        _build,
        single=True,
        maps=True,
        differs="The two parts of a score are brought onto one scale by constants that are fitted "
        "on the support set, not by min-max over the test set. The probability enters its loss as "
        "one, without a second sigmoid. Activation, mean and deviation are the checkpoint's. The "
        "last epoch is kept, not the best one on the test set. Without masks the detection "
        "adapters give the maps. Full precision.",
    ),
)
