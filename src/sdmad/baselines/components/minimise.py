"""The training loop of the systems that adapt CLIP for anomaly detection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from sdmad.errors import InputError

HALVED = 0.5


def minimise(
    loss_of: Callable[[Tensor], Tensor],
    parameters: Iterable[Tensor],
    images: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    betas: tuple[float, float],
    seed: int,
    system: str,
    milestones: Sequence[int] = (),
) -> Tensor:
    """Minimise a loss by Adam over shuffled batches; the last epoch is kept.

    Args:
        loss_of: the loss of some of the images, whose numbers ``(m,)`` it is given: a scalar, or
            one ``(G,)`` of each of several detectors that are trained side by side and share no
            parameter.
        parameters: what is learnt.
        images: how many there are.
        epochs: passes over them.
        batch_size: images a step.
        learning_rate: of Adam.
        betas: of Adam.
        seed: of the order of the images.
        system: what is trained, for the error.
        milestones: steps after which the learning rate is halved.

    Returns:
        The mean loss of each epoch, float64 ``(epochs,)`` or ``(epochs, G)``.

    Raises:
        InputError: if it is no longer finite.
    """
    optimiser = torch.optim.Adam(list(parameters), lr=learning_rate, betas=betas, fused=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(milestones), HALVED)
    order = torch.Generator().manual_seed(seed)
    log = []
    for epoch in range(1, epochs + 1):
        total = torch.zeros((), dtype=torch.float64)
        for rows in torch.randperm(images, generator=order).split(batch_size):
            loss = loss_of(rows)
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
            schedule.step()
            total = total + loss.detach().double().cpu() * len(rows)
        if not total.isfinite().all():
            raise InputError(f"{system}: the loss is no longer finite in epoch {epoch}")
        log.append(total / images)
    return torch.stack(log) if log else torch.zeros(0, dtype=torch.float64)
