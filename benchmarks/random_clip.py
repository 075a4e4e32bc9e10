"""A ViT-L/14 with random weights: what can be measured of the paper's backbone without it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from sdmad.backbones import LITE_FOLDER, Backbone, load_backbone

PAPER_SIZE = 240


SIZES: dict[str, dict[str, Any]] = {
    "ViT-L/14": {"image": (1024, 24, 16, 14, 224), "text": (768, 12), "dimension": 768},
    "small": {"image": (128, 6, 4, 16, 128), "text": (128, 4), "dimension": 128},
    "ViT-B/16-plus-240": {"image": (896, 12, 14, 16, 240), "text": (640, 10), "dimension": 640},
}
"""Of the image tower width, blocks, heads, patch and pixels; of the text tower width and heads."""


def write_random_checkpoint(folder: Path, kind: str = "ViT-L/14") -> None:
    """A CLIP with random weights in the hub's layout, with the embedded backbone's tokenizer.

    Args:
        folder: where to.
        kind: a key of :data:`SIZES`.
    """
    tokenizer = CLIPTokenizer.from_pretrained(LITE_FOLDER, local_files_only=True)
    sizes = SIZES[kind]
    (width, blocks, heads, patch, pixels), (words, text_heads) = sizes["image"], sizes["text"]
    text = {
        "hidden_size": words, "intermediate_size": 4 * words, "num_hidden_layers": 12,
        "num_attention_heads": text_heads, "projection_dim": sizes["dimension"],
        "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": blocks,
        "num_attention_heads": heads, "projection_dim": sizes["dimension"],
        "image_size": pixels, "patch_size": patch,
    }  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=sizes["dimension"])
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def random_vit_large() -> Backbone:
    """Load one, at the paper's 240 px."""
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder))
        return load_backbone(folder, PAPER_SIZE)
