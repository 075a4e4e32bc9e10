"""CLIP's two towers in plain torch: quick to import, one matrix product for query, key and value.

Radford et al. 2021, with the names of the weights as ``transformers`` lays them out. The tests hold
both towers to ``transformers``' own outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    embedding,
    gelu,
    interpolate,
    linear,
    normalize,
    scaled_dot_product_attention,
)

from sdmad.backbones.base import Tower
from sdmad.backbones.known import GELU, QUICK_GELU, TANH_GELU

Activation = Callable[[Tensor], Tensor]


def quick_gelu(values: Tensor) -> Tensor:
    """OpenAI's approximation of GELU: ``x * sigmoid(1.702 x)``."""
    return values * torch.sigmoid(1.702 * values)


def tanh_gelu(values: Tensor) -> Tensor:
    """GELU by its tanh approximation."""
    return gelu(values, approximate="tanh")


FUNCTIONS: dict[str, Activation] = {
    QUICK_GELU: quick_gelu,
    GELU: gelu,
    TANH_GELU: tanh_gelu,
}
"""What each of :data:`~sdmad.backbones.known.ACTIVATIONS` computes."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a tower.

    Attributes:
        width: size of a token.
        depth: number of blocks.
        heads: attention heads a block.
        hidden: width of the feed-forward layer.
        dimension: size of an embedding.
        epsilon: of the layer norms.
        activation: a key of :data:`FUNCTIONS`.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    dimension: int
    epsilon: float
    activation: str


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.fc1 = nn.Linear(shape.width, shape.hidden)
        self.fc2 = nn.Linear(shape.hidden, shape.width)
        self.activation = FUNCTIONS[shape.activation]

    def forward(self, hidden: Tensor, causal: bool) -> Tensor:
        """Tokens ``(n, T, W)`` to tokens; ``causal`` hides what comes later."""
        return self.feed_forward(hidden + self._attention(self.norm1(hidden), causal))

    def first_token(self, hidden: Tensor) -> Tensor:
        """The output for the first token alone, ``(n, 1, W)``; it attends to every token."""
        width = hidden.shape[2]
        normed = self.norm1(hidden)
        weight, bias = self.qkv.weight, self.qkv.bias
        query = linear(normed[:, :1], weight[:width], bias[:width])
        both = linear(normed, weight[width:], bias[width:])
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (query, both[:, :, :width], both[:, :, width:])
        )
        mixed = scaled_dot_product_attention(query, key, value)
        first = hidden[:, :1] + self.out(mixed.transpose(1, 2).flatten(2))
        return self.feed_forward(first)

    def value_forward(self, hidden: Tensor) -> Tensor:
        """The block with every token attending to itself alone: tokens to tokens.

        What attention adds to a token is then its own value (Zhou et al., MaskCLIP, ECCV 2022).
        """
        return self.feed_forward(hidden + self.out(self._values(hidden)))

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """The second half of the block, behind attention: tokens ``(n, T, W)`` to tokens."""
        output: Tensor = hidden + self.fc2(self.activation(self.fc1(self.norm2(hidden))))
        return output

    def _values(self, hidden: Tensor) -> Tensor:
        width = hidden.shape[-1]
        weight, bias = self.qkv.weight[2 * width :], self.qkv.bias[2 * width :]
        return linear(self.norm1(hidden), weight, bias)

    def _attention(self, hidden: Tensor, causal: bool) -> Tensor:
        count, length, width = hidden.shape
        parts = self.qkv(hidden).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=causal)
        output: Tensor = self.out(mixed.transpose(1, 2).reshape(count, length, width))
        return output

    def value_attention(self, hidden: Tensor) -> Tensor:
        """What attention would add to tokens ``(n, T, W)`` with the values as query and key.

        A token then mixes with those of like value: v-v attention (Li et al., CLIP Surgery, 2023).
        """
        count, length, width = hidden.shape
        value = self._values(hidden).view(count, length, self.heads, width // self.heads)
        value = value.transpose(1, 2)
        mixed = scaled_dot_product_attention(value, value, value)
        output: Tensor = self.out(mixed.transpose(1, 2).reshape(count, length, width))
        return output


class ImageTransformer(Tower):
    """CLIP's vision transformer; any input size.

    Args:
        shape: sizes.
        stride: side of a patch in pixels.
        grid: patches a side that the position embeddings were trained for.

    Attributes:
        local_values: whether a patch speaks for itself only where the last block lets every token
            attend to itself alone; not where pretraining taught the patches (``docs/maps.md``).
    """

    local_values = True

    def __init__(self, shape: Shape, stride: int, grid: int) -> None:
        super().__init__()
        self.depth, self.widths, self.grid = shape.depth, (shape.width,) * shape.depth, grid
        self.stride = stride
        self.patch = self.embedding(shape.width, stride)
        self.class_token = nn.Parameter(torch.empty(shape.width))
        self.position = nn.Parameter(torch.empty(grid * grid + 1, shape.width))
        self.norm_before = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.depth)])
        self.norm_after = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.projection = nn.Linear(shape.width, shape.dimension, bias=False)

    def embedding(self, width: int, stride: int) -> nn.Module:
        """What makes a patch a token."""
        return nn.Conv2d(3, width, stride, stride, bias=False)

    def patches(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Patch tokens ``(n, W, h, w)`` without positions, and the state beside them."""
        return self.patch(inputs), None

    def embed(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Patch tokens with position embeddings, resized bicubically to the input's size."""
        patches, state = self.patches(inputs)
        return self.arrange(patches), state

    def arrange(self, patches: Tensor) -> Tensor:
        """Patch tokens ``(n, W, h, w)`` to a sequence behind the class token, with positions."""
        tokens = patches.flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(tokens), 1, -1)
        tokens = torch.cat([first, tokens], dim=1) + self.positions(*patches.shape[-2:])
        output: Tensor = self.norm_before(tokens)
        return output

    def positions(self, height: int, width: int) -> Tensor:
        """Position embeddings of a grid of patches, the class token's first: ``(1 + h w, W)``."""
        if height == width == self.grid:
            return self.position
        grid = self.position[1:].float().T.reshape(1, -1, self.grid, self.grid)
        resized = interpolate(grid, (height, width), mode="bicubic", align_corners=False)
        return torch.cat([self.position[:1], resized.flatten(2)[0].T.to(self.position.dtype)])

    def block(self, index: int, hidden: Tensor, state: Tensor | None) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(n, T, W)``."""
        del state
        output: Tensor = self.blocks[index - 1](hidden, causal=False)
        return output

    def last_block(self, hidden: Tensor, state: Tensor | None) -> Tensor:
        """Run the last block for the class token alone, ``(n, 1, W)``: pooling reads no other."""
        del state
        block = self.blocks[-1]
        assert isinstance(block, Block)
        return block.first_token(hidden)

    def value_attention(self, index: int, hidden: Tensor) -> Tensor:
        """What v-v attention of block ``index``, counted from 1, adds to tokens ``(n, T, W)``."""
        block = self.blocks[index - 1]
        assert isinstance(block, Block)
        return block.value_attention(hidden)

    def value_block(self, index: int, hidden: Tensor) -> Tensor:
        """Run block ``index``, counted from 1, with every token attending to itself alone."""
        block = self.blocks[index - 1]
        assert isinstance(block, Block)
        return block.value_forward(hidden)

    def project(self, hidden: Tensor) -> Tensor:
        """Final norm and projection of any tokens: ``(..., D)``, float32, of any length."""
        output: Tensor = self.projection(self.norm_after(hidden)).float()
        return output

    def pool(self, hidden: Tensor, state: Tensor | None) -> Tensor:
        """Class token, final norm, projection, unit length: ``(n, D)``, float32."""
        del state  # the class token always comes first
        return normalize(self.project(hidden[:, 0]), dim=-1)

    def evidence(self, hidden: Tensor, state: Tensor | None) -> Tensor:
        """Class token, mean and largest patch token before the projection: ``(n, 3 W)``, float32.

        Each part has the same length, all together length 1. CLIP's own linear probe reads the
        class token here (Radford et al. 2021).
        """
        return unit_parts(self.known(hidden, state))

    @property
    def evidence_parts(self) -> tuple[int, ...]:
        """Sizes of the parts that the evidence is made of."""
        return (self.widths[-1],) * 3

    def known(self, hidden: Tensor, state: Tensor | None) -> list[Tensor]:
        """The parts of the evidence, ``(n, E)`` each, of any length."""
        del state
        tokens = self.norm_after(hidden).float()
        return [tokens[:, 0], tokens[:, 1:].mean(dim=1), tokens[:, 1:].amax(dim=1)]


def unit_parts(parts: Sequence[Tensor]) -> Tensor:
    """Features ``(n, E)`` of parts that weigh the same: each of one length, all of length 1.

    >>> unit_parts([torch.tensor([[3.0, 4.0]]), torch.tensor([[0.1]])]).square()
    tensor([[0.1800, 0.3200, 0.5000]])
    """
    return torch.cat([normalize(part, dim=-1) for part in parts], dim=-1) / len(parts) ** 0.5


@dataclass(frozen=True)
class TextState:
    """The place of each end-of-text token, ``(S,)``."""

    end: Tensor

    def __getitem__(self, rows: slice) -> TextState:
        """The state of some of the sentences."""
        return TextState(self.end[rows])


class TextTransformer(Tower):
    """CLIP's causal text transformer.

    Args:
        shape: sizes.
        vocabulary: number of tokens.
        context: longest sentence in tokens.
        end_token: number of the end-of-text token; None takes the largest number of a sentence,
            as OpenAI's configurations mean it.
    """

    def __init__(self, shape: Shape, vocabulary: int, context: int, end_token: int | None) -> None:
        super().__init__()
        self.depth, self.widths, self.end_token = (
            shape.depth,
            (shape.width,) * shape.depth,
            end_token,
        )
        self.token = nn.Parameter(torch.empty(vocabulary, shape.width))
        self.position = nn.Parameter(torch.empty(context, shape.width))
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.depth)])
        self.norm_after = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.projection = nn.Linear(shape.width, shape.dimension, bias=False)

    def embed(self, inputs: Tensor) -> tuple[Tensor, TextState]:
        """Token and position embeddings of token ids ``(S, T)``."""
        return self.embed_tokens(self.token_embeddings(inputs), inputs)

    def token_embeddings(self, inputs: Tensor) -> Tensor:
        """The tower's own embeddings of token ids ``(S, T)``, without positions: ``(S, T, W)``."""
        return embedding(inputs, self.token)

    def embed_tokens(self, tokens: Tensor, inputs: Tensor) -> tuple[Tensor, TextState]:
        """Add positions to token embeddings ``(S, T, W)``; the ids say where sentences end."""
        ends = inputs if self.end_token is None else (inputs == self.end_token).int()
        return tokens + self.position[: inputs.shape[1]], TextState(ends.argmax(dim=1))

    def block(self, index: int, hidden: Tensor, state: TextState) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(S, T, W)``; causal, as trained."""
        del state
        output: Tensor = self.blocks[index - 1](hidden, causal=True)
        return output

    def pool(self, hidden: Tensor, state: TextState) -> Tensor:
        """Final norm and projection of the end-of-text token, unit length: ``(S, D)``, float32."""
        rows = torch.arange(len(hidden), device=hidden.device)
        last = self.norm_after(hidden[rows, state.end])
        return normalize(self.projection(last).float(), dim=-1)


_BLOCK = {
    "norm1": "layer_norm1",
    "out": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
_IMAGE = {
    "patch.weight": "vision_model.embeddings.patch_embedding.weight",
    "class_token": "vision_model.embeddings.class_embedding",
    "position": "vision_model.embeddings.position_embedding.weight",
    "norm_before.weight": "vision_model.pre_layrnorm.weight",
    "norm_before.bias": "vision_model.pre_layrnorm.bias",
    "norm_after.weight": "vision_model.post_layernorm.weight",
    "norm_after.bias": "vision_model.post_layernorm.bias",
    "projection.weight": "visual_projection.weight",
}
_TEXT = {
    "token": "text_model.embeddings.token_embedding.weight",
    "position": "text_model.embeddings.position_embedding.weight",
    "norm_after.weight": "text_model.final_layer_norm.weight",
    "norm_after.bias": "text_model.final_layer_norm.bias",
    "projection.weight": "text_projection.weight",
}


def weight_names(tower: ImageTransformer | TextTransformer) -> dict[str, tuple[str, ...]]:
    """Which tensors of a ``transformers`` checkpoint make each parameter, joined in this order."""
    is_image = isinstance(tower, ImageTransformer)
    names: dict[str, tuple[str, ...]] = {
        own: (theirs,) for own, theirs in (_IMAGE if is_image else _TEXT).items()
    }
    layers = f"{'vision' if is_image else 'text'}_model.encoder.layers"
    for i in range(tower.depth):
        for kind in ("weight", "bias"):
            for own, theirs in _BLOCK.items():
                names[f"blocks.{i}.{own}.{kind}"] = (f"{layers}.{i}.{theirs}.{kind}",)
            names[f"blocks.{i}.qkv.{kind}"] = tuple(
                f"{layers}.{i}.self_attn.{part}_proj.{kind}" for part in ("q", "k", "v")
            )
    return names


def fill_tower(
    tower: ImageTransformer | TextTransformer, tensors: Mapping[str, Tensor], activation: str
) -> None:
    """Fill a tower with a checkpoint's tensors.

    Args:
        tower: built on the meta device or not; its parameters are replaced.
        tensors: of a ``transformers`` CLIP checkpoint, by name; checked beforehand.
        activation: a key of :data:`FUNCTIONS`, for every block.
    """
    state = {
        own: torch.cat([tensors[name] for name in theirs])
        if len(theirs) > 1
        else tensors[theirs[0]]
        for own, theirs in weight_names(tower).items()
    }
    tower.load_state_dict(state, assign=True)
    for module in tower.modules():
        if isinstance(module, Block):
            module.activation = FUNCTIONS[activation]
