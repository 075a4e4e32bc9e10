"""Weights: their hash, and whether they fill a model."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from sdmad.errors import ModelError, SDMADError

# What the readers of configurations, weights and tokenizers raise on damaged files.
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
PANIC = "PanicException"  # what a mistake inside a Rust library becomes; no Exception


class Reading(AbstractContextManager[None]):
    """Turn what a reader raises on a damaged file into a ModelError of one line.

    The tokenizers library raises plain ``Exception``, which no ``except`` could tell from a mistake
    of ours; here the exact type is compared.

    >>> with Reading("tokenizer.json is not readable"):
    ...     raise Exception("no variant of enum Normalizer")
    Traceback (most recent call last):
    ...
    sdmad.errors.ModelError: tokenizer.json is not readable (no variant of enum Normalizer)

    Args:
        complaint: what to say before the reader's own words.

    Raises:
        ModelError: for damage; any other error passes.
    """

    def __init__(self, complaint: str) -> None:
        self.complaint = complaint

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complain about damage, let everything else pass."""
        if kind is None or issubclass(kind, SDMADError):
            return
        if kind is Exception or kind.__name__ == PANIC or issubclass(kind, DAMAGED):
            reason = " ".join(str(error).split()) or kind.__name__
            if kind is not Exception and not issubclass(kind, OSError | SafetensorError):
                reason = f"{kind.__name__}: {reason}"
            raise ModelError(f"{self.complaint} ({reason[:300]})") from error


def hash_weights(model: torch.nn.Module) -> str:
    """SHA-256 over a model's tensors, by name, shape, type and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_weights(model: torch.nn.Module, report: dict[str, Any]) -> None:
    """Refuse weights that do not fill the model exactly, or hold what is no number."""
    lost = [f"{name} is missing" for name in sorted(report["missing_keys"])]
    lost += [
        f"{name} has shape {list(found)}, not {list(expected)}"
        for name, found, expected in sorted(report["mismatched_keys"])
    ]
    lost += [
        f"{name} is too much"
        for name in sorted(report["unexpected_keys"])
        if ".encoder.layers." in name or ".head." in name
    ]
    if lost:
        raise ModelError(
            f"the weights do not fit config.json in {len(lost)} tensors: {'; '.join(lost[:3])}"
        )
    broken = [name for name, tensor in model.named_parameters() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(f"the weights hold NaN or infinite values, first in {broken[0]}")
