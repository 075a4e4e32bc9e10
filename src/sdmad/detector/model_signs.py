"""The signs of a model directory, read without its base weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from sdmad.detector.checkpoint import HEAD, verify
from sdmad.errors import ModelError
from sdmad.signs import SignBank


@dataclass(frozen=True)
class ModelSigns:
    """What a fitted model knows of its signs.

    Attributes:
        bank: the bank that it was fitted with.
        keep: for each sign, whether selection kept it; as long as ``bank.sentences``.
    """

    bank: SignBank
    keep: tuple[bool, ...]

    def kept(self, category: str, sentence: str) -> bool:
        """Whether the model scores with a sign.

        Raises:
            KeyError: if the model has no such sign.
        """
        owners = (self.bank.names[i] for i in self.bank.category_index)
        marks = dict(zip(zip(owners, self.bank.sentences, strict=True), self.keep, strict=True))
        return marks[category, sentence]


def read_model_signs(folder: Path) -> ModelSigns:
    """Read a model directory's bank and which of its signs selection kept.

    Raises:
        ModelError: if the directory is incomplete or was altered.
    """
    verify(folder)
    try:
        bank = SignBank.load(folder / "bank.yaml")
        with safe_open(folder / "adapters.safetensors", framework="pt") as tensors:
            keep = tuple(bool(mark) for mark in tensors.get_tensor(f"{HEAD}keep").flatten())
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelError(f"{folder}: its files do not fit together ({error})") from error
    if len(keep) != len(bank.sentences):
        raise ModelError(
            f"{folder}: bank.yaml has {len(bank.sentences)} signs, the tensors {len(keep)}"
        )
    return ModelSigns(bank, keep)
