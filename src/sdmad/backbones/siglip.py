"""SigLIP and SigLIP 2 in the ``transformers`` format, MedSigLIP among them."""

from __future__ import annotations

import string
from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast, Siglip2Model, SiglipModel

from sdmad.backbones.base import Backbone, Tower, check_sentences, token_counts, token_ids
from sdmad.backbones.files import check_files, read_json
from sdmad.backbones.known import HALVES, Overrides
from sdmad.backbones.pretrained import Pretrained, quiet, read_pretrained
from sdmad.backbones.tokenizer_files import SENTENCEPIECE, check_steps, needs_sentencepiece
from sdmad.errors import ModelError
from sdmad.inputs import bounded

TOKENIZERS = (("tokenizer.json",), (SENTENCEPIECE,))
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
LEAST_FILLED = 0.5  # of the text tower's vocabulary, by a tokenizer that belongs to it


class SiglipImageTower(Tower):
    """Vision transformer without a class token; any input size."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision = model.vision_model
        self.depth = len(self.vision.encoder.layers)
        self.widths = (model.config.vision_config.hidden_size,) * self.depth

    def embed(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Patch tokens with position embeddings, resized bicubically to the input's size."""
        return self.vision.embeddings(inputs, interpolate_pos_encoding=True), None

    def block(self, index: int, hidden: Tensor, state: None) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(n, T, W)``."""
        output: Tensor = self.vision.encoder.layers[index - 1](hidden, state)
        return output

    def pool(self, hidden: Tensor, state: None) -> Tensor:
        """Final norm and attention pooling, unit length: ``(n, D)``."""
        del state  # every token is pooled
        return normalize(self.vision.head(self.vision.post_layernorm(hidden)), dim=-1)


class NaFlexImageTower(SiglipImageTower):
    """SigLIP 2's NaFlex tower, whose images may have any grid of patches; here squares."""

    def embed(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Patch tokens with position embeddings, resized with antialiasing to the grid."""
        size = self.vision.embeddings.patch_size
        rows, columns = inputs.shape[2] // size, inputs.shape[3] // size
        whole = inputs[:, :, : rows * size, : columns * size]
        cut = whole.unflatten(3, (columns, size)).unflatten(2, (rows, size))
        patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        grid = torch.tensor([[rows, columns]]).expand(len(inputs), 2)
        return self.vision.embeddings(patches, grid), None


class SiglipTextTower(Tower):
    """Text transformer that attends to every token, padding too, as SigLIP was trained."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.transformer = model.text_model
        self.depth = len(self.transformer.encoder.layers)
        self.widths = (model.config.text_config.hidden_size,) * self.depth

    def embed(self, inputs: Tensor) -> tuple[Tensor, tuple[()]]:
        """Token and position embeddings; there is no mask, so the state is empty."""
        return self.transformer.embeddings(input_ids=inputs), ()

    def block(self, index: int, hidden: Tensor, state: tuple[()]) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(S, T, W)``."""
        del state
        output: Tensor = self.transformer.encoder.layers[index - 1](hidden, None)
        return output

    def pool(self, hidden: Tensor, state: tuple[()]) -> Tensor:
        """Final norm and projection of the last token, padding or not, unit length: ``(S, D)``."""
        del state
        last = self.transformer.final_layer_norm(hidden[:, -1])
        return normalize(self.transformer.head(last), dim=-1)


class SiglipBackbone(Backbone):
    """A ``transformers`` SigLIP checkpoint behind the common interface."""

    def __init__(self, name: str, read: Pretrained, tokenizer: Any, plain: bool) -> None:
        self.name = name
        model = read.model.eval().requires_grad_(False)
        naflex = isinstance(model, Siglip2Model)
        self.image = NaFlexImageTower(model) if naflex else SiglipImageTower(model)
        self.text = SiglipTextTower(model)
        self.preprocessing = read.preprocessing
        self.activation = read.activation
        self.dimension = model.config.text_config.projection_size
        self.context_length = model.config.text_config.max_position_embeddings
        self.weights_hash = read.weights_hash
        self._tokenizer = tokenizer
        self._plain = plain

    def _clean(self, sentence: str) -> str:
        """As SigLIP's captions were cleaned: lower case; the first SigLIP's without punctuation.

        Files of tokenizers leave part of it out, and cleaning twice changes nothing.
        """
        lower = sentence.lower()
        return " ".join(lower.translate(NO_PUNCTUATION).split()) if self._plain else lower

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``, always padded to the context length T, as SigLIP was trained.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        cleaned = [self._clean(sentence) for sentence in check_sentences(sentences)]
        return token_ids(self._tokenizer, cleaned, self.context_length, "max_length")

    def token_counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, the end token included."""
        return token_counts(self._tokenizer, [self._clean(sentence) for sentence in sentences])


def load_siglip(name: str, image_size: int | None = None, **overrides: Any) -> SiglipBackbone:
    """Load a ``transformers`` SigLIP or SigLIP 2 checkpoint, in float32, on the CPU.

    SigLIP 2 at one resolution has ``model_type`` "siglip", its NaFlex variant "siglip2"; the latter
    is run on square images, whose side defaults to that of its position embeddings (256 px).

    Args:
        name: the local folder.
        image_size: side of the input in pixels; the checkpoint's own when not given.
        **overrides: activation, mean and std, as :class:`~sdmad.backbones.known.Overrides`.

    Raises:
        ModelError: if files are missing or unreadable, are pickled, do not fit together, or
            contradict what is known of them or stated here.
    """
    folder, stated = Path(name), Overrides(**overrides)
    check_files(folder, TOKENIZERS)
    naflex = read_json(folder / "config.json").get("model_type") == "siglip2"
    model_class = Siglip2Model if naflex else SiglipModel
    read = read_pretrained(folder, model_class, (HALVES, HALVES), image_size, stated)
    try:
        _check_model(read.model.config)
        tokenizer, plain = _read_tokenizer(folder)
        _check_tokenizer(tokenizer, read.model.config.text_config)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    return SiglipBackbone(name, read, tokenizer, plain)


def _check_model(config: Any) -> None:
    """Refuse towers that end in no common space, or whose positions are no square."""
    vision, text = config.vision_config, config.text_config
    if not vision.vision_use_head:
        raise ModelError("config.json says vision_use_head false; without it images do not pool")
    if vision.hidden_size != text.projection_size:
        raise ModelError(
            f"config.json: images end in {vision.hidden_size} numbers, texts in "
            f"{text.projection_size} (projection_size); they cannot be compared"
        )
    patches = getattr(vision, "num_patches", 1)
    if isqrt(patches) ** 2 != patches:
        raise ModelError(f"config.json: num_patches {patches} is no square")


def _read_tokenizer(folder: Path) -> tuple[Any, bool]:
    """The tokenizer, and whether its model read captions without punctuation."""
    if not (folder / "tokenizer.json").is_file():
        return _read_sentencepiece(folder), True
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    with quiet(), bounded("tokenizer.json is no readable tokenizer file", ModelError):
        check_steps(folder / "tokenizer.json")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        end, number = tokenizer.eos_token, tokenizer.eos_token_id
        if settings.get("add_eos_token") and number not in tokenizer("a")["input_ids"]:
            tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
                single=f"$A {end}", special_tokens=[(end, number)]
            )
    return tokenizer, str(settings.get("tokenizer_class")).startswith("SiglipTokenizer")


