"""CLIP in the ``transformers`` format, from a local folder, without importing that library.

Only its tokenizer is ``transformers``' own, and it is loaded when a sentence is first read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdmad.backbones.base import Backbone, check_sentences, token_counts, token_ids
from sdmad.backbones.clip_config import LEGACY_END_TOKEN, CLIPConfiguration, read_configuration
from sdmad.backbones.files import MAX_JSON, check_files, read_json
from sdmad.backbones.known import (
    OPENAI_MEAN,
    OPENAI_STD,
    Overrides,
    function,
    joined,
    recognise,
    settle_activation,
)
from sdmad.backbones.processor import input_size, read_preprocessing
from sdmad.backbones.transformer import ImageTransformer, TextTransformer, fill_tower, weight_names
from sdmad.backbones.weights import DAMAGED, hash_tensors, read_tensors
from sdmad.errors import ModelError
from sdmad.inputs import bounded, read_text

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
TEMPERATURE = "logit_scale"


class CLIPBackbone(Backbone):
    """A CLIP checkpoint behind the common interface."""

    def __init__(
        self,
        folder: Path,
        image: ImageTransformer,
        text: TextTransformer,
        config: CLIPConfiguration,
    ) -> None:
        self.name = str(folder)
        self.image = image.eval().requires_grad_(False)
        self.text = text.eval().requires_grad_(False)
        self.dimension = config.image.dimension
        self.context_length = config.context
        self._folder, self._config = folder, config

    @cached_property
    def _tokenizer(self) -> CLIPTokenizer:
        return read_tokenizer(self._folder, self._config)

    def load_tokenizer(self) -> None:
        """Load and check the tokenizer now rather than when a sentence is first read.

        Raises:
            ModelError: if it is unreadable or does not belong to the text tower.
        """
        assert self._tokenizer is not None

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``; what lies behind the end-of-text token changes nothing.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        return token_ids(
            self._tokenizer, check_sentences(sentences), self.context_length, "longest"
        )

    def token_counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        return token_counts(self._tokenizer, sentences)


def load_clip(name: str, image_size: int | None = None, **overrides: Any) -> CLIPBackbone:
    """Load a ``transformers`` CLIP checkpoint, in float32, on the CPU.

    Args:
        name: the local folder.
        image_size: side of the input in pixels; the checkpoint's own when not given. The paper
            runs ViT-L/14, trained at 224, at 240.
        **overrides: activation, mean and std, as :class:`~sdmad.backbones.known.Overrides`.

    Raises:
        ModelError: if files are missing or unreadable, are pickled, do not fit together, or
            contradict what is known of them or stated here.
    """
    folder, stated = Path(name), Overrides(**overrides)
    check_files(folder, TOKENIZERS)
    config = read_configuration(folder)
    image, text = _empty_towers(config)
    tensors = read_tensors(folder, _shapes(image) | _shapes(text) | {TEMPERATURE: ()})
    weights_hash = hash_tensors(tensors)
    known = recognise(folder, config.started_from)
    own = (config.image.activation, config.text.activation)
    try:
        runs = settle_activation(own, known, stated)
        size = input_size(config.patch, config.image_size, image_size)
        openai = (OPENAI_MEAN, OPENAI_STD)
        preprocessing = read_preprocessing(folder, size, openai, known, stated)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    fill_tower(image, tensors, function(runs[0]))
    fill_tower(text, tensors, function(runs[1]))
    backbone = CLIPBackbone(folder, image, text, config)
    backbone.preprocessing, backbone.weights_hash = preprocessing, weights_hash
    backbone.activation = joined(runs)
    return backbone


def _empty_towers(config: CLIPConfiguration) -> tuple[ImageTransformer, TextTransformer]:
    """Both towers without memory for their weights."""
    end = None if config.end_token == LEGACY_END_TOKEN else config.end_token
    with torch.device("meta"):
        image = ImageTransformer(config.image, config.patch, config.image_size // config.patch)
        text = TextTransformer(config.text, config.vocabulary, config.context, end)
    return image, text


def _shapes(tower: ImageTransformer | TextTransformer) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor that a tower takes from a checkpoint."""
    own = dict(tower.named_parameters())
    found = {}
    for parameter, names in weight_names(tower).items():
        rows, *rest = own[parameter].shape
        for name in names:
            found[name] = (rows // len(names), *rest)
    return found


def read_tokenizer(folder: Path, config: CLIPConfiguration) -> CLIPTokenizer:
    """Load a tokenizer and hold it to the text tower.

    Raises:
        ModelError: if it is unreadable or its numbers mean something else to the text tower.
    """
    from tokenizers import Tokenizer
    from transformers import CLIPTokenizer

    from sdmad.backbones.pretrained import quiet

    try:
        _check_merges(folder)
        with quiet(), bounded("not a readable CLIP tokenizer", ModelError):
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            # The library leaves part of tokenizer.json unread; a damaged one is refused whole.
            if (folder / "tokenizer.json").is_file():
                Tokenizer.from_file(str(folder / "tokenizer.json"))
        _check_tokenizer(tokenizer, config)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    return tokenizer


def _check_merges(folder: Path) -> None:
    """Refuse a tokenizer that is no BPE or whose merges lead out of its vocabulary."""
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            content = read_json(path)["model"]
            kind, vocabulary, merges = content["type"], content["vocab"], content["merges"]
        else:
            path = folder / "vocab.json"
            kind, vocabulary = "BPE", read_json(path)
            path = folder / "merges.txt"
            lines = read_text(path, MAX_JSON, ModelError).split("\n")
            merges = [line for line in lines if line and not line.startswith("#version")]
        pairs = [m.split(" ") if isinstance(m, str) else m for m in merges]
        lost = {part for a, b in pairs for part in (a, b, a + b)} - set(vocabulary)
    except DAMAGED as error:
        raise ModelError(f"{path.name} is no readable tokenizer file ({error})") from error
    if kind != "BPE":
        raise ModelError(f"{path.name} holds a tokenizer of type {kind}; CLIP's is BPE")
    if lost:
        raise ModelError(f"{path.name}: merges lead to {min(lost)!r}, not in the vocabulary")


def _check_tokenizer(tokenizer: CLIPTokenizer, config: CLIPConfiguration) -> None:
    """Refuse a tokenizer whose numbers mean something else to the text tower."""
    if len(tokenizer) > config.vocabulary:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the text tower only {config.vocabulary}; "
            "they do not belong together"
        )
    end = tokenizer.eos_token_id
    fits = end in (max(tokenizer.get_vocab().values()), LEGACY_END_TOKEN)
    if end != config.end_token and not (config.end_token == LEGACY_END_TOKEN and fits):
        raise ModelError(
            f"the tokenizer ends a text with token {end}, the text tower expects "
            f"{config.end_token} (eos_token_id in config.json); they do not belong together"
        )
