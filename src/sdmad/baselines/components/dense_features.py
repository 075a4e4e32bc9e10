"""Patch features of CLIP in the joint space by v-v attention, as AnomalyCLIP and AA-CLIP take them.

Li et al., CLIP Surgery, 2023: beside the tower's own path runs a second one, which collects what
v-v attention adds in the last blocks, without their feed-forward layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sdmad.backbones import Backbone
from sdmad.backbones.transformer import ImageTransformer, TextTransformer
from sdmad.errors import InputError
from sdmad.method.adapters import PAPER_DEPTH

BATCH = 16


class DenseFeatures(NamedTuple):
    """Of n images: the last block's class token ``(n, W)``, and the patches behind some blocks.

    The patches are normed and projected, of any length: one ``(n, P, D)`` a block.
    """

    class_token: Tensor
    patches: list[Tensor]


def plain_towers(backbone: Backbone, system: str) -> tuple[ImageTransformer, TextTransformer]:
    """The towers, if a system may reach into their blocks.

    Raises:
        InputError: if they are not CLIP's in plain torch.
    """
    image, text = backbone.image, backbone.text
    if not isinstance(image, ImageTransformer) or not isinstance(text, TextTransformer):
        raise InputError(
            f"{system} reaches into the blocks of CLIP's towers, which is possible with CLIPs in "
            f"the transformers format only, not with {backbone.name}"
        )
    return image, text


def share_of_blocks(depth: int, blocks: int, of: int = PAPER_DEPTH) -> int:
    """The same share of another tower's blocks, rounded half up, at least one.

    >>> share_of_blocks(24, 19), share_of_blocks(6, 19), share_of_blocks(4, 9, of=12)
    (19, 5, 3)

    Args:
        depth: blocks of the tower.
        blocks: number of blocks that is published.
        of: depth of the tower for which it is.
    """
    return max(1, int(blocks * depth / of + 0.5))


@torch.no_grad()
def dense_features(
    tower: ImageTransformer, pixels: Tensor, last: int, blocks: Sequence[int]
) -> DenseFeatures:
    """Run an image tower with the second path.

    Args:
        tower: the frozen tower.
        pixels: ``(n, 3, H, W)``.
        last: how many of the last blocks have v-v attention.
        blocks: numbers of the blocks, counted from 1, behind which patches are taken; before the
            second path begins they are the tower's own.
    """
    found = [_dense_batch(tower, batch, last, blocks) for batch in pixels.split(BATCH)]
    patches = zip(*(part.patches for part in found), strict=True)
    return DenseFeatures(
        torch.cat([part.class_token for part in found]), [torch.cat(level) for level in patches]
    )


def _dense_batch(
    tower: ImageTransformer, pixels: Tensor, last: int, blocks: Sequence[int]
) -> DenseFeatures:
    hidden, state = tower.embed(pixels)
    local, patches = hidden, []
    for index in range(1, tower.depth + 1):
        after = tower.block(index, hidden, state)
        second = index > tower.depth - last
        local = local + tower.value_attention(index, hidden) if second else after
        hidden = after
        if index in blocks:
            patches.append(tower.project(local[:, 1:]))
    return DenseFeatures(hidden[:, 0], patches)
