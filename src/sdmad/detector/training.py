"""Training the shift adapters of both towers on a support set."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from sdmad.backbones import Backbone, Tower
from sdmad.detector.config import SDMADConfig
from sdmad.detector.features import ImageFeatures, Wanted, finish
from sdmad.detector.frozen import STORE, room_for
from sdmad.detector.head import TextFeatures
from sdmad.errors import InputError
from sdmad.method.adapters import AdaptedTower, ShiftAdapter, adapted_blocks
from sdmad.method.losses import inter_anomaly_loss
from sdmad.method.scoring import normal_anchor
from sdmad.progress import track
from sdmad.signs import SignBank

ADAM_BETAS = (0.5, 0.999)
COLLAPSED = 0.95
EMBED_BATCH = 16


@dataclass(frozen=True)
class EpochLog:
    """What one epoch of training did.

    Attributes:
        loss: Eq. 5, mean over the batches.
        sign_cosine: mean cosine between different signs; near 1 the embeddings have collapsed.
    """

    loss: float
    sign_cosine: float


class SignTexts:
    """A bank's sentences, run once through the part of the text tower that never changes.

    Nothing is run before it is asked for.

    Args:
        bank: the sentences; signs first, then the normal ones.
        backbone: whose tokenizer and text tower to use.
        tower: the adapted text tower.
    """

    def __init__(self, bank: SignBank, backbone: Backbone, tower: AdaptedTower) -> None:
        self.bank, self.backbone, self.tower = bank, backbone, tower
        self.count = len(bank.sentences)

    @cached_property
    def frozen(self) -> tuple[Tensor, Any]:
        """Tokens at the first adapter, ``(S, T, W)``, and the tower's state."""
        sentences = [*self.bank.sentences, *self.bank.normal]
        tokens = self.backbone.tokenize(sentences).to(self.backbone.device)

        def compute() -> tuple[Tensor, Any]:
            with torch.no_grad():
                hidden, state = self.backbone.text.embed(tokens)
            return self.tower.frozen_part(hidden, state), state

        return STORE.get(self.backbone.text, self.tower.first, tokens, compute)

    def __call__(self) -> TextFeatures:
        """Embed the sentences with the adapters as they are now."""
        features = self.tower(*self.frozen)
        return TextFeatures(features[: self.count], normal_anchor(features[self.count :]))


