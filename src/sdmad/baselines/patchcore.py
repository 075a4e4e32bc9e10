"""PatchCore: the places of a few normal images, thinned to a coreset, and the nearest of them.

Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022. The places are those
of middle feature maps of a network that was trained on ImageNet, each the mean of its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d, interpolate

from sdmad.baselines.components.anomaly import OnePerCategory
from sdmad.baselines.components.nearest import nearest_places
from sdmad.baselines.components.remembered import Memory, Remembered
from sdmad.baselines.components.trunk import (
    FeatureMaps,
    load_trunk,
    preprocessing_of,
    require_timm,
)
from sdmad.baselines.registry import Build, Recipe
from sdmad.choices import EMBEDDED
from sdmad.data.preprocessing import Preprocessing

NEIGHBOURHOOD = 3  # places a side whose mean is a place


@dataclass(frozen=True)
class PatchCoreSettings:
    """The published hyper-parameters, but for the network and its image size.

    Attributes:
        trunk: the network: ``"lite"``, the embedded backbone's, or timm's name.
        weights: ``"pretrained"``, ``"random"`` or a safetensors file.
        levels: which of its feature maps, from 0, the finest first: strides 8 and 16.
        size: side of the input in pixels.
        kept: share of the places that the coreset keeps.
        neighbours: remembered places beside the nearest one that weigh an image's score.
        blur: deviation of the Gaussian over the map, in pixels.
    """

    trunk: str = EMBEDDED
    weights: str | Path = "pretrained"
    levels: tuple[int, ...] = (2, 3)
    size: int = 240
    kept: float = 0.1
    neighbours: int = 9
    blur: float = 4.0


SEARCHED = PatchCoreSettings(size=336, kept=1.0)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


def joined_places(maps: list[Tensor]) -> Tensor:
    """Places of the finest map, ``(n, h w, C)``: means over 3 by 3, all levels side by side.

    Args:
        maps: ``(n, C, h, w)`` each, the finest first; the coarser ones are widened bilinearly.
    """
    pooled = [avg_pool2d(level, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2) for level in maps]
    size = pooled[0].shape[-2:]
    wide = [interpolate(p, size, mode="bilinear", align_corners=False) for p in pooled[1:]]
    return torch.cat([pooled[0], *wide], dim=1).flatten(2).transpose(1, 2)


def coreset(places: Tensor, count: int, first: int) -> Tensor:
    """Numbers of places that lie all over the others: each next is the farthest from those before.

    >>> coreset(torch.tensor([[0.0], [1.0], [10.0], [6.0]]), 3, 0).tolist()
    [0, 2, 3]

    Args:
        places: ``(M, D)``.
        count: how many, from 1 to M.
        first: the number of the first.
    """
    chosen = [first]
    nearest = torch.full((len(places),), float("inf"), device=places.device)
    for _ in range(count - 1):
        apart = (places - places[chosen[-1]]).square().sum(dim=1)
        nearest = torch.minimum(nearest, apart)
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen, device=places.device)


def weighted_score(place: Tensor, memory: Tensor, nearest: int, neighbours: int) -> Tensor:
    """The distance of an image's most abnormal place, less where its nearest place is alone.

    The weight is 1 less the share of the nearest remembered place in the exponentials of the
    distances to it and to those around it.

    Args:
        place: of the image, ``(D,)``.
        memory: ``(M, D)``.
        nearest: the number of the remembered place that is nearest to it.
        neighbours: remembered places around that one, itself among them; of one there is no weight.

    Returns:
        A scalar.
    """
    far = torch.linalg.vector_norm(place - memory[nearest])
    if min(neighbours, len(memory)) < 2:
        return far
    around = torch.linalg.vector_norm(memory - memory[nearest], dim=1)
    around[nearest] = -1.0  # itself comes first, before any that is the same
    kin = around.topk(min(neighbours, len(memory)), largest=False).indices
    shares = torch.linalg.vector_norm(place - memory[kin], dim=1).softmax(dim=0)
    return (1 - shares[0]) * far


class PatchCore(Remembered):
    """PatchCore on a few normal images.

    Args:
        trunk: gives a feature map a level, the finest first.
        preprocessing: of its images.
        settings: hyper-parameters.
        seed: of the coreset's first place.
    """

    def __init__(
        self,
        trunk: FeatureMaps,
        preprocessing: Preprocessing,
        settings: PatchCoreSettings,
        seed: int,
    ) -> None:
        super().__init__(lambda pixels: joined_places(trunk(pixels)), settings.blur)
        self.preprocessing, self.settings, self.seed = preprocessing, settings, seed

    def remember(self, pixels: Tensor) -> Memory:
        """The coreset of the places of all normal images."""
        memory = Memory.of(self.read(pixels))
        count = max(1, int(self.settings.kept * len(memory.places)))
        if count == len(memory.places):
            return memory
        draws = Generator().manual_seed(self.seed)
        first = int(torch.randint(len(memory.places), (1,), generator=draws))
        return memory.rows(coreset(memory.places, count, first))

    def compare(self, places: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Euclidean distances to the nearest place; the largest, weighted."""
        distances, nearest = nearest_places(places, memory)
        worst = int(distances.argmax())
        number = int(nearest[worst])
        score = weighted_score(places[worst], memory, number, self.settings.neighbours)
        return distances, score


def build_patchcore(build: Build, settings: PatchCoreSettings | None = None) -> OnePerCategory:
    """One PatchCore for all categories; the backbone is not used.

    Args:
        build: what it is built from.
        settings: hyper-parameters.

    Raises:
        ModelError: if the trunk is timm's and timm is not installed, or its weights cannot be had
            or used.
    """
    settings = settings or PatchCoreSettings()
    require_timm(settings.trunk, "PatchCore", "timm")
    trunk = load_trunk(settings.trunk, settings.weights, settings.levels, build.seed)
    trunk.to(build.backbone.device)
    preprocessing = preprocessing_of(trunk, build.backbone.preprocessing, settings.size)
    detector = PatchCore(trunk, preprocessing, settings, build.seed)
    return OnePerCategory(build.bank.names, build.backbone, lambda _: detector)


RECIPES = {"patchcore": Recipe(build_patchcore, PatchCoreSettings(), SEARCHED)}
