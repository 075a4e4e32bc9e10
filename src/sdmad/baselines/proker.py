"""ProKeR: kernel ridge regression on the support set, held near zero-shot CLIP.

Bendou et al., ProKeR: A Kernel Perspective on Few-Shot Adaptation of Large Vision-Language Models,
CVPR 2025. Tip-Adapter's votes are a local average; here the function that is near the labels and
near CLIP's own cosines, in the space of a Gaussian kernel, is found at once, in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.baselines.components.anchored import (
    AnchoredDetector,
    anchored_logits,
    encode_support,
)
from sdmad.baselines.components.cache import balanced, nearness
from sdmad.baselines.registry import Recipe
from sdmad.detector.base import TrainingSet
from sdmad.signs import SignBank


@dataclass(frozen=True)
class ProKeRSettings:
    """Hyper-parameters as the authors carry them from ImageNet to other data, at four shots.

    Attributes:
        penalty: lambda: how strongly the function is held to zero-shot CLIP.
        beta: sharpness of the kernel.
    """

    penalty: float = 0.05
    beta: float = 1.5


SEARCHED = ProKeRSettings()
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


def ridge_weights(kernel: Tensor, base: Tensor, labels: Tensor, penalty: float) -> Tensor:
    """What each support image adds to each category's score, by how near an image is to it.

    For a category it minimises ``sum_i w_i (y_i - f(x_i))^2 + penalty |f - base|^2`` in the space
    of the kernel; ``y`` is 1 where an image shows it and -1 where not, and ``w`` lets both kinds
    weigh the same in sum.

    >>> alone = ridge_weights(torch.eye(1), torch.tensor([[0.5]]), torch.tensor([[1.0]]), 1.0)
    >>> alone.tolist()  # (1 - 0.5) / (1 + penalty)
    [[0.25]]

    Args:
        kernel: of the n support images with each other, ``(n, n)``.
        base: their zero-shot scores, ``(n, K)``.
        labels: 1, 0 or NaN, ``(n, K)``; an unknown one counts nothing.
        penalty: lambda.

    Returns:
        Shape ``(n, K)``; 0 of a category that nobody shows.
    """
    votes = balanced(labels).to(kernel)
    found = torch.zeros_like(votes)
    for k in range(votes.shape[1]):
        rows = votes[:, k].nonzero()[:, 0]
        if len(rows):
            vote = votes[rows, k]
            held = kernel[rows][:, rows] + penalty * torch.diag(1 / vote.abs())
            found[rows, k] = torch.linalg.solve(held, vote.sign() - base[rows, k])
    return found


class ProKeR(AnchoredDetector):
    """ProKeR for several labels: each category against the normal class.

    Args:
        bank: its signs, averaged, are a category's text; its normal sentences the normal class's.
        backbone: the frozen model.
        settings: hyper-parameters.

    Attributes:
        keys_: evidence of the n support images, unit length, ``(n, E)``.
        weights_: what each adds to each category, ``(n, K)``.
    """

    set_by_fit = "weights_"

    def __init__(
        self, bank: SignBank, backbone: Backbone, settings: ProKeRSettings | None = None
    ) -> None:
        super().__init__(bank, backbone)
        self.settings = settings or ProKeRSettings()
        self.keys_: Tensor | None = None
        self.weights_: Tensor | None = None

    def _fit(self, training: TrainingSet) -> None:
        """Solve for the weights."""
        features, evidence, truth = encode_support(self.backbone, training)
        kernel = nearness(evidence, evidence, self.settings.beta).double()
        base = anchored_logits(features, self.text, 1.0).double()
        weights = ridge_weights(kernel, base, truth, self.settings.penalty)
        self.keys_, self.weights_ = evidence, weights.to(evidence)

    def logits(self, features: Tensor, evidence: Tensor) -> Tensor:
        """Differences of cosines ``(n, K)`` and what the support set adds."""
        assert self.keys_ is not None
        assert self.weights_ is not None
        near = nearness(evidence, self.keys_, self.settings.beta)
        return anchored_logits(features, self.text, 1.0) + near @ self.weights_


RECIPES = {
    "proker": Recipe(
        lambda build, settings: ProKeR(build.bank, build.backbone, settings),
        ProKeRSettings(),
        SEARCHED,
    )
}
