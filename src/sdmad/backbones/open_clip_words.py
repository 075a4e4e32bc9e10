"""The tokenizers of open_clip's models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from sdmad.backbones.base import check_sentences
from sdmad.backbones.bert import BertWords, read_bert_words
from sdmad.backbones.hub import resolve
from sdmad.backbones.open_clip_files import Source
from sdmad.backbones.open_clip_towers import BertTower, TextTower
from sdmad.backbones.tokenizer_files import check_steps
from sdmad.errors import ModelError
from sdmad.inputs import bounded

FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
PATTERNS = ("*.json", "*.txt", "tokenizer.model", "spiece.model")


class Words(Protocol):
    """What turns sentences into tokens."""

    length: int

    def ids(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``, int64, cut to ``length`` and padded."""
        ...

    def counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        ...


class OpenClipWords:
    """A tokenizer of open_clip; pads every sentence to the context length.

    Args:
        tokenizer: takes a list of sentences, gives ids.
        count: tokens of one sentence, start and end included.
        length: longest sentence in tokens.
    """

    def __init__(self, tokenizer: Any, count: Callable[[str], int], length: int) -> None:
        self._tokenizer, self._count = tokenizer, count
        self.length = length

    def ids(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, length)``, int64.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        ids: Tensor = self._tokenizer(check_sentences(sentences))
        return ids

    def counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        return [self._count(sentence) for sentence in sentences]


class CleanBertWords(BertWords):
    """BERT's tokenizer behind the cleaning of white space and HTML that open_clip does first."""

    def ids(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``, int64, padded on the right to the longest sentence.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        return super().ids(sentences if isinstance(sentences, str) else _clean(sentences))

    def counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        return super().counts(_clean(sentences))


def _clean(sentences: Sequence[str]) -> list[str]:
    from open_clip.tokenizer import get_clean_fn

    return [get_clean_fn("whitespace")(sentence) for sentence in sentences]


def read_words(source: Source, tower: TextTower | BertTower) -> Words:
    """Read the tokenizer that a configuration names and check that it fits the text tower.

    Raises:
        ModelError: if its files are missing, unreadable, or belong to another tower.
    """
    text = source.config["text_cfg"]
    length = int(text["context_length"])
    name = text.get("hf_tokenizer_name")
    if isinstance(tower, BertTower):
        config = tower.bert.config
        length = min(length, config.max_position_embeddings)
        folder = _folder(source, str(name or text["hf_model_name"]))
        words = read_bert_words(folder, config.vocab_size, config.pad_token_id, length)
        return CleanBertWords(words.tokenizer, length)
    settings = text.get("tokenizer_kwargs") or {}
    if name:
        return _hub_words(_folder(source, str(name)), text, tower, length)
    from open_clip.tokenizer import SimpleTokenizer

    with bounded(f"{source.origin}: the tokenizer cannot be made", ModelError):
        simple = SimpleTokenizer(context_length=length, **settings)
    _check(tower, simple.vocab_size, simple.eot_token_id)
    return OpenClipWords(simple, lambda sentence: len(simple.encode(sentence)) + 2, length)


def _hub_words(folder: Path, text: dict[str, Any], tower: TextTower, length: int) -> Words:
    from open_clip.tokenizer import HFTokenizer

    mode = text.get("tokenizer_mode")
    with bounded(f"{folder}: no readable tokenizer", ModelError):
        if (folder / "tokenizer.json").is_file():
            check_steps(folder / "tokenizer.json")
        tokenizer = HFTokenizer(
            str(folder),
            context_length=length,
            tokenizer_mode=mode,
            **(text.get("tokenizer_kwargs") or {}),
        )
        inner = tokenizer.tokenizer
        tokenizer(["a word"])
    _check(tower, max(inner.get_vocab().values()) + 1, inner.eos_token_id)
    added = 3 if mode == "clips" else 0  # open_clip itself puts start, end and class there

    def count(sentence: str) -> int:
        ids = inner(tokenizer.clean_fn(sentence), add_special_tokens=not added, verbose=False)
        return len(ids["input_ids"]) + added

    return OpenClipWords(tokenizer, count, length)


def _folder(source: Source, name: str) -> Path:
    if source.folder is not None and any((source.folder / file).is_file() for file in FILES):
        return source.folder
    return resolve(name, PATTERNS)


def _check(tower: TextTower, size: int, end: int | None) -> None:
    """Refuse a tokenizer whose numbers mean something else to the text tower."""
    known = tower.tokens.num_embeddings
    if size > known:
        raise ModelError(
            f"the tokenizer has {size} tokens, the text tower only {known}; they do not belong "
            "together"
        )
    if tower.pooling == "eos" and end != tower.end_token:
        raise ModelError(
            f"the tokenizer ends a text with token {end}, the text tower expects "
            f"{tower.end_token}; they do not belong together"
        )
