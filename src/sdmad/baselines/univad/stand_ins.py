"""What stands in for UniVAD's models on the embedded backbone, whose trunk has seen ImageNet.

The trunk's features take the place of DINOv2's and DINO's; things are told from the background by
two clusters of them, in the place of Grounding DINO and SAM-HQ.
"""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate, layer_norm, normalize

from sdmad.backbones import Backbone
from sdmad.backbones.lite import TrunkTransformer
from sdmad.baselines.components.pseudo import Brightness
from sdmad.baselines.univad.clusters import cluster_centres
from sdmad.baselines.univad.features import PatchReader
from sdmad.baselines.univad.masks import large_enough
from sdmad.errors import InputError

LEAST = 0.01
"""Share of the image that a thing must exceed: a place of the maps is as large as 0.001."""


class TrunkPatches:
    """The places of the embedded backbone's maps at stride 8.

    Each is brought to mean 0 before it is brought to one length.

    Args:
        backbone: the embedded one, or another that ``python -m pretraining`` made.

    Raises:
        InputError: if it is another.
    """

    def __init__(self, backbone: Backbone) -> None:
        tower = backbone.image
        if not isinstance(tower, TrunkTransformer):
            raise InputError(
                "univad-embedded reads the trunk of the embedded backbone, which "
                f"{backbone.name} lacks; on other backbones there is univad"
            )
        self.tower, preprocessing = tower, backbone.preprocessing
        self.brightness = Brightness(preprocessing.mean, preprocessing.std)

    @torch.no_grad()
    def __call__(self, values: Tensor) -> Tensor:
        """Unit-length patches ``(n, h, h, C)`` of channel values ``(n, 3, H, H)`` in [0, 1]."""
        maps = self.tower.trunk_features(self.brightness.standardise(values))[0]
        places = maps.permute(0, 2, 3, 1)
        return normalize(layer_norm(places, places.shape[-1:]), dim=-1)


class ClusteredMasks:
    """Connected areas of what is not background, by two clusters of the normal images' patches.

    The background is the cluster that most places at the normal images' edges belong to.

    Args:
        reader: of patches.
        seed: of the clusters.

    Attributes:
        centres_: unit length, ``(2, C)``.
        thing_: number of the cluster that is not background.
    """

    def __init__(self, reader: PatchReader, seed: int) -> None:
        self.reader, self.seed = reader, seed
        self.centres_, self.thing_ = torch.zeros(2, 1), 1

    def learn(self, values: Tensor) -> None:
        """Look at the normal images, channel values ``(n, 3, H, H)`` in [0, 1]."""
        patches = self.reader(values)
        self.centres_ = cluster_centres(patches.flatten(0, 2), 2, self.seed)
        cluster = (patches @ self.centres_.T).argmax(dim=-1)
        rows, columns = cluster[:, [0, -1]], cluster[:, 1:-1, [0, -1]]
        edges = torch.cat([rows.flatten(), columns.flatten()])
        self.thing_ = 1 - int(edges.float().mean() > 0.5)

    def __call__(self, values: Tensor) -> Tensor:
        """Masks ``(m, H, H)``, boolean, of one image's channel values ``(3, H, H)``."""
        cluster = (self.reader(values[None])[0] @ self.centres_.T).argmax(dim=-1)
        areas, count = ndimage.label((cluster == self.thing_).cpu().numpy())
        numbers = torch.arange(1, count + 1)[:, None, None]
        places = (torch.from_numpy(areas)[None] == numbers).to(values.device)
        wide = interpolate(places[:, None].float(), values.shape[-2:], mode="nearest")[:, 0] > 0
        return large_enough(wide, LEAST)
