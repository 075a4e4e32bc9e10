"""One interface to a pair of encoders, both towers layer by layer."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn

from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import InputError, ModelError
from sdmad.inputs import bounded


class Tower(nn.Module, ABC):
    """An encoder whose blocks can be run one by one.

    Attributes:
        depth: number of transformer blocks (of a Swin tower: stages).
        widths: size of a token behind each block.
        full_precision: names of the parts, modules or parameters, that stay in float32 whatever
            the others run in, for rounding there costs the tower what it knows; they read float32.
    """

    depth: int
    widths: tuple[int, ...]
    full_precision: tuple[str, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, but for the parts in full precision."""
        return next(weight.dtype for weight in self._of_any_type())

    @property
    def input_dtype(self) -> torch.dtype:
        """Type of the pixel values that an image tower takes."""
        return torch.float32 if self.full_precision else self.dtype

    def cast(self, dtype: torch.dtype) -> Self:
        """Bring the weights to a type, but for the parts in full precision; returns itself."""
        for weight in self._of_any_type():
            weight.data = weight.data.to(dtype)
        return self

    def _of_any_type(self) -> Iterator[Tensor]:
        for name, value in (*self.named_parameters(), *self.named_buffers()):
            if name.split(".")[0] not in self.full_precision and value.is_floating_point():
                yield value

    @abstractmethod
    def embed(self, inputs: Tensor) -> tuple[Tensor, Any]:
        """Turn inputs into tokens ``(n, T, W)`` and the state that ``block`` and ``pool`` need.

        An image tower's state is a tensor with a row for each image, or depends on the images'
        size alone; a text tower's can be cut to some of its sentences with a slice.
        """

    @abstractmethod
    def block(self, index: int, hidden: Tensor, state: Any) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(n, T, W)``."""

    def last_block(self, hidden: Tensor, state: Any) -> Tensor:
        """Run the last block where only :meth:`pool` reads its output.

        A tower that pools one token need not compute the others; here all are.
        """
        return self.block(self.depth, hidden, state)

    @abstractmethod
    def pool(self, hidden: Tensor, state: Any) -> Tensor:
        """Turn the last block's tokens into unit-length embeddings ``(n, D)``."""

    def evidence(self, hidden: Tensor, state: Any) -> Tensor:
        """What an image tower knows before its projection: unit-length features ``(n, E)``.

        Of a tower that tells nothing beside its embeddings, those.

        Args:
            hidden: the last block's tokens, ``(n, T, W)``.
            state: the tower's own.
        """
        return self.pool(hidden, state).float()

    @contextmanager
    def remembering(self, inputs: Tensor) -> Iterator[None]:
        """Embed some inputs once for all that ask for the very same tensor's meanwhile."""
        found = self.embed(inputs)
        plain, before = self.embed, self.__dict__.get("embed")
        # An attribute of the object goes before the method of its class.
        self.__dict__["embed"] = lambda asked: found if asked is inputs else plain(asked)
        try:
            yield
        finally:
            del self.__dict__["embed"]
            if before is not None:
                self.__dict__["embed"] = before

    @property
    def evidence_parts(self) -> tuple[int, ...]:
        """Sizes of the parts that the evidence is made of; of one part none is told."""
        return ()

    @property
    def has_trunk(self) -> bool:
        """Whether the evidence's last part comes from a trunk that was trained on photographs."""
        return False

    def unfamiliar(self, evidence: Tensor) -> Tensor:
        """Which images look like nothing that the tower learnt from, boolean ``(n,)``.

        No image where that is not known, as of most towers.

        Args:
            evidence: of n images, ``(n, E)``.
        """
        return torch.zeros(len(evidence), dtype=torch.bool)

    def run(self, inputs: Tensor) -> tuple[Tensor, Any]:
        """All blocks: the last one's tokens ``(n, T, W)`` and the state."""
        hidden, state = self.embed(inputs)
        for index in range(1, self.depth + 1):
            hidden = self.block(index, hidden, state)
        return hidden, state

    def token_embeddings(self, inputs: Tensor) -> Tensor:
        """A text tower's own embeddings of token ids ``(S, T)``, without positions: ``(S, T, W)``.

        Raises:
            InputError: if the tower does not let its token embeddings be replaced.
        """
        del inputs
        raise self._no_learned_tokens()

    def embed_tokens(self, tokens: Tensor, inputs: Tensor) -> tuple[Tensor, Any]:
        """:meth:`embed` with other token embeddings than the ids' own, as learned prompts need.

        Args:
            tokens: token embeddings without positions, ``(S, T, W)``; gradients flow through.
            inputs: the token ids ``(S, T)`` that they stand for, which still tell where each
                sentence ends.

        Raises:
            InputError: if the tower does not let its token embeddings be replaced.
        """
        del tokens, inputs
        raise self._no_learned_tokens()

    def _no_learned_tokens(self) -> InputError:
        return InputError(
            f"{type(self).__name__} takes no learned token embeddings; a system that learns its "
            "prompts needs the text tower of a CLIP in the transformers format"
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Run the whole tower: unit-length embeddings ``(n, D)``."""
        return self.pool(*self.run(inputs))


class Backbone(ABC):
    """A frozen vision-language model.

    Attributes:
        name: what :func:`~sdmad.backbones.load_backbone` was asked for.
        image: the image encoder; takes pixel values ``(n, 3, H, W)``.
        text: the text encoder; takes token ids ``(S, T)``.
        preprocessing: how an image becomes pixel values.
        dimension: size D of an embedding.
        context_length: longest sentence in tokens, start and end included.
        weights_hash: SHA-256 of the weights, hexadecimal.
        activation: what the towers' blocks run, ``""`` where it cannot be chosen.
        overrides: what was stated beside the name, as :func:`~sdmad.backbones.load_backbone`
            takes it.
    """

    name: str
    image: Tower
    text: Tower
    preprocessing: Preprocessing
    dimension: int
    context_length: int
    weights_hash: str
    activation: str = ""
    overrides: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``, int64, cut to the context length and padded as the tower needs.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """

    @abstractmethod
    def token_counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""

    def load_tokenizer(self) -> None:
        """Load and check the tokenizer now, where it would else wait for the first sentence.

        Raises:
            ModelError: if it is unreadable or does not belong to the text tower.
        """
        return  # a family that loads it with the weights has nothing to do

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}, {self.preprocessing.size} px>"

    def __sklearn_clone__(self) -> Backbone:
        return self  # frozen: clones of an estimator share it, and what was computed with it

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.image.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the towers' weights; embeddings are float32 whatever it is."""
        return self.image.dtype

    def to(self, device: torch.device | str) -> Backbone:
        """Move both towers; returns itself."""
        self.image.to(device)
        self.text.to(device)
        return self

    def pixels(self, values: Tensor) -> Tensor:
        """Pixel values where, and in the type in which, the image tower takes them."""
        return values.to(self.device, self.image.input_dtype)

    def with_preprocessing(self, preprocessing: Preprocessing) -> Backbone:
        """The same towers behind another preprocessing; this backbone stays as it is."""
        twin = copy.copy(self)
        twin.preprocessing = preprocessing
        return twin

    @torch.no_grad()
    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """Unit-length embeddings ``(n, D)`` of pixel values ``(n, 3, H, W)``.

        Raises:
            ValueError: if the shape is another.
        """
        embeddings: Tensor = self.image(self._checked(pixel_values))
        return embeddings.float()

    @torch.no_grad()
    def encode_with_evidence(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings as :meth:`encode_image`, and the evidence before the projection.

        The evidence, unit-length features ``(n, E)``, is for what learns from images alone, such as
        a linear probe or a memory of the support set: the space that is shared with sentences keeps
        less. Of a backbone that tells nothing more it is the embeddings.

        Raises:
            ValueError: if the shape of the pixel values is not ``(n, 3, H, W)``.
        """
        last = self.image.run(self._checked(pixel_values))
        return self.image.pool(*last).float(), self.image.evidence(*last)

    def _checked(self, pixel_values: Tensor) -> Tensor:
        if pixel_values.ndim != 4 or pixel_values.shape[1] != 3:
            raise ValueError(
                f"pixel_values must have shape (n, 3, H, W), got {tuple(pixel_values.shape)}"
            )
        return self.pixels(pixel_values)

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Unit-length embeddings ``(S, D)`` of S sentences.

        Raises:
            InputError: if there is no sentence, or a single one outside a list.
        """
        embeddings: Tensor = self.text(self.tokenize(sentences).to(self.device))
        return embeddings.float()


def check_sentences(sentences: Sequence[str]) -> list[str]:
    """Sentences as a list.

    Raises:
        InputError: if there is none, or a single one outside a list.
    """
    if isinstance(sentences, str) or not sentences:
        raise InputError("give a list of sentences, even for one sentence")
    return list(sentences)


def token_ids(tokenizer: Any, sentences: list[str], length: int, padding: str) -> Tensor:
    """What a tokenizer of ``transformers`` makes of sentences, ``(S, T)``, int64.

    Args:
        tokenizer: the library's.
        sentences: at least one.
        length: longest sentence in tokens, at which the others are cut.
        padding: on the right, ``"longest"`` to the longest sentence or ``"max_length"``.
    """
    with bounded("the backbone's tokenizer cannot read the sentences", ModelError):
        encoded = tokenizer(
            sentences,
            padding=padding,
            padding_side="right",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        ids: Tensor = encoded["input_ids"]
    return ids


def token_counts(tokenizer: Any, sentences: Sequence[str]) -> list[int]:
    """Tokens of each sentence before any cut, by a tokenizer of ``transformers``."""
    with bounded("the backbone's tokenizer cannot read the sentences", ModelError):
        return [len(tokenizer(sentence, verbose=False)["input_ids"]) for sentence in sentences]
