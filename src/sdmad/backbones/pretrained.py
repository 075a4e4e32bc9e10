"""A checkpoint in the ``transformers`` format: configuration and weights, read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.utils import logging as transformers_logging

from sdmad.backbones.files import check_room, read_json, weight_files
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
from sdmad.backbones.weights import check_weights, hash_weights
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import ModelError
from sdmad.inputs import bounded

MAX_DEPTH = 512  # blocks of a tower; the deepest published one has 48


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
        config = model_class.config_class.from_pretrained(folder, local_files_only=True)
        _check_extent(folder, model_class, config)
        model, report = model_class.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa",
            ignore_mismatched_sizes=True,  # check_weights complains more clearly
            output_loading_info=True,
        )
        try:
            check_weights(model, report)
        except ModelError as error:
            raise ModelError(f"{folder}: {error}") from error
    return model


def _check_extent(folder: Path, model_class: type[PreTrainedModel], config: Any) -> None:
    """Refuse a configuration that asks for more memory than its weights could fill."""
    for tower in (config.vision_config, config.text_config):
        if not 0 < tower.num_hidden_layers <= MAX_DEPTH:
            raise ModelError(
                f"{folder / 'config.json'} asks for {tower.num_hidden_layers} blocks a tower; 1 to "
                f"{MAX_DEPTH} are allowed"
            )
    files = weight_files(folder)
    for path in files:
        with bounded(f"{path} is no readable safetensors file", ModelError), safe_open(path, "pt"):
            pass
    with torch.device("meta"):
        count = sum(p.numel() for p in model_class(config).parameters())
    check_room(folder, count, files)


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
