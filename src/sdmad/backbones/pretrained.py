"""A checkpoint in the ``transformers`` format: configuration and weights, read and checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.utils import logging as transformers_logging

from sdmad.backbones.files import read_json
from sdmad.backbones.known import (
    Channels,
    Overrides,
    Recognised,
    function,
    joined,
    recognise,
    settle_activation,
)
from sdmad.backbones.processor import input_size, read_preprocessing
from sdmad.backbones.weights import hash_weights, read_tensors
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import ModelError
from sdmad.inputs import bounded

MAX_DEPTH = 512  # blocks of a tower; the deepest published one has 48
MOST_VALUES = 64
TOWERS = ("vision", "text")
SIZES = frozenset(
    {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act"}
    | {"layer_norm_eps", "num_channels", "image_size", "patch_size", "num_patches", "vocab_size"}
    | {"max_position_embeddings", "projection_size", "vision_use_head"}
    | {"bos_token_id", "eos_token_id", "pad_token_id"}
)
"""What is heard of a tower in ``config.json``."""


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint that was read.

    Attributes:
        model: both towers, float32, on the CPU.
        preprocessing: how an image becomes pixel values.
        activation: what the towers run; the image and the text tower's where they differ, with a
            ``/`` between.
        weights_hash: SHA-256 of the weights.
    """

    model: Any
    preprocessing: Preprocessing
    activation: str
    weights_hash: str


def read_pretrained(
    folder: Path,
    model_class: type[PreTrainedModel],
    default: tuple[Channels, Channels],
    image_size: int | None,
    overrides: Overrides,
) -> Pretrained:
    """Read a checkpoint's configuration and weights and settle what was said about them.

    Args:
        folder: the files, checked by :func:`~sdmad.backbones.files.check_files`.
        model_class: a model with ``vision_model`` and ``text_model``.
        default: mean and deviation where neither a file nor anybody else says anything.
        image_size: side of the input in pixels; the checkpoint's own when None.
        overrides: what the user states.

    Raises:
        ModelError: if configuration and weights are unreadable, do not fit together, or
            contradict what is known or stated.
    """
    model = _read_model(folder, model_class)
    weights_hash = hash_weights(model)
    raw = read_json(folder / "config.json")
    known = recognise(folder, raw.get("_name_or_path"))
    try:
        activation = _apply_activation(model, known, overrides)
        size = _image_size(model.config.vision_config, image_size)
        preprocessing = read_preprocessing(folder, size, default, known, overrides)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    return Pretrained(model, preprocessing, activation, weights_hash)


@contextmanager
def quiet() -> Iterator[None]:
    """No log line and no progress bar of ``transformers``; both are as before afterwards."""
    level = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()


def _read_model(folder: Path, model_class: type[PreTrainedModel]) -> Any:
    name = model_class.__name__.removesuffix("Model")
    with quiet(), bounded(f"{folder}: not a readable {name}", ModelError):
        config = _configuration(folder, model_class)
        with torch.device("meta"):
            model = model_class(config)
        wanted = {name: tuple(t.shape) for name, t in model.named_parameters()}
        model.load_state_dict(read_tensors(folder, wanted), strict=False, assign=True)
        _number_positions(model)
    return model


def _configuration(folder: Path, model_class: type[PreTrainedModel]) -> Any:
    """The sizes in ``config.json``; no other key is heard."""
    values = read_json(folder / "config.json")
    parts = {f"{tower}_config": plain_values(values, f"{tower}_config", SIZES) for tower in TOWERS}
    config: Any = model_class.config_class(**parts)
    for tower in (config.vision_config, config.text_config):
        if not 0 < tower.num_hidden_layers <= MAX_DEPTH:
            raise ModelError(
                f"{folder / 'config.json'} asks for {tower.num_hidden_layers} blocks a tower; 1 to "
                f"{MAX_DEPTH} are allowed"
            )
    config._attn_implementation = "sdpa"
    return config


def plain_values(values: Mapping[str, Any], part: str, known: Collection[str]) -> dict[str, Any]:
    """Those of a configuration's values that are known, where they are plain.

    What else stands there names files, packages and code to a library that reads it.

    Args:
        values: of the whole configuration.
        part: the key of the part that is meant; nothing is known of one that is not there.
        known: keys of that part.

    Raises:
        ValueError: if the part is no object, or a value neither a number, a word nor a short list
            of them.
    """
    given = values.get(part, {})
    if not isinstance(given, Mapping):
        raise ValueError(f"{part} must be an object")
    found = {key: given[key] for key in known if key in given}
    for key, value in found.items():
        several = isinstance(value, list) and len(value) <= MOST_VALUES
        for one in value if several else [value]:
            if one is not None and not isinstance(one, bool | int | float | str):
                raise ValueError(f"{part}.{key} must be a number or a word")
    return found


def _number_positions(model: Any) -> None:
    """Give memory to what is no weight: the numbers of the positions, from 0."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name != "position_ids":
                raise ValueError(f"the library keeps {name} beside the weights")
            module.position_ids = torch.arange(buffer.shape[1]).expand(1, -1)


def _apply_activation(model: Any, known: Recognised | None, overrides: Overrides) -> str:
    """Make both towers run the activation that stands, and name it."""
    towers = (
        (model.vision_model, model.config.vision_config),
        (model.text_model, model.config.text_config),
    )
    own = (str(towers[0][1].hidden_act), str(towers[1][1].hidden_act))
    runs = settle_activation(own, known, overrides)
    for (tower, config), value in zip(towers, runs, strict=True):
        if function(config.hidden_act) == function(value):
            continue
        config.hidden_act = value
        for module in tower.modules():
            if hasattr(module, "activation_fn"):
                module.activation_fn = ACT2FN[value]
    return joined(runs)


def _image_size(vision: Any, image_size: int | None) -> int:
    patch = vision.patch_size
    own = getattr(vision, "image_size", None)
    if own is None:  # NaFlex: the grid that its position embeddings were trained for
        own = round(vision.num_patches**0.5) * patch
    if not isinstance(patch, int) or not isinstance(own, int):
        raise ModelError(f"patch_size {patch} and image_size {own}: only squares can be read")
    return input_size(patch, own, image_size)
