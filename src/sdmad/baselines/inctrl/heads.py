"""What InCTRL learns: heads that turn differences from normal images into a score, and its loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from sdmad.baselines.components.published import Compat


@dataclass(frozen=True)
class InCTRLSettings:
    """The published hyper-parameters.

    Attributes:
        blocks: whose patch tokens are compared, of a tower of 24; the authors' are 7, 9 and 11
            of 12.
        reduction: how much narrower the class token's adapter is than the class token.
        hidden: widths inside both heads.
        temperature: cosines with the prompts are multiplied by it.
        learning_rate: of AdamW.
        epochs: of ``steps`` batches each.
        steps: batches an epoch.
        batch_size: images a batch, one half normal.
        gamma: exponent of the focal loss.
        most_references: of the heads' training; they are trained with as many normal images
            beside each image as the support set has, up to this number.
        compat: ``"published"`` puts a second sigmoid on the probabilities in the loss, as the
            authors' code does.
    """

    blocks: tuple[int, ...] = (14, 18, 22)
    reduction: int = 4
    hidden: tuple[int, int] = (128, 64)
    temperature: float = 100.0
    learning_rate: float = 1e-3
    epochs: int = 10
    steps: int = 100
    batch_size: int = 16
    gamma: float = 2.0
    most_references: int = 8
    compat: Compat = "none"


def nearest_cosines(query: Tensor, references: Tensor) -> Tensor:
    """Each patch's largest cosine with a patch of each reference, block by block.

    Args:
        query: unit-length tokens ``(n, L, N, W)``.
        references: unit-length tokens ``(k, n or 1, L, N, W)``: k of each image, or of all.

    Returns:
        ``(k, n, L, N)``.
    """
    return torch.stack([(query @ one.transpose(-1, -2)).amax(dim=-1) for one in references])


def residuals_of(cosines: Tensor) -> Tensor:
    """Half of one minus the largest of the k references' cosines, mean over the blocks.

    Args:
        cosines: ``(k, n, L, N)``.

    Returns:
        ``(n, N)``, in [0, 1].
    """
    return (0.5 * (1 - cosines.amax(dim=0))).mean(dim=1)


def patch_residuals(query: Tensor, references: Tensor) -> Tensor:
    """How far each patch is from the nearest patch of all references, mean over the blocks.

    Args:
        query: unit-length tokens ``(n, L, N, W)``.
        references: unit-length tokens ``(k, n or 1, L, N, W)``: k of each image, or of all.

    Returns:
        Half of one minus the cosine, ``(n, N)``, in [0, 1].
    """
    return residuals_of(nearest_cosines(query, references))


def focal_loss(probability: Tensor, truth: Tensor, gamma: float) -> Tensor:
    """Mean binary focal loss (Lin et al. 2017, alpha 1) of probabilities ``(n,)``.

    Args:
        probability: in [0, 1].
        truth: 1 or 0, ``(n,)``.
        gamma: how little what is already right counts.
    """
    entropy = binary_cross_entropy(probability.clamp(0, 1), truth, reduction="none")
    return ((1 - torch.exp(-entropy)) ** gamma * entropy).mean()


class Head(nn.Sequential):
    """Two hidden layers with ReLU and batch normalisation, then a probability: ``(n, W)`` to n.

    Args:
        width: of what comes in.
        hidden: of the two layers.
    """

    def __init__(self, width: int, hidden: tuple[int, int]) -> None:
        layers: list[nn.Module] = []
        for before, after in zip((width, hidden[0]), hidden, strict=True):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.BatchNorm1d(after)]
        super().__init__(*layers, nn.Linear(hidden[1], 1), nn.Sigmoid(), nn.Flatten(0))


class Heads(nn.Module):
    """All that is trained.

    Args:
        dimension: D of an embedding.
        patches: N of an image.
        settings: widths.
    """

    def __init__(self, dimension: int, patches: int, settings: InCTRLSettings) -> None:
        super().__init__()
        narrow = max(1, dimension // settings.reduction)
        self.scale = dimension**0.5
        self.adapter = nn.Sequential(
            nn.Linear(dimension, narrow, bias=False),
            nn.ReLU(),
            nn.Linear(narrow, dimension, bias=False),
            nn.ReLU(),
        )
        self.image = Head(dimension, settings.hidden)
        self.whole = Head(patches, settings.hidden)

    def forward(
        self, embedding: Tensor, references: Tensor, residuals: Tensor, text: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score n images.

        Args:
            embedding: of the images, ``(n, D)``.
            references: embeddings of the normal images, ``(k, n or 1, D)``.
            residuals: of the patches, ``(n, N)``.
            text: probability of the abnormal prompts, ``(n,)``.

        Returns:
            The score of the image, ``(n,)``, and that of its class token alone, ``(n,)``.
        """
        normal = self.adapter(self.scale * references).mean(dim=0)
        image = self.image(normal - self.adapter(self.scale * embedding))
        whole = self.whole(residuals + text[:, None] + image[:, None])
        return (whole + residuals.amax(dim=1)) / 2, image
