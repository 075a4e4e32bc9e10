"""open_clip's architectures and weights behind the common interface.

open_clip describes and builds the model; files are found, checked and read here, so that nothing
is unpickled, no half of a file is loaded and no network is asked behind one's back.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from sdmad.backbones.base import Backbone, Tower
from sdmad.backbones.fit import load_filled
from sdmad.backbones.known import (
    GELU,
    OPENAI_MEAN,
    OPENAI_STD,
    QUICK_GELU,
    TANH_GELU,
    Overrides,
    Voice,
    same_activation,
    same_channels,
    settle,
)
from sdmad.backbones.open_clip_files import CONFIG, Source, find_source
from sdmad.backbones.open_clip_towers import (
    BertTower,
    ImageTower,
    TextTower,
    image_tower,
    text_tower,
)
from sdmad.backbones.open_clip_words import Words, read_words
from sdmad.backbones.weights import hash_weights
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import ModelError
from sdmad.inputs import bounded

# Names of a CLIP's own text tensors, which old files of models with a separate one have too.
TEXT_NAMES = (
    "text_projection",
    "positional_embedding",
    "token_embedding.",
    "transformer.",
    "ln_final.",
)
# In some files, used by nothing here: the temperature and buffers that older libraries saved.
UNUSED = {
    "logit_scale",
    "logit_bias",
    "attn_mask",
    "text.attn_mask",
    "text.transformer.embeddings.position_ids",
    "text.transformer.embeddings.token_type_ids",
}


class OpenClipBackbone(Backbone):
    """An open_clip model behind the common interface."""

    def __init__(
        self,
        model: Any,
        towers: tuple[Tower, TextTower | BertTower],
        words: Words,
        preprocessing: Preprocessing,
        dimension: int,
    ) -> None:
        self.image, self.text = towers
        self._trim = towers[1].trim
        self._words = words
        self.preprocessing = preprocessing
        self.dimension = dimension
        self.context_length = words.length
        self.weights_hash = hash_weights(model)

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``, int64; padding is kept only where the text tower reads it.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        return self._trim(self._words.ids(sentences))

    def token_counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        return self._words.counts(sentences)


def load_open_clip(name: str, image_size: int | None = None, **overrides: Any) -> OpenClipBackbone:
    """Load an open_clip model, in float32, on the CPU.

    Args:
        name: ``ARCHITECTURE/TAG`` of open_clip's own lists, ``ARCHITECTURE/FILE.safetensors``,
            ``hf-hub:OWNER/NAME``, or a folder with ``open_clip_config.json`` and
            ``open_clip_model.safetensors``; with or without ``open_clip:`` before it.
        image_size: side of the input in pixels; the checkpoint's own when not given.
        **overrides: activation, mean and std, as :class:`~sdmad.backbones.known.Overrides`.

    Raises:
        WeightsMissingError: if the weights are not on this machine and cannot be fetched.
        ModelError: if the extra is not installed, files are missing, pickled, unreadable or do
            not fit, or what they say contradicts what is known or stated.
    """
    try:
        import_module("open_clip")
    except ImportError as error:
        raise ModelError(
            f"{name} needs open_clip, which is not installed ({error}): "
            'pip install "sdmad[openclip]"'
        ) from error
    stated = Overrides(**overrides)
    source = find_source("" if name == "open_clip" else name.removeprefix("open_clip:"))
    try:
        activation, config = _settle_activation(source, stated)
        probe = _outline(config, source.origin)
        towers = image_tower(probe.visual), text_tower(probe)  # refuses before weights are fetched
        with bounded(f"{source.origin} describes no model of open_clip", ModelError):
            size = _image_size(probe.visual, towers[0], image_size)
        preprocessing = _settle_preprocessing(source, size, stated)
        separate = hasattr(probe, "text")
        model = load_filled(
            source.find_weights(),
            lambda: build_model(config),
            rename=lambda key: f"text.{key}" if separate and key.startswith(TEXT_NAMES) else key,
            unused=UNUSED.__contains__,
        )
        towers = image_tower(model.visual), text_tower(model)
        words = read_words(source, towers[1])
    except ModelError as error:
        raise type(error)(f"{name}: {error}") from error
    backbone = OpenClipBackbone(model, towers, words, preprocessing, config["embed_dim"])
    backbone.name, backbone.activation = name, activation
    return backbone


def build_model(config: dict[str, Any]) -> Any:
    """A model of open_clip with random weights and without the temperature, which has no part.

    Args:
        config: ``model_cfg`` with ``embed_dim``, ``vision_cfg`` and ``text_cfg``.
    """
    from open_clip.model import CLIP, CustomTextCLIP

    arguments = {k: v for k, v in deepcopy(config).items() if k != "custom_text"}
    separate = config.get("custom_text") or config["text_cfg"].get("hf_model_name")
    model = (CustomTextCLIP if separate else CLIP)(**arguments)
    model.logit_scale = model.logit_bias = None
    return model


def _outline(config: dict[str, Any], origin: str) -> Any:
    """The model without memory for its weights."""
    try:
        with torch.device("meta"), bounded(f"{origin} describes no model of open_clip", ModelError):
            return build_model(config)
    except AssertionError as error:  # how open_clip, timm and torch check their arguments
        raise ModelError(f"{origin} describes no model of open_clip ({error})") from error


def _settle_activation(source: Source, stated: Overrides) -> tuple[str, dict[str, Any]]:
    """What the towers run, and the configuration that says so to open_clip."""
    config = deepcopy(source.config)
    own = QUICK_GELU if config.get("quick_gelu") else GELU
    native = [
        part
        for part, other in (("vision_cfg", "timm_model_name"), ("text_cfg", "hf_model_name"))
        if not config[part].get(other)
    ]
    tanh = [(config[part].get("act_kwargs") or {}).get("approximate") == "tanh" for part in native]
    kinds = tuple(TANH_GELU if t else own for t in tanh) or (GELU,)  # timm and BERT bring their own
    trained = QUICK_GELU if source.tag.get("quick_gelu") else GELU
    known = Voice(trained, source.by) if source.tag and native and not any(tanh) else None
    value = settle(
        "activation",
        source.activation_place,
        (
            Voice(kinds, source.origin),
            known,
            None if stated.activation is None else Voice(stated.activation, "you"),
        ),
        same_activation,
        None,
    )
    if isinstance(value, str):
        config["quick_gelu"] = value == QUICK_GELU
        value = (value,)
    return "/".join(dict.fromkeys(value)), config


def _settle_preprocessing(source: Source, size: int, stated: Overrides) -> Preprocessing:
    """Size, mean and deviation of the input."""
    values = []
    for name, default in (("mean", OPENAI_MEAN), ("std", OPENAI_STD)):
        own, said = source.preprocessing.get(name), getattr(stated, name)
        voices = (
            None if own is None else Voice(own, source.origin),
            None if not source.tag else Voice(source.tag[name], source.by),
            None if said is None else Voice(said, "you"),
        )
        place = f"{CONFIG}, preprocess_cfg, {name}"
        values.append(settle(name, place, voices, same_channels, default))
    return Preprocessing(size=size, mean=tuple(values[0]), std=tuple(values[1]))


def _image_size(visual: Any, tower: ImageTower, wanted: int | None) -> int:
    """The side of the input: the checkpoint's own, or any other of a patch or more."""
    own = visual.image_size
    height, width = own if isinstance(own, tuple | list) else (own, own)
    if wanted is None and height != width:
        raise ModelError(f"its images are {height} x {width}; give image_size, a square's side")
    size = int(height) if wanted is None else wanted
    if size < tower.patch:
        raise ModelError(f"{size} px is less than one patch of {tower.patch}")
    return size
