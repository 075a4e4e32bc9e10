"""AnomalyDINO: how far patches of a vision transformer are from those of turned normal images.

Damm et al., AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection with DINOv2, WACV 2025.
Nothing is trained, and no sentence is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, normalize

from sdmad.backbones import Backbone
from sdmad.baselines.components.anomaly import OnePerCategory
from sdmad.baselines.components.nearest import nearest_distance
from sdmad.baselines.components.patch_maps import blocks_of, patches_a_side
from sdmad.baselines.components.pseudo import Brightness, turned
from sdmad.baselines.components.remembered import Memory, Remembered
from sdmad.baselines.registry import Build, Recipe


@dataclass(frozen=True)
class AnomalyDINOSettings:
    """The published hyper-parameters.

    Attributes:
        block: whose patches, of a tower of 24, moved to the tower's depth.
        rotations: turns of each normal image, all round.
        top: share of the patches whose mean distance is an image's score, at least one.
        blur: deviation of the Gaussian over the map, in pixels.
    """

    block: int = 24
    rotations: int = 8
    top: float = 0.01
    blur: float = 4.0


SEARCHED = AnomalyDINOSettings(rotations=1)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""


class AnomalyDINO(Remembered):
    """AnomalyDINO on a few normal images.

    Args:
        backbone: with a class token before a square of patches.
        settings: hyper-parameters.

    Raises:
        InputError: if the tower is another kind or has too few blocks.
    """

    def __init__(self, backbone: Backbone, settings: AnomalyDINOSettings) -> None:
        patches_a_side(backbone, "AnomalyDINO")
        super().__init__(self._patches, settings.blur)
        self.backbone, self.settings = backbone, settings
        (self.block,) = blocks_of(backbone, (settings.block,), "AnomalyDINO")
        prepared = backbone.preprocessing
        self._brightness = Brightness(prepared.mean, prepared.std)

    def _patches(self, pixels: Tensor) -> Tensor:
        """Unit-length patches ``(n, P, W)``, each with mean 0, as behind DINOv2's last norm."""
        tower = self.backbone.image
        hidden, state = tower.embed(self.backbone.pixels(pixels))
        for index in range(1, self.block + 1):
            hidden = tower.block(index, hidden, state)
        patches = hidden[:, 1:].float()
        return normalize(layer_norm(patches, patches.shape[-1:]), dim=-1)

    def remember(self, pixels: Tensor) -> Memory:
        """Every patch of every turn of the normal images."""
        values, parts = self._brightness.of(pixels), []
        for turn in range(self.settings.rotations):
            angle = torch.full((len(values),), 2 * math.pi * turn / self.settings.rotations)
            seen = pixels if turn == 0 else self._brightness.standardise(turned(values, angle))
            parts.append(Memory.of(self.read(seen)))
        places, owners = zip(*((part.places, part.owner) for part in parts), strict=True)
        return Memory(torch.cat(places), torch.cat(owners))

    def compare(self, places: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine distances to the nearest patch; the mean of the largest."""
        distances = nearest_distance(places, memory)
        count = max(1, int(self.settings.top * len(distances)))
        return distances, distances.topk(count).values.mean()


def build_anomaly_dino(build: Build, settings: AnomalyDINOSettings | None = None) -> OnePerCategory:
    """One AnomalyDINO for all categories.

    Args:
        build: what it is built from.
        settings: hyper-parameters.

    Raises:
        InputError: if the backbone has no square of patches behind a class token.
    """
    detector = AnomalyDINO(build.backbone, settings or AnomalyDINOSettings())
    return OnePerCategory(build.bank.names, build.backbone, lambda _: detector)


RECIPES = {"anomaly-dino": Recipe(build_anomaly_dino, AnomalyDINOSettings(), SEARCHED)}
