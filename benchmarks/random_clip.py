"""A ViT-L/14 with random weights: what can be measured of the paper's backbone without it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from sdmad.backbones import NANO_FOLDER, Backbone, load_backbone

PAPER_SIZE = 240


def write_random_checkpoint(folder: Path) -> None:
    """A ViT-L/14 with random weights in the hub's layout, with the nano's tokenizer."""
    tokenizer = CLIPTokenizer.from_pretrained(NANO_FOLDER, local_files_only=True)
    text = {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "projection_dim": 768, "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "projection_dim": 768, "image_size": 224, "patch_size": 14,
    }  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=768)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def random_vit_large() -> Backbone:
    """Load one, at the paper's 240 px."""
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder))
        return load_backbone(folder, PAPER_SIZE)
