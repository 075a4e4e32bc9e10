"""BERT's blocks and tokens, for the text towers that are built on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertTokenizer

from sdmad.backbones.base import check_sentences, token_counts, token_ids
from sdmad.backbones.files import MAX_JSON, read_json
from sdmad.errors import ModelError
from sdmad.inputs import bounded, read_text

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def attention_mask(real: Tensor) -> Tensor:
    """What is added to the attention scores: ``(S, 1, 1, T)`` from real tokens ``(S, T)``."""
    hidden = torch.zeros(real.shape, device=real.device).masked_fill(~real, -torch.inf)
    return hidden[:, None, None, :]


def masked_mean(hidden: Tensor, real: Tensor) -> Tensor:
    """Mean over each sentence's real tokens: ``(S, W)`` from ``(S, T, W)`` and ``(S, T)``."""
    weights = real.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


class BertWords:
    """BERT's tokenizer with a length at which sentences are cut.

    Args:
        tokenizer: a WordPiece tokenizer with classification, separation and padding tokens.
        length: longest sentence in tokens, start and end included.
    """

    def __init__(self, tokenizer: Any, length: int) -> None:
        self.tokenizer = tokenizer
        self.length = length

    def ids(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``, int64, padded on the right to the longest sentence.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        return token_ids(self.tokenizer, check_sentences(sentences), self.length, "longest")

    def counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        return token_counts(self.tokenizer, sentences)


def read_bert_words(folder: Path, vocabulary_size: int, pad_id: int, length: int) -> BertWords:
    """Read ``tokenizer.json`` or ``vocab.txt`` and check that it belongs to a text tower.

    Args:
        folder: where the files are.
        vocabulary_size: tokens that the text tower knows.
        pad_id: the tower's padding token.
        length: longest sentence in tokens.

    Raises:
        ModelError: if no file is there, it is not readable, no WordPiece tokenizer, or belongs
            to another tower.
    """
    name = next((n for n in ("tokenizer.json", "vocab.txt") if (folder / n).is_file()), None)
    if name is None:
        raise ModelError("the tokenizer is missing: vocab.txt or tokenizer.json")
    with bounded(f"{name} is no readable BERT tokenizer", ModelError):
        plain = name == "vocab.txt"
        words = _plain_words(folder / name) if plain else _json_words(folder / name)
        # transformers would number the special tokens that a file lacks behind its last word.
        if lost := [word for word in SPECIAL if word not in words]:
            raise ModelError(f"{name} lacks {', '.join(lost)}; it is not BERT's")
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        size, pads = max(tokenizer.get_vocab().values()) + 1, tokenizer.pad_token_id
    if (size, pads) != (vocabulary_size, pad_id):
        raise ModelError(
            f"{name} has {size} tokens and pads with token {pads}, the text tower has "
            f"{vocabulary_size} and pads with {pad_id}; they do not belong together"
        )
    return BertWords(tokenizer, length)


def _plain_words(path: Path) -> list[str]:
    return read_text(path, MAX_JSON, ModelError).split("\n")


def _json_words(path: Path) -> dict[str, int]:
    model = read_json(path)["model"]
    if model["type"] != "WordPiece":
        raise ModelError(
            f"tokenizer.json holds a tokenizer of type {model['type']}; BERT's is WordPiece"
        )
    words: dict[str, int] = model["vocab"]
    return words
