"""A byte-level BPE tokenizer in CLIP's own file format, learnt from the wordings."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"


def learn_tokenizer(texts: list[str], merges: int, context_length: int) -> CLIPTokenizer:
    """Learn BPE merges; every byte, inside and at the end of a word, is in the vocabulary.

    Args:
        texts: what to learn from.
        merges: at most so many merges.
        context_length: longest sentence in tokens, start and end included.
    """
    blank = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[])
    learner = Tokenizer(BPE(end_of_word_suffix=END_OF_WORD))
    learner.normalizer = blank.backend_tokenizer.normalizer
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=2 * len(alphabet) + merges,
            initial_alphabet=alphabet,
            end_of_word_suffix=END_OF_WORD,
            min_frequency=1,
            show_progress=False,
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        learner.model.save(folder)
        lines = (Path(folder) / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [tuple(line.split(" ")) for line in lines][:merges]
    symbols = [START, END, *alphabet, *(a + END_OF_WORD for a in alphabet)]
    symbols += ["".join(pair) for pair in pairs]
    vocabulary = {symbol: i for i, symbol in enumerate(dict.fromkeys(symbols))}
    return CLIPTokenizer(
        vocab=vocabulary, merges=pairs, pad_token=END, model_max_length=context_length
    )


class DroppingEncoder:
    """Encode sentences, now and then with some merges left out (BPE dropout).

    So the pieces of words learn a meaning, and a user's unknown word is not noise. The library's
    own dropout cannot be seeded; this one draws a few segmentations of each word once.

    Args:
        tokenizer: what to encode for.
        texts: sentences whose words are known beforehand.
        rng: source of the draws.
        dropout: probability that a merge is left out in a dropped segmentation.
        variants: dropped segmentations of each word.
    """

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        texts: list[str],
        rng: np.random.Generator,
        dropout: float = 0.3,
        variants: int = 4,
    ) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._start, self._end = tokenizer.bos_token_id, tokenizer.eos_token_id
        model = json.loads(self._backend.to_str())["model"]
        self._vocabulary: dict[str, int] = model["vocab"]
        self._ranks = {tuple(pair): i for i, pair in enumerate(model["merges"])}
        words = sorted({word for text in texts for word in self._words(text)})
        self._whole = {word: self._segment(word, rng, 0.0) for word in words}
        self._dropped = {
            word: [self._segment(word, rng, dropout) for _ in range(variants)] for word in words
        }

    def _words(self, text: str) -> list[str]:
        text = self._backend.normalizer.normalize_str(text)
        return [word for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(text)]

    def _segment(self, word: str, rng: np.random.Generator, dropout: float) -> list[int]:
        pieces = [*word[:-1], word[-1] + END_OF_WORD]
        while len(pieces) > 1:
            ranked = [
                (self._ranks[pair], i)
                for i, pair in enumerate(pairwise(pieces))
                if pair in self._ranks and rng.random() >= dropout
            ]
            if not ranked:
                break
            _, i = min(ranked)
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
        return [self._vocabulary[piece] for piece in pieces]

    def encode(
        self, texts: list[str], rng: np.random.Generator, share: float, length: int
    ) -> NDArray[np.int64]:
        """Token ids ``(S, T)``, padded with the end token.

        Args:
            texts: sentences of known words.
            rng: source of the draws.
            share: probability that a word is given in a dropped segmentation.
            length: context length; longer sentences are cut.
        """
        rows = []
        for text in texts:
            ids = [self._start]
            for word in self._words(text):
                dropped = self._dropped[word]
                choice = dropped[int(rng.integers(len(dropped)))]
                ids += choice if rng.random() < share else self._whole[word]
            rows.append([*ids[: length - 1], self._end])
        table = np.full((len(rows), max(map(len, rows))), self._end, np.int64)
        for row, ids in zip(table, rows, strict=True):
            row[: len(ids)] = ids
        return table
