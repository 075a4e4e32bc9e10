"""``config.json`` of a CLIP in the ``transformers`` format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdmad.backbones.files import read_json
from sdmad.backbones.known import ACTIVATIONS, function
from sdmad.backbones.transformer import Shape
from sdmad.errors import ModelError

MAX_DEPTH = 512  # blocks of a tower; the deepest published one has 48
MAX_SIZE = 1 << 20
# OpenAI's configurations say so; their end-of-text token is the last of the vocabulary.
LEGACY_END_TOKEN = 2
# What a configuration leaves out has these values (transformers' CLIPVisionConfig, CLIPTextConfig).
VISION: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "image_size": 224, "patch_size": 32,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_channels": 3,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5, "eos_token_id": 49407,
}  # fmt: skip


@dataclass(frozen=True)
class CLIPConfiguration:
    """Sizes of both towers.

    Attributes:
        image: the image tower's.
        patch: side of a patch in pixels.
        image_size: side of the input that the position embeddings were trained for.
        text: the text tower's.
        vocabulary: number of tokens.
        context: longest sentence in tokens.
        end_token: ``eos_token_id``.
        started_from: ``_name_or_path``, or None.
    """

    image: Shape
    patch: int
    image_size: int
    text: Shape
    vocabulary: int
    context: int
    end_token: int
    started_from: object


def read_configuration(folder: Path) -> CLIPConfiguration:
    """Read ``config.json``.

    Raises:
        ModelError: naming the value that is missing or out of range.
    """
    path = folder / "config.json"
    content = read_json(path)
    dimension = content.get("projection_dim", 512)
    vision, text = _part(path, content, "vision", VISION), _part(path, content, "text", TEXT)
    if vision["num_channels"] != 3:
        raise ModelError(f"{path}: {vision['num_channels']} channels; only 3 can be read")
    sizes = {
        "patch_size": vision["patch_size"],
        "image_size": vision["image_size"],
        "vocab_size": text["vocab_size"],
        "max_position_embeddings": text["max_position_embeddings"],
        "projection_dim": dimension,
    }
    for name, value in sizes.items():
        _whole(path, name, value)
    if not isinstance(text["eos_token_id"], int):
        raise ModelError(f"{path}: eos_token_id must be a number, got {text['eos_token_id']!r}")
    return CLIPConfiguration(
        _shape(path, "vision_config", vision, sizes["projection_dim"]),
        vision["patch_size"],
        vision["image_size"],
        _shape(path, "text_config", text, sizes["projection_dim"]),
        text["vocab_size"],
        text["max_position_embeddings"],
        text["eos_token_id"],
        content.get("_name_or_path"),
    )


def _part(
    path: Path, content: Mapping[str, Any], tower: str, default: Mapping[str, Any]
) -> dict[str, Any]:
    """A tower's values: the defaults, ``*_config``, then ``*_config_dict`` of older files."""
    values = dict(default)
    for name in (f"{tower}_config", f"{tower}_config_dict"):
        given = content.get(name)
        if given is None:
            continue
        if not isinstance(given, dict):
            raise ModelError(f"{path}: {name} must be an object")
        values |= {key: value for key, value in given.items() if value is not None}
    return values


def _whole(path: Path, name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_SIZE:
        raise ModelError(
            f"{path}: {name} must be a whole number from 1 to {MAX_SIZE}, got {value!r}"
        )
    return value


def _shape(path: Path, part: str, values: Mapping[str, Any], dimension: object) -> Shape:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    width, depth, heads, hidden = (_whole(path, f"{part}.{name}", values[name]) for name in names)
    if depth > MAX_DEPTH:
        raise ModelError(f"{path} asks for {depth} blocks a tower; 1 to {MAX_DEPTH} are allowed")
    if width % heads:
        raise ModelError(f"{path}: {part}: {heads} heads do not divide a width of {width}")
    epsilon = values["layer_norm_eps"]
    if not isinstance(epsilon, float | int) or not 0 < epsilon < 1:
        raise ModelError(f"{path}: {part}.layer_norm_eps must lie in (0, 1), got {epsilon!r}")
    activation = values["hidden_act"]
    if not isinstance(activation, str) or function(activation) not in ACTIVATIONS:
        raise ModelError(
            f"{path}: {part}.hidden_act must be one of {', '.join(ACTIVATIONS)}, got {activation!r}"
        )
    return Shape(
        width, depth, heads, hidden, _whole(path, "projection_dim", dimension), float(epsilon),
        function(activation),
    )  # fmt: skip
