"""Fixtures that several rooms share: small random CLIPs in the ``transformers`` format."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

IMAGE_MEAN = [0.35, 0.4, 0.45]
IMAGE_STD = [0.25, 0.27, 0.29]


def write_checkpoint(
    folder: Path,
    *,
    image_depth: int = 6,
    text_depth: int = 4,
    width: int = 32,
    image_size: int = 32,
    patch_size: int = 8,
    context_length: int = 24,
    end_token: int | None = None,
    seed: int = 0,
) -> Path:
    """Write a random CLIP with its tokenizer and preprocessor configuration.

    The tokenizer knows every byte, alone and at the end of a word, and no merge, so every text
    has tokens. ``end_token`` is the ``eos_token_id`` of the configuration; the tokenizer's own
    when not given. The end-of-text token has the largest number, as in OpenAI's vocabulary.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(a + "</w>" for a in alphabet), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={symbol: i for i, symbol in enumerate(symbols)},
        merges=[],
        model_max_length=context_length,
    )
    tower = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "projection_dim": 16,
        # Larger random weights than usual, so that a block's mistake is not lost in rounding.
        "initializer_factor": 3.0,
    }
    config = CLIPConfig(
        text_config={
            **tower,
            "num_hidden_layers": text_depth,
            "vocab_size": len(symbols),
            "max_position_embeddings": context_length,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id if end_token is None else end_token,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            **tower,
            "num_hidden_layers": image_depth,
            "image_size": image_size,
            "patch_size": patch_size,
        },
        projection_dim=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessor = {"image_mean": IMAGE_MEAN, "image_std": IMAGE_STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a small random CLIP checkpoint; takes :func:`write_checkpoint`'s keywords."""

    def make(**settings: int) -> Path:
        return write_checkpoint(tmp_path_factory.mktemp("clip"), **settings)

    return make


@pytest.fixture(scope="session")
def tiny_clip(make_clip: Callable[..., Path]) -> Path:
    """A small random CLIP checkpoint that no test may alter: 6 image and 4 text blocks, 32 px."""
    return make_clip()
