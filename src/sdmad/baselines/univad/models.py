"""UniVAD's frozen models beside CLIP, read by ``transformers`` from safetensors.

Of a checkpoint's ``config.json`` only sizes are heard; what else stands there names files and code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from sdmad.backbones.files import (
    check_files,
    check_room,
    read_json,
    read_model_type,
    weight_files,
)
from sdmad.backbones.hub import resolve
from sdmad.backbones.pretrained import MAX_DEPTH, plain_values, quiet
from sdmad.errors import ModelError, WeightsMissingError
from sdmad.inputs import bounded

RANDOM = "random"
IMAGE_SIZES = frozenset(
    {"hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size"}
    | {"hidden_act", "layer_norm_eps", "qkv_bias", "num_channels"}
)
SEGMENTER_SIZES: dict[str, frozenset[str]] = {
    "vision_config": IMAGE_SIZES
    | {"output_channels", "window_size", "global_attn_indexes", "num_pos_feats", "mlp_ratio"}
    | {"mlp_dim", "use_abs_pos", "use_rel_pos"},
    "prompt_encoder_config": frozenset(
        {"hidden_size", "image_size", "patch_size", "mask_input_channels", "num_point_embeddings"}
        | {"hidden_act", "layer_norm_eps"}
    ),
    "mask_decoder_config": frozenset(
        {"hidden_size", "hidden_act", "mlp_dim", "num_hidden_layers", "num_attention_heads"}
        | {"attention_downsample_rate", "num_multimask_outputs", "iou_head_depth"}
        | {"iou_head_hidden_dim", "layer_norm_eps", "vit_dim"}
    ),
}


@dataclass(frozen=True)
class Kind:
    """A kind of model that ``transformers`` has.

    Attributes:
        model: its class.
        config: the class of its configuration.
        heard: keys of ``config.json`` that are heard, by the part that they stand in; the empty
            part is the whole.
        sizes: the published ones, where they are not the class's own defaults.
        fixed: what is always so, whatever a file says.
        options: of the model's class.
    """

    model: str
    config: str
    heard: Mapping[str, frozenset[str]]
    sizes: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


DETECTORS = {
    "grounding-dino": Kind(
        "GroundingDinoForObjectDetection",
        "GroundingDinoConfig",
        {
            "": frozenset(
                {"num_queries", "encoder_layers", "encoder_ffn_dim", "encoder_attention_heads"}
                | {"decoder_layers", "decoder_ffn_dim", "decoder_attention_heads", "d_model"}
                | {"activation_function", "num_feature_levels", "encoder_n_points"}
                | {"decoder_n_points", "two_stage", "max_text_len", "embedding_init_target"}
                | {"query_dim", "decoder_bbox_embed_share", "two_stage_bbox_embed_share"}
                | {"positional_embedding_temperature", "layer_norm_eps"}
                | {"position_embedding_type"}
            ),
            "backbone_config": frozenset(
                {"embed_dim", "depths", "num_heads", "window_size", "image_size", "patch_size"}
                | {"mlp_ratio", "qkv_bias", "hidden_act", "layer_norm_eps", "out_indices"}
                | {"use_absolute_embeddings"}
            ),
            "text_config": frozenset(
                {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}
                | {"vocab_size", "max_position_embeddings", "type_vocab_size", "pad_token_id"}
                | {"hidden_act", "layer_norm_eps"}
            ),
        },
        sizes={"backbone_config": {"out_indices": [2, 3, 4]}, "text_config": {}},
        fixed={
            "backbone_config": {"model_type": "swin"},
            "text_config": {"model_type": "bert"},
            "disable_custom_kernels": True,
        },
    )
}
HUGE = {
    "vision_config": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
    },
    "prompt_encoder_config": {},
    "mask_decoder_config": {},
}
SEGMENTERS = {
    "sam_hq": Kind(
        "SamHQModel",
        "SamHQConfig",
        SEGMENTER_SIZES,
        sizes=HUGE | {"mask_decoder_config": {"vit_dim": 1280}},
    ),
    "sam": Kind("SamModel", "SamConfig", SEGMENTER_SIZES, sizes=HUGE),
}
DENSE = {
    "dinov2": Kind(
        "Dinov2Model",
        "Dinov2Config",
        {"": IMAGE_SIZES | {"mlp_ratio", "layerscale_value", "use_swiglu_ffn", "use_mask_token"}},
        sizes={
            "hidden_size": 1536,
            "num_hidden_layers": 40,
            "num_attention_heads": 24,
            "use_swiglu_ffn": True,
            "image_size": 518,
        },
    )
}
CONTEXT = {
    "vit": Kind(
        "ViTModel",
        "ViTConfig",
        {"": IMAGE_SIZES | {"intermediate_size"}},
        sizes={
            "hidden_size": 384,
            "num_attention_heads": 6,
            "intermediate_size": 1536,
            "patch_size": 8,
        },
        options={"add_pooling_layer": False},
    )
}


@dataclass(frozen=True)
class Loaded:
    """A frozen model.

    Attributes:
        model: float32, on the CPU, in evaluation mode.
        folder: where it was read; None of random weights.
    """

    model: Any
    folder: Path | None


def load_model(
    kinds: Mapping[str, Kind],
    where: str | Path,
    seed: int,
    tokenizers: Sequence[Sequence[str]] = ((),),
) -> Loaded:
    """Read a model, or make one of the first kind at its published size with random weights.

    Args:
        kinds: those that will do, by their ``model_type``.
        where: a folder, a name on the hub, or ``"random"``.
        seed: of random weights.
        tokenizers: groups of files of which one group must be there.

    Raises:
        WeightsMissingError: if the weights cannot be had; says what to get.
        ModelError: if the files are unreadable, pickled, of another kind, or do not fit together.
    """
    if where == RANDOM:
        kind = next(iter(kinds.values()))
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            model = _class(kind.model)(_configuration(kind, kind.sizes), **kind.options)
        return Loaded(model.eval().requires_grad_(False), None)
    try:
        folder = resolve(str(where))
    except WeightsMissingError as error:
        raise WeightsMissingError(f"a model of UniVAD: {error}") from error
    check_files(folder, tokenizers)
    kind = kinds[read_model_type(folder, tuple(kinds))]
    return Loaded(_read(kind, folder), folder)


def _class(name: str) -> Any:
    return getattr(import_module("transformers"), name)


def _configuration(kind: Kind, sizes: Mapping[str, Any]) -> Any:
    values = dict(sizes)
    for part, always in kind.fixed.items():
        nested = isinstance(always, Mapping)
        values[part] = {**values[part], **always} if nested else always
    return _class(kind.config)(**values)


def _sizes(kind: Kind, path: Path) -> dict[str, Any]:
    """What ``config.json`` says that is heard."""
    content, sizes = read_json(path), dict[str, Any]()
    for part, heard in kind.heard.items():
        found = plain_values(content if part else {"": content}, part, heard)
        deep = [key for key, value in found.items() if "layers" in key and value > MAX_DEPTH]
        if deep:
            raise ModelError(f"{path}: {deep[0]} is above {MAX_DEPTH}")
        sizes |= {part: found} if part else found
    return sizes


def _read(kind: Kind, folder: Path) -> Any:
    what = f"{folder}: not a readable {kind.model}"
    with quiet(), bounded(what, ModelError):
        config = _configuration(kind, _sizes(kind, folder / "config.json"))
        with torch.device("meta"):
            empty = _class(kind.model)(config, **kind.options)
        check_room(folder, sum(p.numel() for p in empty.parameters()), weight_files(folder))
        model, told = _class(kind.model).from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.float32,
            **kind.options,
        )
    if lost := sorted(told["missing_keys"]):
        raise ModelError(f"{folder}: the weights lack {len(lost)} tensors: {'; '.join(lost[:3])}")
    broken = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if broken:
        raise ModelError(f"{folder}: the weights hold NaN or infinite values, first in {broken[0]}")
    return model.eval().requires_grad_(False)
