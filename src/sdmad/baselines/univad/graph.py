"""UniVAD's graph-enhanced component modelling: is a component like those of the references?

The components of an image are the nodes of a graph; each takes in what is like it, and is compared
with the references' by its features and by its geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

ANGLES = 4
"""Quarters of a turn at which a component is read."""
GREY = 128
"""Of both colour channels of CIE Lab as 8-bit numbers."""
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
"""Linear sRGB to CIE XYZ under D65."""
FEATURES = ("clip", "dense", "geometry")


@dataclass(frozen=True)
class Nodes:
    """Components of one image or several, unit-length vectors.

    Attributes:
        clip: mean CLIP token, after the graph, ``(m, W)``.
        dense: mean DINOv2 token, after the graph, ``(m, C)``.
        geometry: area, colour and place, ``(m, 4)``.
    """

    clip: Tensor
    dense: Tensor
    geometry: Tensor

    @classmethod
    def together(cls, parts: Sequence[Nodes]) -> Nodes:
        """The nodes of several images."""
        return cls(*(torch.cat([getattr(one, name) for one in parts]) for name in FEATURES))


def passed(features: Tensor) -> Tensor:
    """Pass features once along the graph: each node becomes a mean, weighted by cosines.

    A negative cosine is no edge.

    >>> passed(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Args:
        features: of one image's components, ``(m, W)``.

    Returns:
        Unit length, ``(m, W)``.
    """
    unit = normalize(features, dim=1)
    edges = (unit @ unit.T).clamp(min=0)
    return normalize(edges / edges.sum(dim=1, keepdim=True) @ unit, dim=1)


def masked_crops(values: Tensor, masks: Tensor) -> Tensor:
    """Each component alone on black, cut out, as large as the image, at four angles.

    Args:
        values: channel values, ``(3, H, H)``.
        masks: boolean ``(m, H, H)``, each with a pixel.

    Returns:
        ``(4 m, 3, H, H)``, the angles of a component one after the other.
    """
    found = []
    for mask in masks:
        left, top, right, bottom = box_of(mask)
        part = (values * mask)[:, top:bottom, left:right]
        wide = interpolate(part[None], values.shape[-2:], mode="bilinear")[0]
        found += [torch.rot90(wide, turn, (1, 2)) for turn in range(ANGLES)]
    return torch.stack(found)


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a mask ``(H, W)`` with a pixel; the last two lie outside."""
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def geometry_of(values: Tensor, mask: Tensor) -> Tensor:
    """Area, squared ratio of the colours, and the box's centre, ``(4,)``.

    Area and centre are shares of the image. The ratio is that of the mean b to the mean a of CIE
    Lab as 8-bit numbers, which is 1 in grey images.

    Args:
        values: channel values, ``(3, H, W)``.
        mask: boolean ``(H, W)``, with a pixel.
    """
    left, top, right, bottom = box_of(mask)
    height, width = mask.shape
    a, b = (lab_colours(values[:, mask]).mean(dim=1) + GREY).clamp(min=1)
    centre = values.new_tensor([(left + right) / 2 / width, (top + bottom) / 2 / height])
    return torch.cat([torch.stack([mask.float().mean(), (b / a) ** 2]), centre])


def lab_colours(values: Tensor) -> Tensor:
    """A and b of CIE Lab, ``(2, n)``, of sRGB values ``(3, n)`` in [0, 1]."""
    values = values.clamp(0, 1)
    linear = torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    matrix = values.new_tensor(TO_XYZ)
    xyz = (matrix @ linear) / matrix.sum(dim=1, keepdim=True)  # white is 1, 1, 1
    root = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def structure_distance(nodes: Nodes, references: Nodes) -> Tensor:
    """How unlike the references' the most unlike component is, a scalar, 0 or more.

    Of each component, one minus the largest cosine of CLIP's, DINOv2's and the geometry's
    vectors, added.

    Args:
        nodes: of an image, one or more.
        references: of all references, one or more.
    """
    parts = [
        1 - (getattr(nodes, name) @ getattr(references, name).T).amax(dim=1) for name in FEATURES
    ]
    return torch.stack(parts).sum(dim=0).amax()
