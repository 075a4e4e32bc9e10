"""The signs of a model directory, read without its base weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from sdmad.detector.checkpoint import HEAD, TENSORS, verify
from sdmad.detector.stored import marks
from sdmad.errors import ModelError, SDMADError
from sdmad.inputs import bounded
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
    with bounded(f"{folder}: its files do not fit together", ModelError, SDMADError):
        bank = SignBank.load(folder / "bank.yaml")
        with safe_open(folder / TENSORS, framework="pt") as tensors:
            keep = tensors.get_tensor(f"{HEAD}keep")
        return ModelSigns(bank, tuple(marks(keep, "keep", len(bank.sentences)).tolist()))
