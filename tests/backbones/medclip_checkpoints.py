"""Small random MedCLIP checkpoints in the published layout."""

import json

import pytest
import safetensors.torch
import torch
from transformers import BertConfig, BertModel, SwinConfig, SwinModel

from sdmad.backbones.medclip import load_medclip
from sdmad.errors import ModelError

WEIGHTS = "model.safetensors"
SWIN = {
    "image_size": 48,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 2, 4],
    "window_size": 3,  # feature maps of 24, 12, 6 and 3: the last is one window
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz,.3"]
WORDS += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
BERT = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
SENTENCES = ["mass", "a small bright focus, 3 mm.", "x"]


def random_model(kind, config, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config).eval()
        for name, parameter in model.named_parameters():
            scale = 0.02 if name.endswith("bias") else 0.3
            torch.nn.init.normal_(parameter, std=scale)  # bias tables too, which begin as zeros
            if name.endswith(("norm.weight", "Norm.weight")):
                parameter.data += 1
    return model


def saved_names(model, folder):
    """What transformers writes: the key names of version 4, which MedCLIP was published with."""
    model.save_pretrained(folder)
    return safetensors.torch.load((folder / "model.safetensors").read_bytes())


def make_parts():
    """The two encoders as transformers has them, and both projections."""
    swin = random_model(SwinModel, SwinConfig(**SWIN), 1)
    bert = random_model(BertModel, BertConfig(**BERT), 2)
    draw = torch.Generator().manual_seed(3)
    return swin, bert, *(torch.randn(16, width, generator=draw) for width in (64, 24))


def published_state(parts, folder):
    """A state dict as the authors saved it, buffers and all; the folder is for scratch."""
    swin, bert, image_projection, text_projection = parts
    state = {}
    for key, tensor in saved_names(swin, folder).items():
        state[f"vision_model.model.{key}"] = tensor
    for key in [k for k in state if k.endswith("bias_table")]:
        index = torch.zeros(9, 9, dtype=torch.int64)
        state[key.replace("bias_table", "index")] = index
    for key, tensor in saved_names(bert, folder).items():
        state[f"text_model.model.{key}"] = tensor
    state["text_model.model.embeddings.position_ids"] = torch.arange(40).expand((1, -1))
    state["vision_model.projection_head.weight"] = image_projection
    state["text_model.projection_head.weight"] = text_projection
    state["logit_scale"] = torch.tensor(2.66)
    return state


def write_folder(folder, state):
    safetensors.torch.save_file({k: t.contiguous() for k, t in state.items()}, folder / WEIGHTS)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    config = {"vision_config": SWIN, "text_config": BERT, "projection_dim": 16}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def pixels(height, width=None, n=2):
    shape = (n, 3, height, width or height)
    return torch.randn(shape, generator=torch.Generator().manual_seed(height))


def change_weights(folder, change):
    state = change(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
    safetensors.torch.save_file(state, folder / WEIGHTS)


def change_config(folder, **values):
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key, value in values.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")


def refused(folder, message, **overrides):
    with pytest.raises(ModelError, match=message) as caught:
        load_medclip(str(folder), **overrides)
    text = str(caught.value)
    assert str(folder) in text
    assert "\n" not in text
