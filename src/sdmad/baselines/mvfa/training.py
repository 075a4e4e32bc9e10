"""Training of MVFA's adapters: of one detector, or of several side by side on the same images.

The detectors of all categories see the same images in the same order, so that their frozen tokens
and the calls of a step are shared. No parameter is: each learns what it would learn alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sdmad.baselines.components.minimise import Schedule, minimise
from sdmad.baselines.mvfa.adapters import DoubleAdaptedTower
from sdmad.baselines.mvfa.losses import detection_loss, segmentation_loss

AddedLoss = Callable[[Tensor, Tensor], Tensor]
"""Image embeddings ``(m, D)`` and the support images they come from, ``(m,)``, to a scalar."""


@dataclass(frozen=True)
class Lessons:
    """The augmented support set, m images, and what G detectors are told of it.

    Attributes:
        frozen: tokens at the first adapter, ``(m, T, W)``.
        state: the tower's own.
        text: unit-length features of each detector's two states, ``(G, 2, D)``.
        truth: 1 where an image is abnormal for a detector, else 0; ``(G, m)``.
        masks: where it is, boolean ``(G, m, H, H)``.
        given: whether that is known, boolean ``(G, m)``.
        segment: whether the segmentation adapters are trained too.
    """

    frozen: Tensor
    state: object
    text: Tensor
    truth: Tensor
    masks: Tensor
    given: Tensor
    segment: bool


@dataclass(frozen=True)
class Training:
    """How the adapters are trained.

    Attributes:
        scale: what a cosine with a text feature is multiplied with.
        pool: last tokens to unit-length image embeddings.
        second_sigmoid: take a probability for a logit, as the authors do.
        schedule: of the steps.
    """

    scale: float
    pool: Callable[[Tensor, object], Tensor]
    second_sigmoid: bool
    schedule: Schedule


def patch_logits(features: Tensor, text: Tensor, scale: float) -> Tensor:
    """Scaled cosines of the patches with both states, ``(n, P, 2)``.

    Args:
        features: unit length, of the class token and P patches, ``(n, T, D)``.
        text: of both states, ``(2, D)``, or of each image's own, ``(n, 2, D)``.
        scale: of the cosines.
    """
    return scale * features[:, 1:] @ text.mT


def train_side_by_side(
    tower: DoubleAdaptedTower,
    lessons: Lessons,
    training: Training,
    added: AddedLoss | None = None,
    sources: int = 0,
) -> Tensor:
    """Train the adapters of G detectors; the last epoch is kept.

    Args:
        tower: with fresh adapters of the detectors.
        lessons: what they learn from.
        training: how.
        added: one more loss on the image embeddings, of a single detector.
        sources: how many images there were before the augmentation, for ``added``.

    Returns:
        Mean loss of each epoch, ``(epochs, G)``.

    Raises:
        InputError: if a loss is no longer finite.
    """

    def loss_of(rows: Tensor) -> Tensor:
        loss, last = lesson_losses(tower, lessons, training, rows)
        if added is not None:
            loss = loss + added(training.pool(last, lessons.state), rows % sources)
        return loss

    every = lessons.segment or added is not None
    return minimise(
        loss_of,
        (tower if every else tower.detection).parameters(),
        len(lessons.frozen),
        training.schedule,
        "MVFA",
    )


def lesson_losses(
    tower: DoubleAdaptedTower, lessons: Lessons, training: Training, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """MVFA's losses, summed over the levels, on some of the images.

    Args:
        tower: with the adapters of the detectors.
        lessons: all images.
        training: how.
        rows: which images, ``(b,)``.

    Returns:
        The loss of each detector ``(G,)``, mean over the images, and the tower's last tokens
        ``(G b, T, W)``.
    """
    count, batch = len(lessons.truth), len(rows)
    levels, last = tower(lessons.frozen[rows].repeat(count, 1, 1), lessons.state)
    depth, scale = len(levels), training.scale
    text = lessons.text.repeat_interleave(batch, dim=0)
    features = torch.cat([level.detection for level in levels])
    logits = patch_logits(features, text.repeat(depth, 1, 1), scale)
    truth = lessons.truth[:, rows].flatten().repeat(depth)
    found = detection_loss(logits, truth, training.second_sigmoid)
    loss = found.view(depth, count, batch).sum(dim=0).mean(dim=1)
    given = lessons.given[:, rows].flatten()
    if lessons.segment and given.any():
        masks = lessons.masks[:, rows].flatten(0, 1)[given].float().repeat(depth, 1, 1)
        features = torch.cat([level.segmentation[given] for level in levels])
        logits = patch_logits(features, text[given].repeat(depth, 1, 1), scale)
        each = loss.new_zeros(count * batch)
        each[given] = segmentation_loss(logits, masks).view(depth, -1).sum(dim=0)
        known = given.view(count, batch).sum(dim=1).clamp(min=1)
        loss = loss + each.view(count, batch).sum(dim=1) / known
    return loss, last
