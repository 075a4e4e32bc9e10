"""The training loops of the systems that learn from few images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sdmad.errors import InputError

HALVED = 0.5


@dataclass(frozen=True)
class Schedule:
    """How Adam goes over the images.

    Attributes:
        epochs: passes over them.
        batch_size: images a step.
        learning_rate: of Adam.
        betas: of Adam.
        seed: of the order of the images.
        milestones: steps after which the learning rate is halved.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    betas: tuple[float, float]
    seed: int
    milestones: tuple[int, ...] = ()


def take_step(optimiser: torch.optim.Optimizer, loss: Tensor) -> float:
    """One step of an optimiser down a scalar loss; returns the loss before it."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def descend(
    optimiser: torch.optim.Optimizer,
    loss_of: Callable[[Tensor], Tensor],
    images: int,
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[float]:
    """Any optimiser over shuffled batches, its rate on half a cosine to 0 over all steps.

    Args:
        optimiser: of what is learnt.
        loss_of: the loss of some of the images, whose numbers ``(m,)`` it is given.
        images: how many there are.
        epochs: passes over them.
        batch_size: images a step.
        seed: of their order.

    Returns:
        The mean loss of each epoch.
    """
    order = torch.Generator().manual_seed(seed)
    steps = epochs * math.ceil(images / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    log = []
    for _ in range(epochs):
        losses = []
        for rows in torch.randperm(images, generator=order).split(batch_size):
            losses.append(take_step(optimiser, loss_of(rows)))
            schedule.step()
        log.append(sum(losses) / len(losses))
    return log


def minimise(
    loss_of: Callable[[Tensor], Tensor],
    parameters: Iterable[Tensor],
    images: int,
    schedule: Schedule,
    system: str,
) -> Tensor:
    """Minimise a loss by Adam over shuffled batches; the last epoch is kept.

    Args:
        loss_of: the loss of some of the images, whose numbers ``(m,)`` it is given: a scalar, or
            one ``(G,)`` of each of several detectors that are trained side by side and share no
            parameter.
        parameters: what is learnt.
        images: how many there are.
        schedule: how.
        system: what is trained, for the error.

    Returns:
        The mean loss of each epoch, float64 ``(epochs,)`` or ``(epochs, G)``.

    Raises:
        InputError: if it is no longer finite.
    """
    optimiser = torch.optim.Adam(
        list(parameters), lr=schedule.learning_rate, betas=schedule.betas, fused=True
    )
    rate = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(schedule.milestones), HALVED)
    order = torch.Generator().manual_seed(schedule.seed)
    log = []
    for epoch in range(1, schedule.epochs + 1):
        total = torch.zeros((), dtype=torch.float64)
        for rows in torch.randperm(images, generator=order).split(schedule.batch_size):
            loss = loss_of(rows)
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
            rate.step()
            total = total + loss.detach().double().cpu() * len(rows)
        if not total.isfinite().all():
            raise InputError(f"{system}: the loss is no longer finite in epoch {epoch}")
        log.append(total / images)
    return torch.stack(log) if log else torch.zeros(0, dtype=torch.float64)
