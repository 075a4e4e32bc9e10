"""MedCLIP (Wang et al., EMNLP 2022): Swin-tiny and Bio_ClinicalBERT, in the published layout.

The published ``pytorch_model.bin`` of MedCLIP-ViT is a state dict with the keys

- ``vision_model.model.*``: a ``transformers`` SwinModel with the key names of version 4,
- ``vision_model.projection_head.weight`` ``(512, 768)``, no bias,
- ``text_model.model.*``: a ``transformers`` BertModel with its pooler (which is not used),
- ``text_model.projection_head.weight`` ``(512, 768)``, no bias,
- ``logit_scale``, a number,

and, as buffers of the libraries of its time, ``text_model.model.embeddings.position_ids`` and the
``relative_position_index`` of every Swin block. It is read as ``model.safetensors``, which
``sdmad backbone convert`` makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import BertConfig, BertModel, SwinConfig, SwinModel

from sdmad.backbones.base import Backbone, Tower
from sdmad.backbones.bert import BertWords, attention_mask, masked_mean, read_bert_words
from sdmad.backbones.files import read_json
from sdmad.backbones.fit import load_filled
from sdmad.backbones.known import Channels, Overrides, Voice, same_activation, same_channels, settle
from sdmad.backbones.pretrained import MAX_DEPTH, plain_values
from sdmad.backbones.weights import DAMAGED, hash_tensors
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import ModelError, WeightsMissingError
from sdmad.inputs import bounded

MEAN = 0.5862785803043838
STD = 0.27950088968644304
CONTEXT_LENGTH = 77
PROJECTION = 512
VOCABULARY = 28_996  # of Bio_ClinicalBERT, which is BERT's cased one
SWIN_SIZES = frozenset(
    {"image_size", "patch_size", "num_channels", "embed_dim", "depths", "num_heads", "window_size"}
    | {"mlp_ratio", "qkv_bias", "hidden_act", "use_absolute_embeddings", "layer_norm_eps"}
)
BERT_SIZES = frozenset(
    {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}
    | {"hidden_act", "max_position_embeddings", "type_vocab_size", "layer_norm_eps"}
    | {"pad_token_id", "is_decoder"}
)
# Blocks whose tokens are averaged with the last one's to embed a sentence.
EARLY = (1, 2)

# A tensor's name in transformers 5 and in version 4, which the published file has.
SWIN_NAMES = (
    (r"\.attention\.q_proj\.", ".attention.self.query."),
    (r"\.attention\.k_proj\.", ".attention.self.key."),
    (r"\.attention\.v_proj\.", ".attention.self.value."),
    (r"\.attention\.relative_position_bias\.", ".attention.self."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
BUFFERS = re.compile(
    r"text_model\.model\.embeddings\.(position_ids|token_type_ids)"
    r"|vision_model\.model\.encoder\..*\.attention\.self\.relative_position_index"
)


def published_name(key: str) -> str:
    """A tensor's name as the published checkpoint has it.

    >>> published_name("vision_model.model.encoder.layers.0.blocks.1.attention.o_proj.bias")
    'vision_model.model.encoder.layers.0.blocks.1.attention.output.dense.bias'
    """
    if key.startswith("vision_model."):
        for pattern, name in SWIN_NAMES:
            key = re.sub(pattern, name, key)
    return key


@dataclass(frozen=True)
class Settings:
    """What a checkpoint says of itself, or is known of the published one."""

    vision: SwinConfig
    text: BertConfig
    dimension: int
    mean: Sequence[float] | None
    std: Sequence[float] | None

    def build(self) -> MedCLIPModel:
        """A model of these sizes with random weights."""
        return MedCLIPModel(self.vision, self.text, self.dimension)

    def preprocessing(self, image_size: int | None, stated: Overrides) -> Preprocessing:
        """Size, mean and deviation; the activation too must not be contradicted.

        Raises:
            ModelError: naming both ways to mend a contradiction.
        """
        acts = Voice((self.vision.hidden_act, self.text.hidden_act), "the configuration")
        said = None if stated.activation is None else Voice(stated.activation, "you")
        mend = "config.json, hidden_act of both towers"
        settle("activation", mend, (acts, None, said), same_activation, None)
        mean = _channels("mean", self.mean, MEAN, stated.mean)
        std = _channels("std", self.std, STD, stated.std)
        size = self.vision.image_size if image_size is None else image_size
        return Preprocessing(size=size, mean=mean, std=std)


def _channels(
    name: str, own: Sequence[float] | None, published: float, stated: Sequence[float] | None
) -> Channels:
    voices = (
        None if own is None else Voice(own, "config.json"),
        Voice((published,) * 3, "MedCLIP's code") if own is None else None,
        None if stated is None else Voice(stated, "you"),
    )
    value = settle(name, f"config.json, image_{name}", voices, same_channels, None)
    if own is None and same_channels(value, (published,) * 3):
        return (published,) * 3  # all its digits
    return (value[0], value[1], value[2])


class ProjectedModel(nn.Module):
    """A ``transformers`` encoder and a projection without bias, named as in the checkpoint."""

    def __init__(self, model: nn.Module, width: int, dimension: int) -> None:
        super().__init__()
        self.model = model
        self.projection_head = nn.Linear(width, dimension, bias=False)


class MedCLIPModel(nn.Module):
    """The tensors of a MedCLIP checkpoint, under their published names."""

    def __init__(self, vision: SwinConfig, text: BertConfig, dimension: int) -> None:
        super().__init__()
        swin = SwinModel(vision)
        self.vision_model = ProjectedModel(swin, swin.num_features, dimension)
        self.text_model = ProjectedModel(BertModel(text), text.hidden_size, dimension)
        self.logit_scale = nn.Parameter(torch.zeros(()))


class SwinTower(Tower):
    """A Swin transformer by stage: ``depth`` counts stages, each ends with its downsampling.

    Images and feature maps are padded with zeros at the right and below to whole patches, pairs
    of patches and windows, as in ``transformers``; so any size of input does. Where a feature map
    is no larger than a window, the window is not shifted.
    """

    def __init__(self, part: ProjectedModel, config: SwinConfig) -> None:
        super().__init__()
        self.vision: Any = part.model
        self.projection = part.projection_head
        self.depth = len(config.depths)
        self.window = config.window_size
        last = self.depth - 1
        self.widths = tuple(config.embed_dim * 2 ** min(i + 1, last) for i in range(self.depth))

    def embed(self, inputs: Tensor) -> tuple[Tensor, tuple[tuple[int, int], ...]]:
        """Patch tokens, and the feature map's height and width in each stage."""
        hidden, grid = self.vision.embeddings(inputs)
        grids = [(int(grid[0]), int(grid[1]))]
        for _ in range(1, self.depth):
            height, width = grids[-1]
            grids.append(((height + 1) // 2, (width + 1) // 2))
        return hidden, tuple(grids)

    def block(self, index: int, hidden: Tensor, state: tuple[tuple[int, int], ...]) -> Tensor:
        """Run stage ``index``, counted from 1, on tokens ``(n, T, W)``."""
        stage = self.vision.encoder.layers[index - 1]
        grid = state[index - 1]
        shifts = min(grid) > self.window
        for number, layer in enumerate(stage.blocks):
            # Left to itself (always_partition=False) a layer that has seen a small image keeps a
            # smaller window and shift for good.
            layer.shift_size = self.window // 2 if shifts and number % 2 else 0
            hidden = layer(hidden, grid, always_partition=True)[0]
        if stage.downsample is not None:
            hidden = stage.downsample(hidden, grid)
        return hidden

    def pool(self, hidden: Tensor, state: tuple[tuple[int, int], ...]) -> Tensor:
        """Final norm, mean over tokens, projection, unit length: ``(n, D)``."""
        del state  # every token counts the same
        return normalize(self.projection(self.vision.layernorm(hidden).mean(dim=1)), dim=-1)


@dataclass
class TextState:
    """What goes along with the sentences' tokens.

    Attributes:
        real: which tokens are not padding, ``(S, T)``.
        early: means over the tokens ``(S, W)`` behind blocks 1 and 2; noted when the next block
            starts, so that an adapter's shift is in them.
    """

    real: Tensor
    early: dict[int, Tensor] = field(default_factory=dict)

    def __getitem__(self, rows: slice) -> TextState:
        """The state of some of the sentences."""
        return TextState(self.real[rows], {k: mean[rows] for k, mean in self.early.items()})


class ClinicalBertTower(Tower):
    """BERT, pooled as MedCLIP does: mean over tokens of the blocks 1, 2 and last.

    MedCLIP's own code also counts the padding of the batch that a sentence happens to be in; here
    only a sentence's own tokens count, which is the same for a sentence alone.
    """

    def __init__(self, part: ProjectedModel, config: BertConfig) -> None:
        super().__init__()
        self.bert: Any = part.model
        self.projection = part.projection_head
        self.depth = config.num_hidden_layers
        self.widths = (config.hidden_size,) * self.depth
        self.pad = config.pad_token_id

    def embed(self, inputs: Tensor) -> tuple[Tensor, TextState]:
        """Token, position and segment embeddings; padding is recognised by its token."""
        return self.bert.embeddings(input_ids=inputs), TextState(inputs != self.pad)

    def block(self, index: int, hidden: Tensor, state: TextState) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(S, T, W)``."""
        if index - 1 in EARLY:
            state.early[index - 1] = masked_mean(hidden, state.real)
        output: Tensor = self.bert.encoder.layer[index - 1](hidden, attention_mask(state.real))
        return output

    def pool(self, hidden: Tensor, state: TextState) -> Tensor:
        """Mean of three blocks' means, projection, unit length: ``(S, D)``.

        Raises:
            ValueError: if blocks 2 and 3 have not been run with this state.
        """
        means = {**state.early, self.depth: masked_mean(hidden, state.real)}
        if not {*EARLY} <= means.keys():
            raise ValueError("run all blocks with this state first: blocks 1 and 2 are pooled too")
        parts = [means[index] for index in (*EARLY, self.depth)]
        return normalize(self.projection(torch.stack(parts).mean(dim=0)), dim=-1)


class MedCLIPBackbone(Backbone):
    """A MedCLIP checkpoint behind the common interface."""

    def __init__(
        self,
        name: str,
        model: MedCLIPModel,
        settings: Settings,
        words: BertWords,
        preprocessing: Preprocessing,
    ) -> None:
        self.name = name
        self.image = SwinTower(model.vision_model, settings.vision)
        self.text = ClinicalBertTower(model.text_model, settings.text)
        self.preprocessing = preprocessing
        self.dimension = settings.dimension
        self.context_length = words.length
        tensors = model.state_dict()  # whose names the version of transformers does not change
        self.weights_hash = hash_tensors({published_name(k): t for k, t in tensors.items()})
        self.activation = str(settings.vision.hidden_act)
        self._words = words

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``, int64.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        return self._words.ids(sentences)

    def token_counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        return self._words.counts(sentences)


def is_medclip(folder: Path) -> bool:
    """Whether a folder's ``model.safetensors`` has the published layout's projections."""
    return {f"{side}_model.projection_head.weight" for side in ("vision", "text")} <= _keys(folder)


def _keys(folder: Path) -> set[str]:
    try:
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            return set(file.keys())
    except DAMAGED:
        return set()


def load_medclip(name: str, image_size: int | None = None, **overrides: Any) -> MedCLIPBackbone:
    """Load a MedCLIP-ViT checkpoint, in float32, on the CPU.

    Args:
        name: the folder, with or without ``medclip:`` before it. It holds ``model.safetensors``,
            ``vocab.txt`` or ``tokenizer.json`` of Bio_ClinicalBERT and, for other sizes or
            another preprocessing than the published ones, ``config.json``.
        image_size: side of the input in pixels; 224 when not given.
        **overrides: activation, mean and std, as :class:`~sdmad.backbones.known.Overrides`.

    Raises:
        WeightsMissingError: if the folder or the weights in it are not there.
        ModelError: if a file is not readable, or the weights do not fit, tensor by tensor.
    """
    stated = Overrides(**overrides)
    given = "" if name == "medclip" else name.removeprefix("medclip:")
    folder = _find_weights(given)
    try:
        if "vision_model.model.fc.weight" in _keys(folder):
            raise ModelError("model.safetensors is MedCLIP-ResNet; only MedCLIP-ViT can be read")
        settings = _read_settings(folder / "config.json")
        preprocessing = settings.preprocessing(image_size, stated)
        model = load_filled(
            folder / "model.safetensors",
            settings.build,
            rename=published_name,
            unused=lambda key: BUFFERS.fullmatch(key) is not None,
        )
        text = settings.text
        length = min(CONTEXT_LENGTH, text.max_position_embeddings)
        words = read_bert_words(folder, text.vocab_size, text.pad_token_id, length)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    return MedCLIPBackbone(name, model, settings, words, preprocessing)


def load_given_medclip(folder: str) -> Backbone:
    """MedCLIP from the folder that ``--medclip`` names, on the CPU.

    Raises:
        ModelError: as :func:`load_medclip`; the message names the option.
    """
    try:
        return load_medclip(f"medclip:{folder}")
    except ModelError as error:
        raise ModelError(f"--medclip: {error}") from error


def _find_weights(given: str) -> Path:
    """The folder; or what is missing, where it is had and how it is laid out."""
    folder = Path(given)
    try:
        folder = folder.expanduser()
        there, filled = folder.is_dir(), (folder / "model.safetensors").is_file()
    except (OSError, RuntimeError):  # too long, or the home of an unknown user
        there = filled = False
    if given and filled:
        return folder
    if not given:
        lost = "no folder was given"
    elif there:
        lost = f"{given} has no model.safetensors"
    else:
        lost = f"there is no folder {given[:200]}"
    raise WeightsMissingError(
        f"MedCLIP's weights are missing: {lost}. Its authors publish them as "
        "medclip-vit-pretrained.zip (github.com/RyanWangZf/MedCLIP names the address); sdmad "
        "backbone convert makes a folder of the pytorch_model.bin in it, which is not read as it "
        "is; put vocab.txt of emilyalsentzer/Bio_ClinicalBERT into that folder and name it: "
        "medclip:FOLDER"
    )


def _read_settings(path: Path) -> Settings:
    """The published sizes and preprocessing, or what ``config.json`` says."""
    values: dict[str, Any] = read_json(path) if path.is_file() else {}
    if values.get("model_type") == "bert":  # Bio_ClinicalBERT's own
        values = {"text_config": values}
    try:
        own = Overrides(mean=values.get("image_mean"), std=values.get("image_std"))
    except ModelError as error:
        raise ModelError(f"{path.name}: image_{error}") from error
    with bounded(f"{path.name} describes no MedCLIP", ModelError):
        settings = Settings(
            vision=SwinConfig(**plain_values(values, "vision_config", SWIN_SIZES)),
            text=BertConfig(
                **{"vocab_size": VOCABULARY, **plain_values(values, "text_config", BERT_SIZES)}
            ),
            dimension=values.get("projection_dim", PROJECTION),
            mean=own.mean,
            std=own.std,
        )
        swin, bert = settings.vision, settings.text
        if max(len(swin.depths), sum(swin.depths), bert.num_hidden_layers) > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} blocks")
        if not isinstance(swin.image_size, int) or swin.image_size < 1:
            raise ValueError(f"image_size {swin.image_size}")
        with torch.device("meta"):
            settings.build()
    if swin.use_absolute_embeddings or bert.is_decoder or bert.num_hidden_layers < max(EARLY):
        raise ModelError(
            f"{path.name} describes no MedCLIP: its Swin has no absolute position embeddings, its "
            "BERT is no decoder and has two blocks or more"
        )
    return settings