def _read_sentencepiece(folder: Path) -> Any:
    if needs := needs_sentencepiece():
        raise ModelError(needs)
    with quiet(), bounded(f"{SENTENCEPIECE} is no readable tokenizer file", ModelError):
        from transformers import SiglipTokenizer

        return SiglipTokenizer.from_pretrained(folder, local_files_only=True)


def _check_tokenizer(tokenizer: Any, text: Any) -> None:
    """Refuse a tokenizer whose numbers mean something else to the text tower."""
    known = tokenizer.get_vocab().values()
    if max(known) >= text.vocab_size or len(known) < LEAST_FILLED * text.vocab_size:
        raise ModelError(
            f"the tokenizer has {len(known)} tokens up to number {max(known)}, the text tower "
            f"{text.vocab_size}; they do not belong together"
        )
    if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
        raise ModelError("tokenizer_config.json names no pad_token or no eos_token")
    with bounded("the tokenizer is not usable", ModelError):
        *ids, last = tokenizer("a")["input_ids"]
    if last != tokenizer.eos_token_id or {tokenizer.bos_token_id, last} & set(ids):
        raise ModelError(
            f"the tokenizer makes {[*ids, last]} of a letter, SigLIP's ends it with token "
            f"{tokenizer.eos_token_id} and puts none before it; they do not belong together"
        )
