"""Small random checkpoints in open_clip's format."""

import json
import shutil

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from open_clip.model import CLIP, CustomTextCLIP
from transformers import BertConfig

from sdmad.backbones import load_backbone
from sdmad.errors import ModelError

MEAN, STD = [0.35, 0.4, 0.45], [0.25, 0.27, 0.29]
WEIGHTS = "open_clip_model.safetensors"
SENTENCES = ["mass", "a small bright focus, 3 mm.", "x"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,."
WORDS = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
VISION = {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
BERT = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 48,
}
BIOMED = {
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "test_vit",
        "timm_model_pretrained": True,  # as in the published file; never fetched
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 160,
    },
    "text_cfg": {
        "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 40,
    },
}


def clip_config(quick_gelu=False, **vision):
    config = {"embed_dim": 16, "vision_cfg": {**VISION, **vision}, "text_cfg": dict(TEXT)}
    return {**config, "quick_gelu": True} if quick_gelu else config


SIGLIP = {
    "embed_dim": 64,
    "custom_text": True,
    "init_logit_bias": -10,
    "vision_cfg": {
        "timm_model_name": "test_vit",
        "timm_pool": "map",
        "timm_proj": "none",
        "image_size": 160,
    },
    "text_cfg": {
        **TEXT,
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
        "act_kwargs": {"approximate": "tanh"},
        "norm_kwargs": {"eps": 1e-6},
    },
}
CONVNEXT = {
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "test_convnext",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 96,
    },
    "text_cfg": TEXT,
}
AVERAGED = {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True}
CONFIGS = {
    "quickgelu": clip_config(quick_gelu=True),
    "gelu": clip_config(),
    "averaged": {**clip_config(**AVERAGED, ls_init_value=0.1), "custom_text": True},
    "biomedclip": BIOMED,
    "siglip": SIGLIP,
    "convnext": CONVNEXT,
}


def build(config, bert_folder=None, seed=0):
    """The library's own model with large random weights, temperature included."""
    config = json.loads(json.dumps(config))
    config["vision_cfg"]["timm_model_pretrained"] = False
    config["text_cfg"]["hf_model_pretrained"] = False
    if bert_folder is not None:
        config["text_cfg"]["hf_model_name"] = str(bert_folder)
    separate = config.pop("custom_text", False) or bert_folder is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (CustomTextCLIP if separate else CLIP)(**config).eval()
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or "embed" in name:
                torch.nn.init.normal_(parameter, std=0.2)
            elif parameter.ndim == 1 and name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.05)
    return model


def write_config(folder, config, preprocess=None):
    content = {"model_cfg": config, "preprocess_cfg": preprocess or {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")


def write_folder(folder, config, bert=False, seed=0, own_text=False):
    """A checkpoint as open_clip's push to the hub lays it out; returns the model.

    With ``bert`` BERT's tokenizer and configuration lie in it too; with ``own_text`` the text
    tower is open_clip's own nevertheless.
    """
    if bert:
        BertConfig(**BERT).save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        tokenizer = {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    model = build(config, folder if bert and not own_text else None, seed)
    write_config(folder, config)
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(state, folder / WEIGHTS)
    return model


def change_weights(folder, change):
    state = change(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
    safetensors.torch.save_file(state, folder / WEIGHTS)


def in_the_cache(monkeypatch, cache, repository, folder):
    """Lay a folder's files out as the hub's cache has them."""
    place = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / "0123")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def pixels(size, n=2):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(size))


def refused(folder, message, **overrides):
    name = f"open_clip:{folder}"
    with pytest.raises(ModelError, match=message) as caught:
        load_backbone(name, **overrides)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