def build_adapters(
    backbone: Backbone, config: SDMADConfig, seed: int
) -> tuple[AdaptedTower, AdaptedTower]:
    """Put fresh adapters on the image and the text tower; none where nothing is to be trained.

    Args:
        backbone: the frozen towers.
        config: blocks, bottleneck, lambda, activation and epochs.
        seed: of the initial weights.

    Raises:
        InputError: if a block does not exist.
    """
    if config.epochs == 0:
        return AdaptedTower(backbone.image, {}), AdaptedTower(backbone.text, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        image, text = _adapted(backbone, config)
    return image.to(backbone.device), text.to(backbone.device)


def adapter_shapes(
    backbone: Backbone, config: SDMADConfig
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Shapes of the weights that :func:`build_adapters` makes on both towers, without their memory.

    Raises:
        InputError: if a block does not exist.
    """
    if config.epochs == 0:
        return {}, {}
    with torch.device("meta"):
        image, text = _adapted(backbone, config)
    return _shapes(image), _shapes(text)


def _shapes(tower: AdaptedTower) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in tower.adapters.state_dict().items()}


def _adapted(backbone: Backbone, config: SDMADConfig) -> tuple[AdaptedTower, AdaptedTower]:
    def adapt(tower: Tower, blocks: tuple[int, ...]) -> AdaptedTower:
        widths = dict(enumerate(tower.widths, 1))
        adapters = {  # a block that does not exist is refused by AdaptedTower
            block: ShiftAdapter(
                widths.get(block, 1), config.bottleneck, config.lam, config.activation
            )
            for block in blocks
        }
        return AdaptedTower(tower, adapters)

    try:
        image = adapt(backbone.image, config.image_blocks or adapted_blocks(backbone.image.depth))
        return image, adapt(backbone.text, config.text_blocks or (backbone.text.depth,))
    except ValueError as error:
        raise InputError(f"adapters do not fit the backbone {backbone.name}: {error}") from error


class SupportImages:
    """Images, run once through the part of the image tower that never changes.

    Args:
        pixels: pixel values, shape ``(n, 3, H, W)``.
        backbone: whose image tower to use.
        tower: the adapted image tower.
    """

    def __init__(self, pixels: Tensor, backbone: Backbone, tower: AdaptedTower) -> None:
        self.tower = tower

        @torch.no_grad()
        def compute() -> tuple[Tensor, Any]:
            tokens, states, done = None, [], 0
            for batch in pixels.split(EMBED_BATCH):
                hidden, state = backbone.image.embed(backbone.pixels(batch))
                states.append(state)
                part = tower.frozen_part(hidden, state)
                if tokens is None:
                    shape = (len(pixels), *part.shape[1:])
                    tokens = room_for(shape, part.dtype, part.device)
                tokens[done : done + len(part)] = part
                done += len(part)
            assert tokens is not None
            by_image = isinstance(states[0], Tensor)
            return tokens, torch.cat(states) if by_image else states[0]

        self.frozen, self.state = STORE.get(backbone.image, tower.first, pixels, compute)

    def __len__(self) -> int:
        return len(self.frozen)

    def __call__(self, rows: Tensor | slice) -> Tensor:
        """Embed some of the images with the adapters as they are now: ``(m, D)``."""
        features: Tensor = self.tower(self.frozen[rows], self._state(rows))
        return features

    @torch.no_grad()
    def features(self, size: int, wanted: Wanted) -> ImageFeatures:
        """What the tower says of all images with the adapters as they are now.

        Args:
            size: images a batch.
            wanted: what is read beside the embeddings.
        """
        parts = [slice(start, start + size) for start in range(0, len(self), size)]
        return ImageFeatures.join(
            [finish(self.tower, self.frozen[rows], self._state(rows), wanted) for rows in parts]
        )

    def _state(self, rows: Tensor | slice) -> Any:
        return self.state[rows] if isinstance(self.state, Tensor) else self.state


def mean_sign_cosine(signs: Tensor) -> float:
    """Mean cosine between different signs, of unit-length embeddings ``(S, D)``."""
    count = len(signs)
    if count < 2:
        return 0.0
    return float(((signs @ signs.T).sum() - count) / (count * (count - 1)))


def train_adapters(
    images: SupportImages,
    texts: SignTexts,
    labels: Tensor,
    category: Tensor,
    config: SDMADConfig,
    seed: int,
    progress: str | None = None,
    normal: Tensor | None = None,
) -> list[EpochLog]:
    """Minimise Eq. 5 over the adapters of both towers; the last epoch is kept.

    Args:
        images: the support set in the adapted image tower.
        texts: the bank in the adapted text tower.
        labels: 1, 0 or NaN, shape ``(n, K)``.
        category: index of each sign's category, shape ``(S,)``, int64.
        config: margin, weights, learning rate, batch size and epochs.
        seed: of the order of the images.
        progress: what to call the work on a progress bar.
        normal: images without any abnormality, boolean ``(n,)``; None takes those on which every
            category is absent.

    Returns:
        One entry an epoch; nothing is done without epochs. A warning is given if the signs'
        embeddings end up collapsed.

    Raises:
        InputError: if the loss is no longer finite.
    """
    if config.epochs == 0:
        return []
    adapters = nn.ModuleList([images.tower.adapters, texts.tower.adapters])
    optimiser = torch.optim.Adam(adapters.parameters(), lr=config.learning_rate, betas=ADAM_BETAS)
    order = torch.Generator().manual_seed(seed)
    log: list[EpochLog] = []
    with torch.no_grad():
        start = mean_sign_cosine(texts().signs)
    for _ in track(range(config.epochs), progress):
        total, cosine = 0.0, 0.0
        batches = torch.randperm(len(images), generator=order).split(config.batch_size)
        for rows in batches:
            text = texts()
            loss = inter_anomaly_loss(
                images(rows),
                text.signs,
                category,
                text.anchor,
                labels[rows],
                config.margin,
                config.image_text_weight,
                None if normal is None else normal[rows],
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
            cosine = mean_sign_cosine(text.signs.detach())
        if not math.isfinite(total):
            raise InputError(
                f"training diverged in epoch {len(log) + 1}: the loss is no number any more; "
                f"use a smaller learning_rate than {config.learning_rate:g}"
            )
        log.append(EpochLog(total / len(batches), cosine))
    if log and log[-1].sign_cosine > COLLAPSED:
        warnings.warn(_collapse(start, log[-1].sign_cosine, config), stacklevel=2)
    return log


def _collapse(before: float, after: float, config: SDMADConfig) -> str:
    if before > COLLAPSED:
        return (
            f"the backbone hardly tells the signs apart (mean cosine {before:.3f} before training, "
            f"{after:.3f} after); word them in terms that it knows (sdmad signs check), or take "
            "another backbone"
        )
    return (
        f"the signs' embeddings have collapsed (mean cosine {before:.3f} before training, "
        f"{after:.3f} after): the pull of Eq. 3 is strongest when all are equal. A larger margin "
        f"(now {config.margin:g}), a smaller image_text_weight (now {config.image_text_weight:g}) "
        "or fewer epochs stop it; so do more images"
    )
