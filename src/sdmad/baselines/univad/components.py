"""The components of an image: which patches they cover, and their place in its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.baselines.components.pseudo import Brightness
from sdmad.baselines.univad.clusters import (
    cluster_centres,
    cluster_of_pixels,
    coreset,
    join_masks,
)
from sdmad.baselines.univad.features import Models
from sdmad.baselines.univad.graph import ANGLES, Nodes, geometry_of, masked_crops, passed
from sdmad.baselines.univad.masks import Gate, gate_of
from sdmad.baselines.univad.matching import covered, widened
from sdmad.baselines.univad.settings import UniVADSettings


@dataclass(frozen=True)
class Components:
    """The components of one image.

    Attributes:
        clip: CLIP's patches in each, boolean ``(c, P)``.
        dense: DINOv2's, ``(c, Q)``.
        nodes: in the graph; None where none is there, or the graph is not asked.
    """

    clip: Tensor
    dense: Tensor
    nodes: Nodes | None


class ComponentReader:
    """Finds the components of images, after it has learnt from the references how.

    Args:
        models: frozen.
        settings: what is published.
        brightness: between standardised pixels and channel values.
        grids: CLIP's and DINOv2's patches a side.
        values: channel values of the references, ``(k, 3, H, H)``.
        seed: of the clusters.

    Attributes:
        gate: how images are compared, by the first reference.
        references: the components of each reference; empty in a texture.
    """

    def __init__(
        self,
        models: Models,
        settings: UniVADSettings,
        brightness: Brightness,
        grids: tuple[int, int],
        values: Tensor,
        seed: int,
    ) -> None:
        self.models, self.settings, self.brightness = models, settings, brightness
        self.grids = grids
        models.finder.learn(values)
        masks = [models.finder(image) for image in values]
        self.gate = gate_of(masks[0], settings.whole, settings.few)
        self.centres = self._learn(values, seed) if self.gate is Gate.MULTI else None
        self.references: list[Components] = []
        if self.gate is not Gate.TEXTURE:
            dilation = settings.reference_dilation
            pairs = zip(values, masks, strict=True)
            self.references = [self._components(*pair, dilation) for pair in pairs]

    def __call__(self, values: Tensor) -> Components:
        """The components of one judged image, channel values ``(3, H, H)``."""
        return self._components(values, self.models.finder(values), self.settings.query_dilation)

    def _learn(self, values: Tensor, seed: int) -> Tensor:
        """Centres of the clusters that masks are joined to, ``(c, C)``."""
        patches: Sequence[Tensor] = [self.models.context(one[None]).flatten(0, 2) for one in values]
        taken = torch.cat([coreset(one, self.settings.coreset) for one in patches])
        return cluster_centres(taken, self.settings.clusters, seed)

    def _components(self, values: Tensor, masks: Tensor, dilation: float) -> Components:
        parts = self._joined(values, masks)
        wide = widened(parts, round(dilation * parts.shape[-1]))
        clip, dense = (covered(wide, side) for side in self.grids)
        return Components(clip, dense, self._nodes(values, parts))

    def _joined(self, values: Tensor, masks: Tensor) -> Tensor:
        """All masks as one thing, or joined to clusters: boolean ``(c, H, H)``."""
        if self.centres is None:
            return masks.any(dim=0, keepdim=True)
        patches = self.models.context(values[None])[0]
        cluster = cluster_of_pixels(patches, self.centres, values.shape[-1])
        return join_masks(masks, cluster, len(self.centres))

    def _nodes(self, values: Tensor, parts: Tensor) -> Nodes | None:
        there = parts[parts.flatten(1).any(dim=1)]
        if self.gate is not Gate.MULTI or len(there) == 0:
            return None
        crops = masked_crops(values, there)
        clip = self.models.clip(self.brightness.standardise(crops)).mean
        dense = self.models.dense(crops).flatten(1, 2).mean(dim=1)
        clip, dense = (one.unflatten(0, (-1, ANGLES)).mean(dim=1) for one in (clip, dense))
        geometry = torch.stack([geometry_of(values, part) for part in there])
        return Nodes(passed(clip), passed(dense), normalize(geometry, dim=1))
