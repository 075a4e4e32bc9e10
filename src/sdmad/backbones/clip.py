"""CLIP in the ``transformers`` format, from a folder, the local cache or the hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer

from sdmad.backbones.base import Backbone, Tower
from sdmad.backbones.files import check_files
from sdmad.backbones.known import OPENAI_MEAN, OPENAI_STD, Overrides
from sdmad.backbones.pretrained import Pretrained, quiet, read_pretrained
from sdmad.backbones.weights import DAMAGED, Reading
from sdmad.errors import InputError, ModelError

TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
# OpenAI's configurations say so; their end-of-text token is the last of the vocabulary.
LEGACY_END_TOKEN = 2


class CLIPImageTower(Tower):
    """Vision transformer of a :class:`transformers.CLIPModel`; any input size."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.vision = model.vision_model
        self.projection = model.visual_projection
        self.depth = len(self.vision.encoder.layers)
        self.widths = (model.config.vision_config.hidden_size,) * self.depth

    def embed(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Patch tokens with position embeddings, resized bicubically to the input's size."""
        hidden = self.vision.embeddings(inputs, interpolate_pos_encoding=True)
        return self.vision.pre_layrnorm(hidden), None

    def block(self, index: int, hidden: Tensor, state: None) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(n, T, W)``."""
        output: Tensor = self.vision.encoder.layers[index - 1](hidden, state)
        return output

    def pool(self, hidden: Tensor, state: None) -> Tensor:
        """Class token, final norm, projection, unit length: ``(n, D)``."""
        del state  # the class token always comes first
        return normalize(self.projection(self.vision.post_layernorm(hidden[:, 0])), dim=-1)


@dataclass(frozen=True)
class TextState:
    """Causal mask ``(1, 1, T, T)`` and the place of each end-of-text token ``(S,)``."""

    mask: Tensor
    end: Tensor

    def __getitem__(self, rows: slice) -> TextState:
        """The state of some of the sentences."""
        return TextState(self.mask, self.end[rows])


class CLIPTextTower(Tower):
    """Causal text transformer of a :class:`transformers.CLIPModel`."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.transformer = model.text_model
        self.projection = model.text_projection
        self.depth = len(self.transformer.encoder.layers)
        self.widths = (model.config.text_config.hidden_size,) * self.depth
        self.end_token = model.config.text_config.eos_token_id

    def embed(self, inputs: Tensor) -> tuple[Tensor, TextState]:
        """Token and position embeddings; the mask is causal, as CLIP was trained."""
        hidden = self.transformer.embeddings(input_ids=inputs)
        length = inputs.shape[1]
        mask = torch.full((length, length), -torch.inf, device=inputs.device).triu(1)
        legacy = self.end_token == LEGACY_END_TOKEN
        ends = inputs if legacy else (inputs == self.end_token).int()
        return hidden, TextState(mask[None, None], ends.argmax(dim=1))

    def block(self, index: int, hidden: Tensor, state: TextState) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(S, T, W)``."""
        output: Tensor = self.transformer.encoder.layers[index - 1](hidden, state.mask)
        return output

    def pool(self, hidden: Tensor, state: TextState) -> Tensor:
        """Final norm and projection of the end-of-text token, unit length: ``(S, D)``."""
        rows = torch.arange(len(hidden), device=hidden.device)
        last = self.transformer.final_layer_norm(hidden[rows, state.end])
        return normalize(self.projection(last), dim=-1)


class CLIPBackbone(Backbone):
    """A ``transformers`` CLIP checkpoint behind the common interface."""

    def __init__(self, name: str, read: Pretrained, tokenizer: CLIPTokenizer) -> None:
        self.name = name
        model = read.model.eval().requires_grad_(False)
        self.image = CLIPImageTower(model)
        self.text = CLIPTextTower(model)
        self.preprocessing = read.preprocessing
        self.activation = read.activation
        self.dimension = model.config.projection_dim
        self.context_length = model.config.text_config.max_position_embeddings
        self.weights_hash = read.weights_hash
        self._tokenizer = tokenizer

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``; what lies behind the end-of-text token changes nothing.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        if isinstance(sentences, str) or not sentences:
            raise InputError("give a list of sentences, even for one sentence")
        encoded = self._tokenizer(
            list(sentences),
            padding="longest",
            padding_side="right",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )
        ids: Tensor = encoded["input_ids"]
        return ids

    def token_counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        return [len(self._tokenizer(s, verbose=False)["input_ids"]) for s in sentences]


def load_clip(
    name: str,
    image_size: int | None = None,
    *,
    activation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> CLIPBackbone:
    """Load a ``transformers`` CLIP checkpoint, in float32, on the CPU.

    Args:
        name: the local folder.
        image_size: side of the input in pixels; the checkpoint's own when not given. The paper
            runs ViT-L/14, trained at 224, at 240.
        activation: of both towers; see :mod:`sdmad.backbones.known`.
        mean: of the three channels.
        std: of the three channels.

    Raises:
        ModelError: if files are missing or unreadable, are pickled, do not fit together, or
            contradict what is known of them or stated here.
    """
    folder = Path(name)
    overrides = Overrides(activation, mean, std)
    check_files(folder, TOKENIZERS)
    try:
        _check_merges(folder)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    read = read_pretrained(folder, CLIPModel, (OPENAI_MEAN, OPENAI_STD), image_size, overrides)
    with quiet(), Reading(f"{folder}: not a readable CLIP tokenizer"):
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        # The library leaves part of tokenizer.json unread; a damaged one is refused whole.
        if (folder / "tokenizer.json").is_file():
            Tokenizer.from_file(str(folder / "tokenizer.json"))
    try:
        _check_tokenizer(read.model, tokenizer)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    return CLIPBackbone(name, read, tokenizer)


def _check_merges(folder: Path) -> None:
    """Refuse a tokenizer that is no BPE or whose merges lead out of its vocabulary."""
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))["model"]
            kind, vocabulary, merges = content["type"], content["vocab"], content["merges"]
        else:
            path = folder / "vocab.json"
            kind, vocabulary = "BPE", json.loads(path.read_text(encoding="utf-8"))
            path = folder / "merges.txt"
            lines = path.read_text(encoding="utf-8").split("\n")
            merges = [line for line in lines if line and not line.startswith("#version")]
        pairs = [m.split(" ") if isinstance(m, str) else m for m in merges]
        lost = {part for a, b in pairs for part in (a, b, a + b)} - set(vocabulary)
    except DAMAGED as error:
        raise ModelError(f"{path.name} is no readable tokenizer file ({error})") from error
    if kind != "BPE":
        raise ModelError(f"{path.name} holds a tokenizer of type {kind}; CLIP's is BPE")
    if lost:
        raise ModelError(f"{path.name}: merges lead to {min(lost)!r}, not in the vocabulary")


def _check_tokenizer(model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    """Refuse a tokenizer whose numbers mean something else to the text tower."""
    text = model.config.text_config
    if len(tokenizer) > text.vocab_size:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the text tower only {text.vocab_size}; "
            "they do not belong together"
        )
    end = tokenizer.eos_token_id
    last = max(tokenizer.get_vocab().values())
    fits = end in (last, LEGACY_END_TOKEN)
    if end != text.eos_token_id and not (text.eos_token_id == LEGACY_END_TOKEN and fits):
        raise ModelError(
            f"the tokenizer ends a text with token {end}, the text tower expects "
            f"{text.eos_token_id} (eos_token_id in config.json); they do not belong together"
        )
