"""The towers of open_clip's models, block by block.

open_clip itself is imported by :func:`image_tower` and :func:`text_tower` only: this module can be
imported without the extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize
from transformers import BertModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from sdmad.backbones.base import Tower
from sdmad.backbones.bert import attention_mask
from sdmad.errors import ModelError

SUPPORTED = (
    "supported are open_clip's vision transformers, timm's vision transformers and ConvNeXts; "
    "open_clip's text transformers and BERT"
)


def image_tower(visual: Any) -> ImageTower:
    """The image tower of an open_clip model.

    Args:
        visual: ``model.visual``.

    Raises:
        ModelError: if it is of a kind whose blocks cannot be run one by one here.
    """
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    vit = import_module("timm.models.vision_transformer").VisionTransformer
    patches = import_module("timm.layers").PatchEmbed
    convnext = import_module("timm.models.convnext").ConvNeXt
    kind = type(visual).__name__
    if isinstance(visual, VisionTransformer):
        if visual.attn_pool is None and visual.pool_type in ("tok", "avg"):
            return VisionTower(visual)
        kind += " with an attentional pooling"
    elif isinstance(visual, TimmModel):
        trunk = visual.trunk
        if type(trunk) is convnext:
            return ConvNeXtTower(visual)
        if (
            type(trunk) is vit
            and type(trunk.patch_embed) is patches
            and trunk.pos_embed is not None
        ):
            return TimmTower(visual)
        kind = f"{type(trunk).__name__} of timm"
    raise ModelError(f"the image tower is a {kind}; {SUPPORTED}")


def text_tower(model: Any) -> TextTower | BertTower:
    """The text tower of an open_clip model.

    Raises:
        ModelError: if it is of a kind whose blocks cannot be run one by one here.
    """
    from open_clip.hf_model import HFTextEncoder
    from open_clip.model import CLIP
    from open_clip.transformer import TextTransformer

    if isinstance(model, CLIP):
        return TextTower(model, model.text_pool_type, model.text_eos_id)
    text = model.text
    kind = type(text).__name__
    if isinstance(text, TextTransformer):
        if text.cls_emb is None and not text.use_pad_mask:
            return TextTower(text, text.pool_type, text.eos_id)
        kind += " with a class token or masked padding"
    elif isinstance(text, HFTextEncoder):
        if isinstance(text.transformer, BertModel) and type(text.pooler).__name__ in POOLERS:
            return BertTower(text)
        kind = f"{type(text.transformer).__name__} with {type(text.pooler).__name__}"
    raise ModelError(f"the text tower is a {kind}; {SUPPORTED}")


def resize_positions(
    positions: Tensor, prefix: int, old: tuple[int, int], new: tuple[int, int]
) -> Tensor:
    """Position embeddings for another grid: bicubic with antialiasing, as open_clip and timm do.

    Args:
        positions: embeddings ``(prefix + old height x width, W)``.
        prefix: tokens before the patches, whose embeddings are kept.
        old: height and width of the grid in patches.
        new: those wanted.
    """
    if old == new:
        return positions
    patches = positions[prefix:].reshape(1, *old, -1).permute(0, 3, 1, 2)
    patches = interpolate(patches, size=new, mode="bicubic", antialias=True, align_corners=False)
    patches = patches.permute(0, 2, 3, 1).reshape(new[0] * new[1], -1)
    return torch.cat([positions[:prefix], patches])


class ImageTower(Tower):
    """An image tower.

    Attributes:
        patch: the least input in pixels.
    """

    patch: int


class VisionTower(ImageTower):
    """open_clip's own vision transformer; any input size."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        self.depth = len(self.visual.transformer.resblocks)
        self.widths = (self.visual.transformer.width,) * self.depth
        self.patch = max(self.visual.patch_size)

    def embed(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Class and patch tokens with position embeddings, resized to the input's grid."""
        visual = self.visual
        patches = visual.conv1(inputs)
        grid = (patches.shape[2], patches.shape[3])
        tokens = patches.flatten(2).transpose(1, 2)
        start = visual.class_embedding.expand(len(tokens), 1, -1)
        positions = resize_positions(visual.positional_embedding, 1, visual.grid_size, grid)
        return visual.ln_pre(torch.cat([start, tokens], dim=1) + positions), None

    def block(self, index: int, hidden: Tensor, state: None) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(n, T, W)``."""
        del state
        output: Tensor = self.visual.transformer.resblocks[index - 1](hidden)
        return output

    def pool(self, hidden: Tensor, state: None) -> Tensor:
        """Class token or mean of the patches, norm, projection, unit length: ``(n, D)``."""
        del state
        visual = self.visual
        if not visual.final_ln_after_pool:
            hidden = visual.ln_post(hidden)
        pooled = hidden[:, 0] if visual.pool_type == "tok" else hidden[:, 1:].mean(dim=1)
        if visual.final_ln_after_pool:
            pooled = visual.ln_post(pooled)
        return normalize(pooled if visual.proj is None else pooled @ visual.proj, dim=-1)


class TimmTower(ImageTower):
    """timm's vision transformer under open_clip's projection; any input size."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        self.depth = len(self.visual.trunk.blocks)
        self.widths = (self.visual.trunk.embed_dim,) * self.depth
        self.patch = max(self.visual.trunk.patch_embed.patch_size)

    def embed(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Prefix and patch tokens with position embeddings, resized to the input's grid."""
        trunk = self.visual.trunk
        patches = trunk.patch_embed.proj(inputs)
        grid = (patches.shape[2], patches.shape[3])
        tokens = trunk.patch_embed.norm(patches.flatten(2).transpose(1, 2))
        start = [part for part in (trunk.cls_token, trunk.reg_token) if part is not None]
        prefix = 0 if trunk.no_embed_class else trunk.num_prefix_tokens
        old = trunk.patch_embed.grid_size
        positions = resize_positions(trunk.pos_embed[0], prefix, old, grid)
        if trunk.no_embed_class:
            tokens = tokens + positions
        tokens = torch.cat([*(part.expand(len(tokens), -1, -1) for part in start), tokens], dim=1)
        if not trunk.no_embed_class:
            tokens = tokens + positions
        return trunk.norm_pre(tokens), None

    def block(self, index: int, hidden: Tensor, state: None) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(n, T, W)``."""
        del state
        output: Tensor = self.visual.trunk.blocks[index - 1](hidden)
        return output

    def pool(self, hidden: Tensor, state: None) -> Tensor:
        """Norm, timm's pooling, open_clip's projection, unit length: ``(n, D)``."""
        del state
        trunk = self.visual.trunk
        return normalize(self.visual.head(trunk.forward_head(trunk.norm(hidden))), dim=-1)


class ConvNeXtTower(ImageTower):
    """timm's ConvNeXt by stage: ``depth`` counts stages; a token is a place of the feature map."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        trunk = self.visual.trunk
        self.depth = len(trunk.stages)
        self.widths = tuple(stage["num_chs"] for stage in trunk.feature_info)
        self.patch = max(stage["reduction"] for stage in trunk.feature_info)

    def embed(self, inputs: Tensor) -> tuple[Tensor, tuple[tuple[int, int], ...]]:
        """The stem's output as tokens; the feature map's size before each stage and at the end."""
        features = self.visual.trunk.stem(inputs)
        grids = [(features.shape[2], features.shape[3])]
        for stage in self.visual.trunk.stages:
            height, width = grids[-1]
            for conv in stage.downsample.modules():
                if isinstance(conv, nn.Conv2d):
                    height = (height - conv.kernel_size[0]) // conv.stride[0] + 1
                    width = (width - conv.kernel_size[1]) // conv.stride[1] + 1
            grids.append((height, width))
        return features.flatten(2).transpose(1, 2), tuple(grids)

    def block(self, index: int, hidden: Tensor, state: tuple[tuple[int, int], ...]) -> Tensor:
        """Run stage ``index``, counted from 1, on tokens ``(n, T, W)``."""
        features: Tensor = self.visual.trunk.stages[index - 1](_map(hidden, state[index - 1]))
        return features.flatten(2).transpose(1, 2)

    def pool(self, hidden: Tensor, state: tuple[tuple[int, int], ...]) -> Tensor:
        """Pooling of timm, projection of open_clip, unit length: ``(n, D)``."""
        trunk = self.visual.trunk
        last = trunk.norm_pre(_map(hidden, state[-1]))
        return normalize(self.visual.head(trunk.forward_head(last)), dim=-1)


def _map(hidden: Tensor, grid: tuple[int, int]) -> Tensor:
    return hidden.transpose(1, 2).unflatten(2, grid)


@dataclass(frozen=True)
class TextState:
    """The attention mask, the same for all sentences, and the pooled token of each ``(S,)``."""

    mask: Tensor | None
    end: Tensor

    def __getitem__(self, rows: slice) -> TextState:
        """The state of some of the sentences."""
        return TextState(self.mask, self.end[rows])


class TextTower(Tower):
    """open_clip's own text transformer, of a CLIP or standing alone."""

    mask: Tensor | None

    def __init__(self, text: Any, pooling: str, end_token: int) -> None:
        super().__init__()
        if pooling not in ("argmax", "eos", "first", "last"):
            raise ModelError(f"the text tower pools by {pooling!r}; {SUPPORTED}")
        self.tokens: Any = text.token_embedding
        self.transformer: Any = text.transformer
        self.norm: Any = text.ln_final
        self.positions: Any = text.positional_embedding
        self.projection: Any = text.text_projection
        self.register_buffer("mask", text.attn_mask, persistent=False)
        self.pooling, self.end_token = pooling, end_token
        self.depth = len(self.transformer.resblocks)
        self.widths = (self.transformer.width,) * self.depth

    def ends(self, inputs: Tensor) -> Tensor:
        """Which token of each sentence is pooled, ``(S,)``."""
        if self.pooling == "argmax":
            return inputs.argmax(dim=1)
        if self.pooling == "eos":
            return (inputs == self.end_token).int().argmax(dim=1)
        place = 0 if self.pooling == "first" else inputs.shape[1] - 1
        return torch.full((len(inputs),), place, device=inputs.device)

    def trim(self, inputs: Tensor) -> Tensor:
        """Drop the padding that changes nothing: where no token sees those behind it."""
        if self.mask is None or self.pooling not in ("argmax", "eos"):
            return inputs
        return inputs[:, : int(self.ends(inputs).max()) + 1]

    def embed(self, inputs: Tensor) -> tuple[Tensor, TextState]:
        """Token and position embeddings."""
        length = inputs.shape[1]
        mask = None if self.mask is None else self.mask[:length, :length]
        return self.tokens(inputs) + self.positions[:length], TextState(mask, self.ends(inputs))

    def block(self, index: int, hidden: Tensor, state: TextState) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(S, T, W)``."""
        output: Tensor = self.transformer.resblocks[index - 1](hidden, attn_mask=state.mask)
        return output

    def pool(self, hidden: Tensor, state: TextState) -> Tensor:
        """Final norm and projection of one token, unit length: ``(S, D)``."""
        rows = torch.arange(len(hidden), device=hidden.device)
        last = self.norm(hidden[rows, state.end])
        if isinstance(self.projection, nn.Linear):
            last = self.projection(last)
        elif self.projection is not None:
            last = last @ self.projection
        return normalize(last, dim=-1)


POOLERS = ("ClsPooler", "ClsLastHiddenStatePooler", "MeanPooler")


class BertTower(Tower):
    """A ``transformers`` BERT under open_clip's pooling and projection."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text: Any = text
        self.bert: Any = text.transformer
        self.depth = len(self.bert.encoder.layer)
        self.widths = (self.bert.config.hidden_size,) * self.depth
        self.pad: int = self.bert.config.pad_token_id

    def trim(self, inputs: Tensor) -> Tensor:
        """Drop padding behind the longest sentence; it is masked."""
        return inputs[:, : int(inputs.ne(self.pad).sum(dim=1).max())]

    def embed(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Token, position and segment embeddings, and which tokens are real ``(S, T)``."""
        return self.bert.embeddings(input_ids=inputs), inputs.ne(self.pad)

    def block(self, index: int, hidden: Tensor, state: Tensor) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(S, T, W)``."""
        output: Tensor = self.bert.encoder.layer[index - 1](hidden, attention_mask(state))
        return output

    def pool(self, hidden: Tensor, state: Tensor) -> Tensor:
        """open_clip's pooling and projection, unit length: ``(S, D)``."""
        first = None if self.bert.pooler is None else self.bert.pooler(hidden)
        output = BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=first)
        return normalize(self.text.proj(self.text.pooler(output, state.long())), dim=-1)
